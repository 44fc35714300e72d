"""What is wrong in a command's words is said at once: before torch is loaded, and before data are decoded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leadline.cli.early import PLOTS, check_ending
from leadline.training.loss_names import LOSS_NAMES, check_loss_names
from leadline.training.losses import LOSSES

ROOT = Path(__file__).resolve().parents[2]
PRUNE = "prune fastdepth --method l1 --budget 50% --data DATA --out x.safetensors"
CASES = {
    "predict DATA --fov 0": "fov is 0.0; degrees between 0 and 180 are needed",
    "predict DATA --save pngg": "save is 'pngg'; one or more of png16",
    "predict DATA --colormap magmaa": "the colour map 'magmaa' is unknown",
    "predict DATA --model fastdepht": "nearest: fastdepth, fastdepth_small",
    "predict DATA --model net.foo": "there is no model 'net.foo'",
    "predict DATA --runtime onxx": "the runtime 'onxx' is unknown; nearest: onnx",
    "predict DATA --vmin 3 --vmax 2": "vmin < vmax",
    "predict NOTHING": "there is no NOTHING",
    "val --data DATA --protocol nyu-eigen@2": "nearest: nyu-eigen@1",
    "val --data DATA --model fastdepht": "nearest: fastdepth",
    "val --data DATA --runtime onxx": "nearest: onnx",
    "val --data DATA --layout foldr": "layout is 'foldr'; nearest: folder",
    "train --data DATA --out run --model fastdepht": "the net 'fastdepht' is unknown; nearest: fastdepth",
    "train --data DATA --out run --loss l3": "the loss 'l3' is unknown; nearest: l",
    "train --data DATA --out run --protocol nyu-eigen@2": "nearest: nyu-eigen@1",
    "train --data DATA --out run --reading.layout foldr": "nearest: folder",
    "train --data DATA --out run --lr 0": "lr is 0.0; a finite number above 0 is needed",
    "label DATA --teacher fastdepht --out labels": "is no teacher and no file or folder; nearest: fastdepth",
    "label DATA --teacher fastdepth --out labels --layout foldr": "nearest: folder",
    "distill --data DATA --teacher fastdepht --out run": "is no teacher and no file or folder; nearest: fastdepth",
    "distill --data DATA --teacher fastdepth --out run --loss l3": "the loss 'l3' is unknown",
    PRUNE.replace("fastdepth", "fastdepht"): "nearest: fastdepth",
    PRUNE.replace(".safetensors", ".pt"): "its name ends in .safetensors",
    PRUNE.replace("50%", "watts=3"): "the budget 'watts' is unknown",
    f"{PRUNE} --loss l3": "the loss 'l3' is unknown",
    f"{PRUNE} --measure onxx": "nearest: onnx",
    f"{PRUNE} --plot widths.xyz": "its name must end in one of",
    "quantize fastdepht --runtime onnx --data DATA": "nearest: fastdepth",
    "quantize fastdepth --runtime onxx --data DATA": "nearest: onnx",
    "quantize fastdepth --runtime onnx --data DATA --protocol nyu-eigen@2": "nearest: nyu-eigen@1",
    "export fastdepht --runtime onnx": "nearest: fastdepth",
    "export fastdepth --runtime onxx": "nearest: onnx",
    "export fastdepth --runtime onnx --out x.foo": "the files of onnx end in .onnx",
    "export fastdepth --runtime onnx --size 3": "HEIGHTxWIDTH in pixels is needed",
    "bench fastdepht": "nearest: fastdepth",
    "bench fastdepth --runtime onxx": "nearest: onnx",
    "bench fastdepth --precision fp31": "the precision 'fp31' is unknown",
    "bench fastdepth --plot x.foo": "its name must end in one of",
    "parity fastdepth --runtime onxx": "nearest: onnx",
    "info fastdepht": "the net 'fastdepht' is unknown; nearest: fastdepth",
    "predict DATA --modle x": "there is no flag --modle; nearest: --model",
    "predcit DATA": "there is no verb 'predcit'; nearest: predict",
}
CODE = """
import contextlib, io, json, sys
from leadline.cli.main import main
for words in json.load(sys.stdin):
    with contextlib.redirect_stderr(io.StringIO()) as written:
        code = main(words)
    print(json.dumps([code, written.getvalue(), "torch" in sys.modules]), flush=True)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, bool]]:
    """For each command: its exit code, its standard error, and whether torch was loaded by then."""
    folder = tmp_path_factory.mktemp("early")
    for part, pixels in (("images", np.zeros((48, 64, 3), np.uint8)), ("depth", np.zeros((48, 64), np.uint16))):
        (folder / "DATA" / part).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "DATA" / part / "0.png")
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}){CODE}"]
    given = json.dumps([words.split() for words in CASES])
    done = subprocess.run(command, cwd=folder, input=given, capture_output=True, text=True, check=True)
    return dict(zip(CASES, map(json.loads, done.stdout.splitlines()), strict=True))


@pytest.mark.parametrize("words", CASES)
def test_it_is_one_line_and_torch_is_not_loaded(answers: dict[str, tuple[int, str, bool]], words: str) -> None:
    code, err, loaded = answers[words]
    assert code in (1, 2) and not loaded
    assert err.startswith("leadline: ") and err.count("\n") == 1 and CASES[words] in err


def test_the_names_of_losses_are_those_of_the_losses() -> None:
    assert {*LOSS_NAMES} == {*LOSSES}
    check_loss_names(["l1", "log_l1:0.5@map", "stereo", "my/file.py:name:0.3"])


def test_every_ending_that_matplotlib_writes_is_allowed() -> None:
    from matplotlib.backend_bases import FigureCanvasBase

    assert {f".{ending}" for ending in FigureCanvasBase.filetypes} <= {*PLOTS}
    check_ending("plot", Path("X.PNG"), PLOTS)
    check_ending("plot", None, PLOTS)
