"""What leadline wrote is neither taken for a photograph nor lost, and another's file is never taken for leadline's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from leadline.cli.main import main
from leadline.core.errors import BadData
from leadline.core.image_sources import sources
from leadline.core.own_results import is_own, without_results
from leadline.core.spec import Head, Preprocess
from leadline.data.batch import Batch
from leadline.data.layouts.detect import open_dataset
from leadline.data.layouts.filelist import depth_stem
from leadline.distill.options import ExternalModel
from leadline.distill.teachers import open_teacher
from leadline.predict.files import Outcome, predict_files
from leadline.predict.predictor import Predictor

EVERY = ["vis", "side", "png16", "npy", "npz", "ply"]
HOW = Preprocess(size=(32, 32), mean=(0.0,) * 3, std=(1.0,) * 3)


def brightness(images: np.ndarray) -> np.ndarray:
    return 1 + images.mean(1, keepdims=True)


FAKE = Predictor("fake", brightness, HOW, Head())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(np.full((32, 48, 3), 60 + 60 * i, np.uint8)).save(folder / f"{i:03d}.jpg")
    return folder


def predicted(source: Path | str, out: Path, save: list[str]) -> list[Outcome]:
    outcomes = list(predict_files(FAKE, sources(source), out, save=save))
    assert not [outcome.error for outcome in outcomes if outcome.error]
    return outcomes


def test_a_second_run_in_one_folder_sees_the_photographs_alone(photos: Path) -> None:
    for source in (photos, f"{photos}/*.*g", f"{photos}/**/*.*g"):
        assert len(predicted(source, photos, ["vis", "side", "png16", "npz"])) == 2
        assert [path.name for path in sources(photos)] == ["000.jpg", "001.jpg"]
    names = {path.name for path in photos.iterdir()}
    predicted(photos, photos, ["vis", "side", "npz", "ply"])
    assert {path.name for path in photos.iterdir()} - names == {"000.ply", "001.ply"}  # the others were replaced


def test_the_command_line_predicts_twice_into_its_source(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["predict", str(photos), "--model", "litedepth", "--out", str(photos), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["n"] == 2


def test_results_below_a_folder_of_photographs_are_not_labelled(photos: Path) -> None:
    predicted(photos, photos / "results" / "new", ["vis", "side", "png16"])
    assert [key.name for key in open_dataset(photos, "all").keys] == ["000", "001"]


def test_photographs_that_are_only_called_so_stay(photos: Path) -> None:
    for name in ("000_vis.png", "000_side.png", "000_depth.png", "house_depth.png"):
        Image.new("RGB", (8, 8)).save(photos / name)
    Image.fromarray(np.full((8, 8), 900, np.uint16)).save(photos / "lone_depth.png")
    assert len(sources(photos)) == 7
    Image.fromarray(np.full((8, 8), 900, np.uint16)).save(photos / "001_depth.png")  # as older versions wrote it
    assert len(sources(photos)) == 7


def test_results_that_are_asked_for_by_name_are_found(photos: Path) -> None:
    predicted(photos, photos, ["vis"])
    assert len(sources(f"{photos}/*_vis.png")) == 2
    assert sources(photos / "000_vis.png") == [photos / "000_vis.png"]
    (photos / "list.txt").write_text("000_vis.png\n")
    assert sources(photos / "list.txt") == [photos / "000_vis.png"]


def test_leadline_knows_its_files_by_what_is_in_them(photos: Path, tmp_path: Path) -> None:
    predicted(photos, tmp_path / "out", EVERY)
    own = {path.name for path in (tmp_path / "out").iterdir() if is_own(path)}
    assert own >= {f"000{ending}" for ending in ("_vis.png", "_side.png", "_depth.npz", ".ply")}
    for name, content in (("a.png", b""), ("a.npz", b"PK"), ("a.ply", b"ply"), ("b.png", b"\x89PNG\r\n\x1a\n\0")):
        (tmp_path / name).write_bytes(content)
        assert not is_own(tmp_path / name)
    assert not is_own(tmp_path / "none.png")
    assert without_results([tmp_path / "none_vis.png"]) == [tmp_path / "none_vis.png"]


def test_another_s_depth_beside_a_photograph_is_never_replaced(photos: Path, tmp_path: Path) -> None:
    depth = np.full((32, 48), 1234, np.uint16)
    Image.fromarray(depth).save(photos / "000_depth.png")
    np.savez(photos / "000_depth.npz", depth=depth)
    np.save(photos / "000_depth.npy", depth)
    (photos / "001.ply").write_text("ply\nmine\n")
    (photos / "001_vis.png").symlink_to(tmp_path / "away.png")
    before = {path.name: path.read_bytes() for path in photos.iterdir() if path.exists()}
    for save in (["png16"], ["npz"], ["npy"], ["ply"], EVERY):
        predicted(photos, photos, save)
    assert {name: (photos / name).read_bytes() for name in before} == before
    assert not (tmp_path / "away.png").exists()


def test_results_are_the_depth_of_a_data_set(photos: Path, tmp_path: Path) -> None:
    photos.rename(tmp_path / "images")
    for save, folder in ((["vis", "png16"], "a"), (["npy"], "b"), (["npz"], "c")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "images").symlink_to(tmp_path / "images")
        predicted(tmp_path / "images", tmp_path / folder / "depth", save)
        data = open_dataset(tmp_path / folder, "all")
        assert [key.name for key in data.keys] == ["000", "001"]
        assert data[1].target.mean() == pytest.approx(1 + 120 / 255, abs=0.01) and data[1].valid.all()


@pytest.mark.parametrize("save", [["vis", "side", "png16"], ["npy"], ["npz"], EVERY])
def test_results_are_a_teacher(photos: Path, tmp_path: Path, save: list[str]) -> None:
    predicted(photos, tmp_path / "out", save)
    scale = 1000 if save[-1] == "png16" else 1
    teacher = open_teacher(tmp_path / "out", ExternalModel(kind="metric", depth_scale=scale))
    depth = teacher(Batch(torch.rand(2, 3, 32, 48), None, None, ("001", "000_depth"))).depth
    assert float(depth[0].mean()) == pytest.approx(1 + 120 / 255, abs=0.01)
    assert float(depth[1].mean()) == pytest.approx(1 + 60 / 255, abs=0.01)  # a picture may be called so


def test_two_maps_of_one_picture_are_refused_unless_leadline_s_names_tell(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((4, 4)))
    np.savez(tmp_path / "a.npz", depth=np.ones((4, 4)))
    with pytest.raises(BadData, match=r"a\.npz and a\.npy are for one picture"):
        open_teacher(tmp_path, ExternalModel(kind="metric", depth_scale=1))


def test_a_map_of_the_picture_as_stored_is_named_as_turned(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((6, 8)))
    teacher = open_teacher(tmp_path, ExternalModel(kind="metric", depth_scale=1))
    with pytest.raises(ValueError, match=r"not one shape \(turned by 90 degrees.*EXIF orientation"):
        teacher(Batch(torch.rand(1, 3, 8, 6), None, None, ("a",)))


@pytest.mark.parametrize(("file", "name"), [("s/a_depth.png", "s/a"), ("a.b.npy", "a.b"), ("_depth.png", "_depth")])
def test_a_depth_map_s_name_tells_its_picture(file: str, name: str) -> None:
    assert depth_stem(file) == name
