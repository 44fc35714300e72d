"""The verbs of the command line, as people type them: what they print, write and refuse."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.tiny_scenes import write_png

import leadline
from leadline.cli.main import main
from leadline.evaluation.protocols import mai2022_score

RGB = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A very small net with fresh weights, as a checkpoint."""
    from leadline.core.spec import Decoder, Encoder, Preprocess
    from leadline.nn import zoo
    from leadline.nn.build import build
    from leadline.nn.checkpoint import save

    spec = replace(
        zoo.fastdepth(),
        name="tiny",
        encoder=Encoder("mobilenet_v1", (4,) * 14),
        decoder=Decoder("nnconv5", (4,) * 5),
        preprocess=Preprocess(size=(32, 32)),
    )
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save(build(spec, seed=0), path, provenance={"data": "none"})
    return str(path)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two photographs, and an empty file between them."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("a.jpg", "c.png"):
        Image.fromarray(RGB).save(folder / name)
    (folder / "b.jpg").touch()
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five frames with depth, in the plain layout."""
    folder = tmp_path_factory.mktemp("dataset")
    for part in ("images", "depth"):
        (folder / part).mkdir()
    for i in range(5):
        Image.fromarray(np.roll(RGB, i, axis=1)).save(folder / "images" / f"{i}.png")
        depth = np.random.default_rng(i).uniform(1, 5, (48, 64)).astype(np.float32)
        write_png(folder / "depth" / f"{i}.png", depth)  # which does not say its scale
    return folder


def answer(capsys: Captured, *args: str | Path, code: int = 0) -> dict[str, Any]:
    """The one JSON object that the command prints on standard output."""
    assert main([str(a) for a in (*args, "--json")]) == code
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    found: dict[str, Any] = json.loads(out)
    assert isinstance(found, dict)
    return found


def failure(capsys: Captured, *args: str | Path, code: int = 1) -> str:
    """The one line on standard error of a command that fails."""
    assert main([str(a) for a in args]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("leadline: ") and err.count("\n") == 1 and err.endswith("\n")
    return err


def test_predict_writes_and_tells_kind_unit_range_and_time(
    capsys: Captured, tmp_path: Path, model: str, photos: Path
) -> None:
    assert main(["predict", str(photos / "a.jpg"), "-m", model, "-o", str(tmp_path), "--save", "vis,png16"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for word in (
        "metric depth in m: min ",
        "median ",
        "max ",
        "preprocess ",
        "inference ",
        "postprocess ",
        "a_vis.png",
    ):
        assert word in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a_depth.png", "a_vis.png"]


def test_predict_on_a_folder_reports_the_bad_file_and_does_the_rest(
    capsys: Captured, tmp_path: Path, model: str, photos: Path
) -> None:
    assert main(["predict", str(photos), "--model", model, "--out", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "b.jpg is empty" in err
    assert "a.jpg" in out and "c.png" in out
    assert re.fullmatch(r"3 pictures, 1 failed; mean latency [\d.]+ ms, .* \(eager\)", out.splitlines()[-1])
    assert sorted(p.name for p in tmp_path.glob("*_vis.png")) == ["a_vis.png", "c_vis.png"]


def test_predict_takes_what_a_shell_makes_of_a_pattern(model: str, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "more").mkdir()
    names = ["a.png", "b.png", "more/c.png"]
    for name in names:
        Image.fromarray(RGB).save(tmp_path / name)
    given = [str(tmp_path / "a.png"), str(tmp_path / "b.png"), str(tmp_path / "more"), str(tmp_path / "a.png")]
    assert main(["predict", *given, "--model", model, "--out", str(tmp_path / "out"), "--json"]) == 0
    seen = [Path(row["source"]).name for row in json.loads(capsys.readouterr().out)["files"]]
    assert seen == ["a.png", "b.png", "c.png"]  # a picture that is named twice is one


def test_predict_as_json_is_one_object_even_where_a_file_fails(
    capsys: Captured, tmp_path: Path, model: str, photos: Path
) -> None:
    facts = answer(capsys, "predict", photos, "-m", model, "-o", tmp_path, "--save", "npy", code=1)
    assert (facts["model"], facts["kind"], facts["unit"], facts["n"], facts["n_failed"]) == (
        "tiny",
        "metric",
        "m",
        3,
        1,
    )
    good, bad, other = facts["files"]
    for part, mean in facts["mean_latency_ms"].items():  # over those that did not fail
        assert mean == pytest.approx((good["latency_ms"][part] + other["latency_ms"][part]) / 2)
    assert set(bad) == {"source", "error"}
    assert good["files"] == [str(tmp_path / "a_depth.npy")]
    assert good["min"] <= good["median"] <= good["max"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--save", "jpg"), "one or more of"),
        (("--vmin", "3", "--vmax", "1"), "vmin < vmax"),
        (("--colormap", "nope"), "colour map 'nope' is unknown"),
        (("--fov", "0"), "fov is 0.0"),
        (("--threads", "0"), "threads is 0"),
    ],
)
def test_predict_refuses_bad_flags_in_one_line(
    capsys: Captured, tmp_path: Path, model: str, photos: Path, flags: tuple[str, str], message: str
) -> None:
    assert message in failure(capsys, "predict", photos, "-m", model, "-o", tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_a_failure_says_what_was_not_found_in_one_line(capsys: Captured, tmp_path: Path, photos: Path) -> None:
    assert "there is no" in failure(capsys, "predict", tmp_path / "none.jpg")
    assert "no model" in failure(capsys, "predict", photos, "-m", tmp_path / "none.safetensors")
    assert "does not exist" in failure(capsys, "val", "--data", tmp_path / "none")


def test_val_measures_under_a_named_protocol(capsys: Captured, model: str, dataset: Path) -> None:
    facts = answer(capsys, "val", "-m", model, "--data", dataset, "--split", "test", "--protocol", "indoor-metric@1")
    assert (facts["name"], facts["protocol"], facts["n"]) == ("tiny", "indoor-metric@1", 1)
    assert {"delta1", "abs_rel", "rmse"} <= set(facts["metrics"])
    assert facts["context"]["split"] == "test"
    assert facts["context"]["model"] == model


def test_val_prints_the_same_numbers_as_a_table(capsys: Captured, model: str, dataset: Path) -> None:
    rmse = answer(capsys, "val", "-m", model, "--data", dataset)["metrics"]["rmse"]
    assert main(["val", "-m", model, "--data", str(dataset)]) == 0
    assert f"{rmse:.4g}" in capsys.readouterr().out


def test_val_under_all_protocols_names_those_that_do_not_fit(capsys: Captured, model: str, dataset: Path) -> None:
    facts = answer(capsys, "val", "-m", model, "--data", dataset, "--split", "all", "--protocol", "all")
    measured = {report["protocol"] for report in facts["reports"]}
    assert "zeroshot-disparity@1" in measured
    assert "480x640" in facts["unfit"]["nyu-eigen@1"]
    assert measured | set(facts["unfit"]) == set(leadline.PROTOCOLS)


def test_val_takes_several_protocols_and_a_limit(capsys: Captured, model: str, dataset: Path) -> None:
    names = "indoor-metric@1,zeroshot-depth@1"
    facts = answer(capsys, "val", "-m", model, "--data", dataset, "--split", "all", "--protocol", names, "--limit", "2")
    assert [(r["protocol"], r["n"]) for r in facts["reports"]] == [(name, 2) for name in names.split(",")]


def test_val_gives_the_mobile_challenge_s_score_for_a_latency(capsys: Captured, model: str, dataset: Path) -> None:
    names = "indoor-metric@1,mai2022@1"
    facts = answer(capsys, "val", "-m", model, "--data", dataset, "--protocol", names, "--latency-ms", "37")
    other, challenge = facts["reports"]
    assert "score" not in other["metrics"]
    expected = mai2022_score(challenge["metrics"]["si_rmse"], 37)
    assert np.isclose(challenge["metrics"]["score"], expected)
    assert "only: name that" in failure(capsys, "val", "-m", model, "--data", dataset, "--latency-ms", "37")


def test_flags_say_how_data_are_read(capsys: Captured, model: str, dataset: Path) -> None:
    metres = answer(capsys, "val", "--model", model, "--data", dataset)["metrics"]
    doubled = answer(capsys, "val", "--model", model, "--data", dataset, "--depth-scale", "500")["metrics"]
    assert doubled["rmse"] > metres["rmse"]
    assert answer(capsys, "data", "ls", dataset, "--test-fraction", "0.4")["items"]["test"] == 2


def test_val_writes_a_row_for_each_image(capsys: Captured, tmp_path: Path, model: str, dataset: Path) -> None:
    path = tmp_path / "deep" / "table.csv"
    facts = answer(capsys, "val", "-m", model, "--data", dataset, "--split", "all", "--csv", path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == facts["n"] == 5
    assert np.isclose(np.mean([float(row["rmse"]) for row in rows]), facts["metrics"]["rmse"])


def test_val_leaves_out_an_unreadable_frame_and_says_so(
    capsys: Captured, tmp_path: Path, model: str, dataset: Path
) -> None:
    for path in dataset.rglob("*.png"):
        target = tmp_path / path.relative_to(dataset)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes()[: 60 if path.stem == "2" and path.parent.name == "images" else None])
    assert main(["val", "-m", model, "--data", str(tmp_path), "--split", "all", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["n"] == 4
    assert err.count("\n") == 1 and "2.png" in err


def test_an_unknown_protocol_is_named_with_the_nearest(capsys: Captured, dataset: Path) -> None:
    assert "nearest: nyu-eigen@1" in failure(capsys, "val", "--data", dataset, "--protocol", "nyu-eigen@2")


def test_data_ls_tells_layout_items_and_depth(capsys: Captured, dataset: Path) -> None:
    facts = answer(capsys, "data", "ls", dataset)
    assert facts["description"]["layout"] == "folder"
    assert facts["items"] == {"train": 4, "test": 1, "all": 5}
    assert facts["first"]["size"] == [48, 64]
    low, high = facts["first"]["depth_range_m"]
    assert 1 <= low < high <= 5
    assert main(["data", "ls", str(dataset), "--depth-scale", "500"]) == 0
    assert "4 train, 1 test" in capsys.readouterr().out


def test_data_check_tells_what_it_found(capsys: Captured, dataset: Path) -> None:
    main(["data", "check", str(dataset), "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert (facts["summary"]["layout"], facts["summary"]["n"]) == ("folder", 5)
    assert all({"severity", "what", "where", "advice"} == set(finding) for finding in facts["findings"])


def test_data_check_has_a_line_for_each_fact(capsys: Captured, dataset: Path) -> None:
    main(["data", "check", str(dataset)])
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["layout", "folder"] in lines and ["n", "5"] in lines


def test_data_check_fails_where_a_file_is_damaged(capsys: Captured, tmp_path: Path, dataset: Path) -> None:
    shutil.copytree(dataset, tmp_path / "d")
    (tmp_path / "d" / "images" / "1.png").write_bytes(b"")
    assert answer(capsys, "data", "check", tmp_path / "d", code=1)["ok"] is False
    assert main(["data", "check", str(tmp_path / "d")]) == 1
    out, err = capsys.readouterr()
    assert "1.png" in out
    assert err.count("\n") == 1 and "severity error" in err


def test_data_synth_writes_what_data_ls_reads(capsys: Captured, tmp_path: Path) -> None:
    pytest.importorskip("embreex")
    made = answer(capsys, "data", "synth", tmp_path / "s", "--n", "2", "--size", "24", "32", "--workers", "1")
    assert (made["n"], made["drawn"]) == (2, 2)
    assert answer(capsys, "data", "ls", tmp_path / "s")["items"]["all"] == 2
    assert answer(capsys, "data", "synth", tmp_path / "s", "--n", "2", "--size", "24", "32")["drawn"] == 0
