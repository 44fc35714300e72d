"""No verb writes over a file that it reads, whatever the path is called, and none leaves anything where it refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.tiny_pruning_nets import fastdepth
from support.tiny_scenes import render, write_folder

from leadline.cli.main import main
from leadline.core.spec import Preprocess
from leadline.nn.build import build
from leadline.nn.checkpoint import save
from leadline.runtime.export import export

pytestmark = pytest.mark.usefixtures("one_thread")
Captured = pytest.CaptureFixture[str]
TRAIN = ["--batch", "2", "--fit.steps", "1", "--fit.precision", "no", "--val-every", "0", "--workers", "0"]
PRUNE = ["--batch", "2", "--fit.steps", "1", "--fit.precision", "no", "--val-every", "0", "--method", "l2"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, its ONNX file with its manifest, and a data set."""
    root = tmp_path_factory.mktemp("made")
    net = build(replace(fastdepth(), preprocess=Preprocess((32, 64))), seed=0)
    save(net, root / "net.safetensors")
    write_folder(root / "rooms", [render(i, size=(36, 72)) for i in range(6)])
    return root


@pytest.fixture
def kept(made: Path) -> Iterator[Path]:
    """`made`, in which nothing may have changed."""

    def state() -> dict[str, bytes]:
        return {str(path.relative_to(made)): path.read_bytes() for path in made.rglob("*") if path.is_file()}

    before = state()
    yield made
    assert state() == before


def refused(capsys: Captured, *words: object, said: str = "over a file that is read") -> None:
    assert main([str(word) for word in words]) == 1
    assert said in (error := capsys.readouterr().err) and "fault of leadline" not in error


def spellings(path: Path, tmp_path: Path) -> list[Path]:
    """Other names of one file."""
    (tmp_path / "soft").symlink_to(path.parent)
    os.link(path, hard := tmp_path / f"hard{path.suffix}")
    return [path, path.parent / ".." / path.parent.name / path.name, tmp_path / "soft" / path.name, hard]


def test_a_pruned_or_quantised_net_never_replaces_its_own_checkpoint(
    capsys: Captured, kept: Path, tmp_path: Path
) -> None:
    net = kept / "net.safetensors"
    for out in [*spellings(net, tmp_path), kept / "NET.safetensors"]:
        refused(capsys, "prune", net, *PRUNE, "--budget", "macs=0.8x", "--data", kept / "rooms", "--out", out)
        refused(capsys, "export", net, "--runtime", "eager", "--out", out)
        refused(capsys, "import", net, "--out", out)


def test_a_run_never_lies_in_its_data_or_over_its_start(capsys: Captured, kept: Path, tmp_path: Path) -> None:
    rooms = kept / "rooms"
    refused(
        capsys,
        "train",
        "--data",
        rooms,
        "--out",
        rooms,
        "--model",
        "fastdepth_pruned",
        *TRAIN,
        said="is data to learn from",
    )
    words = ["prune", kept / "net.safetensors", *PRUNE, "--budget", "macs=0.8x"]
    refused(capsys, *words, "--data", rooms, "--out", kept / "rooms.safetensors", said="is data to learn from")
    unlabelled = [
        "distill",
        "--data",
        rooms,
        "--unlabelled",
        rooms / "images",
        "--teacher",
        kept / "net.safetensors",
    ]
    among = ["--out", rooms / "images" / "run", "--model", "fastdepth_pruned", *TRAIN]
    refused(capsys, *unlabelled, *among, said="whose files are read")
    start = tmp_path / "run" / "fastdepth.safetensors"
    save(build(replace(fastdepth(), name="fastdepth", preprocess=Preprocess((32, 64))), seed=0), start)
    before = start.read_bytes()
    refused(capsys, "train", "--data", rooms, "--out", start.parent, "--model", start, *TRAIN)
    assert start.read_bytes() == before and [path.name for path in start.parent.iterdir()] == [start.name]


def test_a_picture_or_a_table_never_replaces_what_was_measured(capsys: Captured, kept: Path, tmp_path: Path) -> None:
    net, rooms = kept / "net.safetensors", kept / "rooms"
    for file in spellings(net, tmp_path):
        refused(capsys, "bench", net, "--json", file)
        refused(capsys, "bench", net, "--plot", file)
        refused(capsys, "val", "--data", rooms, "--model", net, "--csv", file)
    photograph = next((rooms / "images").iterdir())
    among = "whose files are read"
    refused(capsys, "val", "--data", rooms, "--model", net, "--csv", photograph, said=among)
    refused(capsys, "bench", net, "--data", rooms, "--json", photograph, said=among)
    refused(capsys, "bench", net, "--data", rooms, "--plot", photograph, said=among)
    words = ["--data", rooms, "--budget", "macs=0.8x", "--out", tmp_path / "small.safetensors"]
    refused(capsys, "prune", net, *PRUNE, *words, "--plot", rooms / "images" / "new.png", said=among)


def test_a_card_beside_its_file_is_a_file_that_is_read(capsys: Captured, made: Path, tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"x")
    manifest = tmp_path / "net.tflite.json"
    manifest.write_text("{}")
    refused(capsys, "bench", tmp_path / "net.tflite", "--json", manifest)
    assert manifest.read_text() == "{}"


def test_a_table_of_an_earlier_run_may_be_written_again(capsys: Captured, made: Path, tmp_path: Path) -> None:
    rooms = write_folder(tmp_path / "rooms", [render(i, size=(36, 72)) for i in range(2)])
    words = ["val", "--data", str(rooms), "--model", str(made / "net.safetensors"), "--csv", str(rooms / "t.csv")]
    assert main([*words, "--split", "all"]) == 0 and main([*words, "--split", "all"]) == 0


def test_an_exported_file_never_replaces_its_checkpoint(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="over a file that is read"):
        export(made / "net.safetensors", "eager", made / "net.safetensors")


def test_labels_and_scenes_go_into_folders_of_their_own(capsys: Captured, kept: Path, tmp_path: Path) -> None:
    rooms = kept / "rooms"
    label = ["label", rooms, "--teacher", kept / "net.safetensors", "--out"]
    refused(capsys, *label, rooms, said="holds other files")
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(photos / "a.jpg")
    refused(capsys, "data", "synth", photos, "--n", 1, said="holds other files, such as")
    inside = photos / "new"
    refused(capsys, "data", "synth", inside, "--n", 1, "--textures", photos, said="whose files are read")
    assert [path.name for path in photos.iterdir()] == ["a.jpg"]
