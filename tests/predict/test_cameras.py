"""Which camera took a photograph: what is stated, then EXIF, then an assumed view, the same however it was held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from leadline.cli.main import main
from leadline.core.errors import BadData, BadImage
from leadline.core.orientation import TAG, turned
from leadline.data.layouts.frame import Camera
from leadline.predict.cameras import FIELD_OF_VIEW, by_exif, by_view, camera_of, stated_camera

MATRIX = [[500, 0, 60], [0, 400, 45], [0, 0, 1]]


def photograph(path: Path, size: tuple[int, int], tags: dict[int, Any] | None = None, turn: int = 1) -> Path:
    exif = Image.Exif()
    exif[TAG] = turn
    exif.get_ifd(0x8769).update(tags or {})
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(path, exif=exif)
    return path


def focal(tags: dict[int, Any], size: tuple[int, int]) -> float:
    found, said = by_exif(tags, size)
    assert found is not None, said
    return found


def test_one_camera_has_one_focal_length_however_it_is_held(tmp_path: Path) -> None:
    for size in ((720, 1280), (1280, 720)):
        seen = camera_of(photograph(tmp_path / "a.jpg", size, {0xA405: 26}), size, None)
        assert seen.matrix[0, 0] == seen.matrix[1, 1] == pytest.approx(26 / 36 * 1280)
        assert seen.matrix[0, 2] == (size[1] - 1) / 2 and seen.source.startswith("EXIF: 26 mm")
        assert by_view(size, 90)[0, 0] == pytest.approx(640)


def test_film_s_focal_length_is_that_of_the_diagonal() -> None:
    assert focal({0xA405: 26}, (3024, 4032)) == pytest.approx(26 * 5040 / np.hypot(36, 24))
    assert focal({0xA405: 50}, (2400, 3600)) == pytest.approx(50 * 100)  # 3:2, as film: both rules are one


def test_a_picture_made_smaller_keeps_its_angle_and_a_cropped_one_has_none() -> None:
    tags = {0xA405: 26, 0xA002: 4032, 0xA003: 3024}
    assert focal(tags, (756, 1008)) == pytest.approx(focal(tags, (3024, 4032)) / 4)
    assert focal(tags, (1008, 756)) == focal(tags, (756, 1008))  # turned by a program that left the tags alone
    found, why = by_exif(tags, (3024, 3024))
    assert found is None and "4032x3024, another shape" in why


@pytest.mark.parametrize(("unit", "density"), [(2, 4800.0 * 2.54), (3, 4800.0), (4, 480.0), (None, 4800.0 * 2.54)])
def test_a_focal_length_counts_with_the_sensor_s_density(unit: int | None, density: float) -> None:
    tags: dict[int, Any] = {0x920A: 5.0, 0xA20E: density, 0xA002: 2400, 0xA003: 1800}
    tags |= {} if unit is None else {0xA210: unit}
    assert focal(tags, (1800, 2400)) == pytest.approx(5 * 480)
    assert focal(tags | {0xA404: 2.0}, (900, 1200)) == pytest.approx(5 * 480)  # half the size, twice the zoom


@pytest.mark.parametrize(
    "tags",
    [
        {}, {0xA405: 0}, {0xA405: "x"}, {0xA405: IFDRational(1, 0)}, {0xA405: float("nan")}, {0xA405: -3},
        {0xA405: 60000}, {0x920A: 5.0}, {0x920A: 5.0, 0xA20E: 72.0, 0xA210: 2}, {0x920A: 5.0, 0xA20E: (), 0xA210: "?"},
    ],
)  # fmt: skip
def test_tags_that_say_nothing_do_not_count(tags: dict[int, Any]) -> None:
    assert by_exif(tags, (1800, 2400))[0] is None


def test_without_exif_a_view_is_assumed_and_said(tmp_path: Path) -> None:
    path = photograph(tmp_path / "a.png", (30, 40))
    seen = camera_of(path, (30, 40), None)
    assert (seen.matrix == by_view((30, 40), FIELD_OF_VIEW)).all()
    assert "assumed field of view of 58 degrees" in seen.source and "no focal length" in seen.source
    assert "as stated" in camera_of(path, (30, 40), None, 70.0).source


@pytest.mark.parametrize("turn", range(1, 9))
def test_stated_intrinsics_turn_with_the_photograph(tmp_path: Path, turn: int) -> None:
    path = photograph(tmp_path / "a.jpg", (96, 128), turn=turn)
    size = (128, 96) if turn >= 5 else (96, 128)
    mark = np.zeros((96, 128))
    mark[45, 60] = 1
    [[row, column]] = np.argwhere(turned(mark, turn))
    matrix = camera_of(path, size, stated_camera("500,400,60,45")).matrix
    assert (matrix[0, 2], matrix[1, 2]) == (column, row)
    assert (matrix[0, 0], matrix[1, 1]) == ((400, 500) if turn >= 5 else (500, 400))


@pytest.mark.parametrize(
    "text",
    [
        "500 0 60\n0 400 45\n0 0 1\n",
        "\ufeff500,0,60\r\n0,400,45\r\n0,0,1\r\n",
        "# fx 0 cx\n[[5e2, 0, 60], [0, 4e2, 45], [0, 0, 1]]",
        "500 0 60 0\n0 400 45 0\n0 0 1 0\n0 0 0 1\n",
        "fx: 500\nfy: 400\ncx: 60\ncy: 45\n",
        "P_rect_02: 500 0 60 44 0 400 45 0.2 0 0 1 0.003\nP_rect_03: 1 2 3\n",
        "P2: 500 0 60 44 0 400 45 0.2 0 0 1 0.003\n",
        json.dumps(MATRIX),
        json.dumps({"fx": 500, "fy": 400, "cx": 60, "cy": 45}),
        json.dumps({"fl_x": 500, "fl_y": 400, "cx": 60, "cy": 45, "frames": []}),
        json.dumps({"K": MATRIX}),
        json.dumps({"camera_matrix": {"data": 1, "K": MATRIX}}),
        json.dumps({"intrinsic_matrix": [500, 0, 0, 0, 400, 0, 60, 45, 1]}),
    ],
)
def test_a_calibration_is_read_as_programs_write_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c"
    path.write_bytes(text.encode())
    assert stated_camera(str(path)) == Camera(500, 400, 60, 45)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"fx": 500, "fy": 400, "cx": 60, "cy": 45, "width": 128, "height": 96}),
        "S_rect_02: 1.28e2 9.6e1\nP_rect_02: 500 0 60 44 0 400 45 0.2 0 0 1 0.003\n",
    ],
)
def test_a_calibration_with_a_size_is_scaled_to_the_photograph(tmp_path: Path, text: str) -> None:
    (tmp_path / "c").write_text(text)
    camera = stated_camera(str(tmp_path / "c"))
    seen = camera_of(photograph(tmp_path / "a.jpg", (48, 64)), (48, 64), camera)
    assert np.allclose(seen.matrix, [[250, 0, 29.75], [0, 200, 22.25], [0, 0, 1]])
    with pytest.raises(BadImage, match="64x64, and the intrinsics are for pictures of 128x96"):
        camera_of(photograph(tmp_path / "b.jpg", (64, 64)), (64, 64), camera)


def test_intrinsics_of_a_picture_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadImage, match=r"optical axis at 60, 45 is far from its middle.*width and height"):
        camera_of(photograph(tmp_path / "a.jpg", (192, 256)), (192, 256), stated_camera("500,400,60,45"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n", "3 numbers; 4 are needed"),
        ("-500 0 60\n0 400 45\n0 0 1\n", "focal lengths are -500"),
        ("500 0 60\n0 400 45\n1 1 1\n", "third row"),
        ("{", "holds no intrinsics"),
        ('{"a": 1}', "it has a, not fx"),
        ('{"K": [1, "x"]}', "holds no intrinsics"),
        ('{"fx": 1, "fy": 1, "cx": 0, "cy": 0, "w": 0, "h": 0}', "at least one pixel"),
    ],
)
def test_a_file_without_intrinsics_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(BadData, match=message):
        stated_camera(str(tmp_path / "c.json"))


def test_words_that_are_no_intrinsics_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="cannot be read"):
        stated_camera(str(tmp_path / "none.txt"))
    for words in ("1,2,3", "a,b,c,d", "nan,1,2,3", "0,1,2,3"):
        with pytest.raises(ValueError, match=r"fx,fy,cx,cy in pixels, or a file"):
            stated_camera(words)


def test_the_answer_and_the_point_cloud_say_which_camera_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photograph(tmp_path / "a.jpg", (48, 64), {0xA405: 26})
    (tmp_path / "k.txt").write_text("70 0 31\n0 70 24\n0 0 1\n")
    for flags, said, length in (
        ([], "EXIF: 26 mm on 35 mm film", 26 * 80 / np.hypot(36, 24)),
        (["--fov", "90"], "90 degrees across the longer side, as stated", 32.0),
        (["--intrinsics", "70,70,31,24"], "the intrinsics that were given", 70.0),
        (["--intrinsics", str(tmp_path / "k.txt")], "the intrinsics that were given", 70.0),
    ):
        words = ["predict", str(path), "--model", "litedepth", "--out", str(tmp_path / "out"), "--save", "ply", *flags]
        assert main([*words, "--json"]) == 0
        [found] = json.loads(capsys.readouterr().out)["files"]
        assert said in found["camera"]["source"] and found["camera"]["fx"] == pytest.approx(length)
        comments = (tmp_path / "out" / "a.ply").read_bytes().partition(b"end_header")[0].decode("ascii")
        assert said in comments and f"comment focal length {length:.6g} pixels" in comments
    assert main(words) == 0
    assert "camera: focal length 70.0 pixels, from the intrinsics" in capsys.readouterr().out


def test_two_statements_of_one_camera_and_one_that_is_not_needed_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = photograph(tmp_path / "a.jpg", (48, 64))
    words = ["predict", str(path), "--model", "litedepth", "--intrinsics", "70,70,31,24"]
    assert main([*words, "--save", "ply", "--fov", "60"]) == 1 and "give one of them" in capsys.readouterr().err
    assert main([*words, "--save", "vis"]) == 1 and "intrinsics are for ply" in capsys.readouterr().err
