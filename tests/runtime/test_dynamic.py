"""A dynamic folder in every runtime that the plain nets run in: each width answers as its own file does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.tiny_runtime_nets import SIZE, UNTOUCHED, images, needs, small_net

from leadline.core.errors import BadArtefact
from leadline.core.storage import sha256
from leadline.predict.predictor import load_predictor
from leadline.runtime import BACKENDS, suffix
from leadline.runtime.dynamic import Choice, DynamicManifest, Widths, hardness, open_dynamic, write_manifest
from leadline.runtime.export import export, twin

QUICK = ("eager", "onnx", "openvino")  # the compilers of the others take their time
OTHER = small_net("none")


def folder_of(name: str, folder: Path, choice: Choice) -> Path:
    """Two nets of one size as widths 0 and 1."""
    needs(name)
    files = [export(net, name, folder / f"width-{i}{suffix(name)}") for i, net in enumerate((OTHER, UNTOUCHED))]
    names, hashes = tuple(file.name for file in files), tuple(sha256(file) for file in files)
    write_manifest(folder, DynamicManifest(files=names, hashes=hashes, choice=choice))
    return folder


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in BACKENDS])
def test_a_picture_is_answered_by_the_width_that_the_rule_names(name: str, tmp_path: Path) -> None:
    pictures = images(6, seed=3)
    narrow, wide = twin(OTHER), twin(UNTOUCHED)
    hard = [hardness(narrow(x), "metric") for x in pictures]
    choice = Choice(start=0, thresholds=(float(np.median(hard)),))
    runner, manifest = open_dynamic(folder_of(name, tmp_path, choice), None)
    assert manifest.runtime == name and manifest.spec.head.kind == "metric"
    for x, how_hard in zip(pictures, hard, strict=True):
        expected = (wide if choice.width(how_hard) else narrow)(x)
        assert np.abs(runner(x) - expected).max() <= 1e-3 * np.abs(expected).max()
    assert runner.counts == [3, 3]
    predictor = load_predictor(tmp_path, threads=1)
    assert predictor.runtime == name and isinstance(predictor.runner, Widths)
    assert predictor(np.full((*SIZE, 3), 90, np.uint8)).values.shape == SIZE


def test_files_of_another_net_are_no_widths(tmp_path: Path) -> None:
    folder_of("eager", tmp_path, Choice(start=1, thresholds=()))
    spec = UNTOUCHED.spec
    other = small_net(preprocess=replace(spec.preprocess, size=(32, 32)))
    file = export(other, "eager", tmp_path / "width-0.safetensors")
    names = ("width-0.safetensors", "width-1.safetensors")
    hashes = (sha256(file), sha256(tmp_path / names[1]))
    write_manifest(tmp_path, DynamicManifest(files=names, hashes=hashes, choice=Choice(start=0, thresholds=())))
    with pytest.raises(BadArtefact, match="of another net, size or runtime"):
        open_dynamic(tmp_path, None)
