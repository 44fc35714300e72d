"""The ONNX files in the package: small, bound to the weights they are made from, and the same function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leadline.core.machine import installed_version
from leadline.core.storage import sha256
from leadline.nn import files
from leadline.nn.checkpoint import load, read_provenance
from leadline.runtime.onnx_file import check_content, manifest_of, weights_precision

MAX_BYTES = 4_000_000

every_file = pytest.mark.parametrize("name", sorted(files.shipped_onnx()))


def test_the_default_net_and_the_smallest_have_one() -> None:
    assert {files.DEFAULT, "litedepth"} <= set(files.shipped_onnx()) <= set(files.shipped())


@every_file
def test_the_file_is_small_and_its_weights_are_in_half_precision(name: str) -> None:
    path = files.shipped_onnx()[name]
    assert path.stat().st_size <= MAX_BYTES
    assert weights_precision(path) == "fp16"


@every_file
def test_the_manifest_is_of_these_weights_and_of_this_file(name: str) -> None:
    path, weights = files.shipped_onnx()[name], files.shipped()[name]
    manifest = manifest_of(path)
    assert manifest is not None and manifest.hashes
    check_content(path, manifest)
    assert manifest.source == sha256(weights)
    assert manifest.spec == files.read_spec(name) == load(name).spec
    assert manifest.provenance == read_provenance(name)
    assert (manifest.runtime, manifest.precision, manifest.frame) == ("onnx", "fp32", None)


@every_file
def test_no_place_of_the_machine_that_made_it_is_inside(name: str) -> None:
    content = files.shipped_onnx()[name].read_bytes()
    assert b"site-packages" not in content and b"build.py" not in content


@every_file
def test_it_computes_what_the_net_does_in_pytorch(name: str) -> None:
    pytest.importorskip("onnxruntime")
    from leadline.runtime.export import difference

    assert difference(files.shipped_onnx()[name], name) < 1e-5


@pytest.mark.slow
def test_the_script_makes_the_same_file_again(tmp_path: Path) -> None:
    from recipes.package_onnx import main

    shipped = manifest_of(files.shipped_onnx()["litedepth"])
    assert shipped is not None
    if any(installed_version(name) != shipped.versions[name] for name in ("torch", "onnx", "onnxscript")):
        pytest.skip("made by other versions")
    (path,) = main(("litedepth",), out=tmp_path)
    made = manifest_of(path)
    assert made is not None and made.hashes == shipped.hashes


def test_weights_times_scales_come_apart_again() -> None:
    from recipes.package_onnx import _scaled

    rng = np.random.default_rng(0)
    half = rng.normal(size=(4, 3, 3, 3)).astype(np.float16)
    half[2] = 0
    scale = rng.normal(size=(4, 1, 1, 1)).astype(np.float32)
    found = _scaled(half * scale, half.astype(np.float32))
    assert found is not None
    assert found[0].dtype == np.float16 and np.allclose(found[0] * found[1], half * scale, rtol=1e-6, atol=0)
    assert _scaled(half * scale, rng.normal(size=half.shape).astype(np.float32)) is None


def test_a_header_is_read_without_the_tensors() -> None:
    net = load("litedepth")
    assert files.read_spec("litedepth") == net.spec
