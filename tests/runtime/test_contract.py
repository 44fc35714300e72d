"""What every runtime promises, whatever it is: the same numbers as PyTorch, one manifest, errors that say what to
do.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_runtime_nets import (
    SIZE,
    UNTOUCHED,
    Made,
    Resized,
    compiled,
    copied,
    images,
    needs,
    small_net,
    unbound,
)

from leadline.core.errors import BadArtefact
from leadline.core.preprocess import prepare, restore
from leadline.core.spec import Preprocess
from leadline.nn import checkpoint, zoo
from leadline.nn.build import build
from leadline.runtime import BACKENDS, SUFFIXES, backend, load, read_manifest, suffix
from leadline.runtime.options import CompileOptions

QUICK = {"eager", "onnx", "openvino"}  # the compilers of the others take their time


def marked(names: list[str]) -> list[object]:
    """The names as parameters, those with slow compilers marked so."""
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


NAMES = [name for name in BACKENDS if name != "eager"]
EXPORTING = marked(NAMES)
EXAMPLE = torch.zeros(1, 3, *SIZE)
NEED_TORCH = {"eager", "inductor", "executorch"}  # these are PyTorch


def eager(net: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return net(torch.tensor(image)).numpy()


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_every_backend_has_one_suffix() -> None:
    assert sorted(SUFFIXES.values()) == sorted(BACKENDS)


@pytest.mark.parametrize("name", EXPORTING)
def test_an_artefact_gives_the_numbers_of_pytorch_and_knows_what_it_is(name: str, made: Made) -> None:
    net, path = small_net(), made(name)
    run, found = load(path, threads=2)
    assert found == read_manifest(path)
    assert (found.runtime, found.precision, found.size, found.frame) == (name, "fp32", SIZE, None)
    assert dataclasses.replace(found.spec, provenance=()) == dataclasses.replace(net.spec, provenance=())
    assert "leadline" in found.versions
    kept = [(run(image), eager(net, image)) for image in images(3)]  # a reused buffer would change the first
    for output, expected in kept:
        assert output.dtype == np.float32 and output.shape == (1, 1, *SIZE)
        assert relative_error(output, expected) < 1e-4
    batch = np.concatenate(images(3))
    assert relative_error(run(batch), eager(net, batch)) < 1e-4
    flipped = images(1)[0][..., ::-1]  # not contiguous
    assert relative_error(run(flipped), eager(net, flipped.copy())) < 1e-4


@pytest.mark.parametrize("name", EXPORTING)
def test_a_wrong_input_is_a_sentence(name: str, made: Made) -> None:
    run, _ = load(made(name), threads=1)
    with pytest.raises(ValueError, match=r"float32 \[1, 3, 32, 32\]; float32 \['N', 3, 64, 96\] is needed"):
        run(np.zeros((1, 3, 32, 32), np.float32))
    with pytest.raises(ValueError, match="float64"):
        run(np.zeros((1, 3, *SIZE)))


@pytest.mark.parametrize("name", EXPORTING)
def test_the_centre_of_a_whole_frame_gives_what_preprocess_gives(name: str, tmp_path: Path) -> None:
    frame_size = (150, 200)
    how = Preprocess(size=SIZE, view=(0.9, 0.8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    net = small_net(preprocess=how)
    run, found = load(compiled(name, net, tmp_path, frame=frame_size), threads=2)
    assert found.frame == frame_size
    smooth = np.clip(images(1)[0][0].transpose(1, 2, 0) * 255, 0, 255).astype(np.uint8)
    frame = np.ascontiguousarray(np.kron(smooth, np.ones((3, 3, 1), np.uint8))[: frame_size[0], : frame_size[1]])
    output = run(frame[None])
    assert output.dtype == np.float32 and output.shape == (1, 1, *frame_size)
    expected, valid = restore(eager(net, prepare(frame, how))[0, 0], frame_size, how)
    assert (output[0, 0][~valid] == 0).all()
    # pillow rounds its picture to whole grey levels, the artefact does not
    assert np.abs(output[0, 0] - expected)[valid].max() < 0.02 * np.abs(expected).max()
    assert np.abs(output[0, 0] - expected)[valid].mean() < 0.002 * np.abs(expected).max()


@pytest.mark.parametrize("name", [n if n == "onnx" else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_litedepth_takes_whole_frames_with_its_resizing_inside(name: str, tmp_path: Path) -> None:
    needs(name)
    net = build(zoo.litedepth(), seed=0).eval()
    net.head.start_at(2.0)
    how, size = net.spec.preprocess, (240, 320)
    options = CompileOptions(frame=size)
    path = backend(name).compile(net, torch.zeros(1, 3, *how.size), tmp_path / f"net{suffix(name)}", options)
    run, _ = load(path, threads=2)
    frame = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    expected, valid = restore(eager(net, prepare(frame, how))[0, 0], size, how)
    assert valid.all() and expected.std() > 0.01
    assert relative_error(run(frame[None])[0, 0], expected) < 1e-3


@pytest.mark.slow
def test_litedepth_s_float32_file_for_litert_takes_at_most_one_and_a_half_mebibytes(tmp_path: Path) -> None:
    """The published file, made by other converters, has 1.4 MB; with its resizing from and to 480x640 inside.

    With the weights that ship: a fresh net's biases are all alike and stored once, which makes its file smaller.
    """
    needs("litert")
    net = checkpoint.load("litedepth")
    options = CompileOptions(frame=(480, 640))
    path = backend("litert").compile(net, torch.zeros(1, 3, 128, 160), tmp_path / "litedepth.tflite", options)
    assert path.stat().st_size <= 1.5 * 2**20


@pytest.mark.parametrize("name", EXPORTING)
def test_bilinear_upsampling_of_both_kinds_is_that_of_pytorch(name: str, tmp_path: Path) -> None:
    net = small_net()
    for align_corners in (False, True):
        net.head = Resized(net.head, (53, 71), "bilinear", align_corners)
    run, _ = load(compiled(name, net, tmp_path), threads=1)
    image = images(1)[0]
    assert relative_error(run(image), eager(net, image)) < 1e-4


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param(name, precision, marks=() if name in QUICK else pytest.mark.slow)
        for name in NAMES
        for precision in ("fp16", "bf16", "int8")
    ],
)
def test_lower_precision_stays_near_or_is_refused(name: str, precision: str, made: Made) -> None:
    net = small_net()
    needs(name)
    if precision not in backend(name).PRECISIONS:
        with pytest.raises(ValueError, match=precision):
            made(name, precision)
        return
    run, found = load(made(name, precision), threads=2)
    assert found.precision == precision
    image = images(1)[0]
    expected = eager(net, image)
    bound = {"fp16": 0.01, "bf16": 0.05, "int8": 0.15}[precision]
    assert np.abs(run(image) - expected).mean() < bound * np.abs(expected).mean()


@pytest.mark.parametrize("name", marked([n for n in NAMES if n != "tvm"]))
@pytest.mark.slow
def test_int8_needs_calibration_and_leaves_the_kept_layers_alone(name: str, made: Made, tmp_path: Path) -> None:
    needs(name)
    if "int8" not in backend(name).PRECISIONS:
        pytest.skip(f"{name} makes no int8")
    net = small_net()
    with pytest.raises(ValueError, match="calibration"):
        compiled(name, net, tmp_path, precision="int8")
    with pytest.raises(ValueError, match="no convolution 'nonsense'"):
        compiled(name, net, tmp_path, precision="int8", calibration=images(2), keep=("nonsense",))
    everything = tuple(n for n, m in net.named_modules() if isinstance(m, torch.nn.Conv2d))
    path = compiled(name, net, tmp_path, precision="int8", calibration=images(8, seed=5), keep=everything)
    run, found = load(path, threads=1)
    assert found.kept == everything
    image = images(1)[0]
    quantized, _ = load(made(name, "int8"), threads=1)
    expected = eager(net, image)
    assert relative_error(run(image), expected) < 0.5 * relative_error(quantized(image), expected)


@pytest.mark.parametrize("name", EXPORTING)
def test_the_net_is_left_as_it_is(name: str, made: Made) -> None:
    made(name)
    expected = small_net().state_dict()
    assert expected.keys() == UNTOUCHED.state_dict().keys()
    assert all((UNTOUCHED.state_dict()[key] == value).all() for key, value in expected.items())


@pytest.mark.parametrize("name", EXPORTING)
def test_a_damaged_file_is_named(name: str, made: Made, tmp_path: Path) -> None:
    path = copied(made(name), tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadArtefact, match=path.name):
        load(path, threads=1)
    if name != "onnx":  # its manifest was at the end that is gone
        with pytest.raises(BadArtefact, match=path.name):
            load(unbound(path), threads=1)
    with pytest.raises(BadArtefact, match="there is no file"):
        load(path.with_name(f"other{path.suffix}"), threads=1)


@pytest.mark.parametrize("name", marked([n for n in NAMES if n not in NEED_TORCH]))
def test_a_device_without_torch_can_run_it(name: str, made: Made) -> None:
    path = made(name)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np; from pathlib import Path; from leadline.runtime import load\n"
        f"run, manifest = load(Path({str(path)!r}), 1); print(run(np.zeros((1, 3, *manifest.size), np.float32)).shape)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(f"(1, 1, {SIZE[0]}, {SIZE[1]})")
