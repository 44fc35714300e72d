from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import tiny_streets
from support.tiny_scenes import Room, render, write_folder, write_png

from leadline.core.errors import BadData
from leadline.data.validate.check import Checked, check

Write = Callable[..., Path]


def found(checked: Checked, words: str, severity: str | None = None) -> bool:
    """Whether a finding says `words` (and has that severity)."""
    return any(words in f"{f.what} {f.advice}" and severity in (None, f.severity) for f in checked.findings)


def test_a_good_set_has_no_findings_and_a_true_summary(room_folder: Write, rooms: list[Room]) -> None:
    checked = check(room_folder())
    assert checked.findings == () and checked.ok
    summary = checked.summary
    assert (summary["n"], summary["n_train"], summary["n_test"], summary["n_read"]) == (20, 16, 4, 20)
    assert summary["size_min"] == summary["size_max"] == (96, 128) and summary["valid_fraction"] == 1
    assert summary["depth_median_m"] == pytest.approx(np.median([depth for _, depth in rooms]), rel=0.02)
    assert summary["depth_min_m"] >= min(depth.min() for _, depth in rooms) - 0.001
    assert summary["depth_max_m"] <= max(depth.max() for _, depth in rooms) + 0.001


@pytest.mark.parametrize(
    ("written", "said", "severity"),
    [(1000, 1, "error"), (256, 1000, "warning"), (256, 1, "error"), (100, 1000, "warning"), (5000, 100, "error")],
)
def test_a_wrong_scale_is_found_and_the_right_one_offered(
    room_folder: Write, written: int, said: int, severity: str
) -> None:
    checked = check(room_folder(scale=written), depth_scale=float(said))
    assert found(checked, f"{written} (median", severity)


def test_a_scale_ten_times_off_is_found(room_folder: Write) -> None:
    checked = check(room_folder(lambda i, image, depth: (image, depth * 10)))
    assert found(checked, "10000 (median 2.8", "warning")


def test_the_layout_knows_its_sensor(tmp_path: Path, rooms: list[Room]) -> None:
    folder = tmp_path / "seq-01"
    folder.mkdir()
    for i, (image, depth) in enumerate(rooms[:6]):
        Image.fromarray(image).save(folder / f"frame-{i:06d}.color.png")
        write_png(folder / f"frame-{i:06d}.depth.png", depth, scale=5000)
    assert found(check(tmp_path), "median depth is 1", "error")
    assert not found(check(tmp_path, depth_scale=5000.0), "median depth")


def test_millimetres_in_a_float_file_are_found(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms)
    for i, (_, depth) in enumerate(rooms):
        (tmp_path / "depth" / f"{i:03d}.png").unlink()
        np.save(tmp_path / "depth" / f"{i:03d}.npy", depth * 1000)
    assert found(check(tmp_path), "1000 (median 2.8", "error")


def test_eight_bits_are_found_with_their_step(room_folder: Write, rooms: list[Room]) -> None:
    root = room_folder()
    for i, (_, depth) in enumerate(rooms):
        Image.fromarray(np.minimum(depth * 25.5, 255).astype(np.uint8)).save(root / "depth" / f"{i:03d}.png")
    checked = check(root, depth_scale=25.5)
    assert found(checked, "8 bits", "warning") and found(checked, "steps of 3.9 cm") and checked.ok


def test_maps_stretched_to_their_own_range_are_found(room_folder: Write) -> None:
    checked = check(room_folder(lambda i, image, depth: (image, depth / depth.max() * 65.535)))
    assert found(checked, "stretched to its own range", "error")


def test_clipping_is_found(room_folder: Write) -> None:
    checked = check(room_folder(lambda i, image, depth: (image, np.minimum(depth, 3))))
    assert found(checked, "exactly the largest value, 3 m", "warning")


@pytest.mark.parametrize(
    ("name", "turn"),
    [
        ("mirrored left to right", lambda depth: depth[:, ::-1]),
        ("upside down", lambda depth: depth[::-1]),
        ("turned by 180 degrees", lambda depth: depth[::-1, ::-1]),
    ],
)
def test_turned_depth_is_found(room_folder: Write, name: str, turn: Callable[[np.ndarray], np.ndarray]) -> None:
    assert found(check(room_folder(lambda i, image, depth: (image, turn(depth)))), f"depth is {name}", "error")


def test_transposed_depth_is_found_in_square_and_in_wide_pictures(room_folder: Write) -> None:
    square = check(room_folder(lambda i, image, depth: (image[:, :96], depth[:, :96].T)))
    assert found(square, "depth is transposed", "error")
    assert found(check(room_folder(lambda i, image, depth: (image, depth.T))), "turned by 90 degrees", "error")


@pytest.mark.parametrize(("pixels", "severity"), [(2, "warning"), (8, "error")])
def test_shifted_depth_is_found_with_amount_and_direction(room_folder: Write, pixels: int, severity: str) -> None:
    checked = check(room_folder(lambda i, image, depth: (image[:, pixels:], depth[:, :-pixels])))
    assert found(checked, "of its width to the left", severity)
    upwards = check(room_folder(lambda i, image, depth: (image[:-pixels], depth[pixels:])))
    assert found(upwards, "of its height below", severity)


def test_depth_of_other_frames_is_found(room_folder: Write, rooms: list[Room]) -> None:
    checked = check(room_folder(lambda i, image, depth: (image, rooms[(i + 5) % 20][1])))
    assert found(checked, "not at edges of the image", "warning")


def test_disparity_is_found_and_told_from_pictures_upside_down(room_folder: Write) -> None:
    disparity = check(room_folder(lambda i, image, depth: (image, 5 / depth)))
    assert found(disparity, "look like disparity", "error")
    turned = check(room_folder(lambda i, image, depth: (image[::-1], depth[::-1])))
    assert found(turned, "upside down", "warning") and turned.ok


def test_holes_empty_maps_and_nan_are_found(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms)
    for i, (_, depth) in enumerate(rooms):
        (tmp_path / "depth" / f"{i:03d}.png").unlink()
        holed = np.where(np.arange(128) % 3 == 0, depth, np.nan) if i else np.full_like(depth, np.nan)
        np.save(tmp_path / "depth" / f"{i:03d}.npy", holed)
    checked = check(tmp_path)
    assert found(checked, "1 of 20 maps looked at have no valid depth: 000", "warning")
    assert found(checked, "of the pixels have depth", "warning") and found(checked, "hold NaN", "warning")


def test_constant_and_repeated_maps_are_found(room_folder: Write) -> None:
    checked = check(room_folder(lambda i, image, depth: (image, depth * 0 + 2 if i < 3 else depth)))
    assert found(checked, "3 of 20 maps have the same depth everywhere", "warning")
    assert found(checked, "depth maps of different images are equal", "warning")


def test_different_sizes_are_found_for_each_frame(room_folder: Write) -> None:
    checked = check(room_folder(lambda i, image, depth: (image, depth[:60] if i == 4 else depth)))
    assert found(checked, "128 wide, 96 high and its depth 128 wide, 60 high", "error")
    assert checked.summary["n_read"] == 19


def test_one_finding_does_not_hide_another(room_folder: Write) -> None:
    root = room_folder(lambda i, image, depth: (image, depth[:60] if i == 4 else depth))
    shutil.copy(root / "images" / "002.png", root / "images" / "019.png")
    (root / "depth" / "003.png").unlink()
    checked = check(root)
    assert (
        found(checked, "60 high") and found(checked, "under another name, in test") and found(checked, "no depth map")
    )


def test_unreadable_files_are_named_one_by_one_whatever_is_sampled(room_folder: Write) -> None:
    root = room_folder()
    (root / "images" / "003.png").write_bytes(b"")
    for broken in ("images/007.png", "depth/011.png"):
        data = (root / broken).read_bytes()
        (root / broken).write_bytes(data[: len(data) // 2])
    (root / "depth" / "013.png").write_text("not a picture")
    checked = check(root, n=2)
    errors = [finding.where for finding in checked.findings if finding.severity == "error"]
    assert sorted(errors) == ["depth/011.png", "depth/013.png", "images/003.png", "images/007.png"]
    again = check(root)
    assert sorted(f.where for f in again.findings if f.severity == "error") == sorted(errors)
    assert again.summary["n_read"] == 16


def test_lone_halves_are_found(room_folder: Write) -> None:
    root = room_folder()
    (root / "depth" / "003.png").unlink()
    (root / "images" / "005.png").unlink()
    checked = check(root)
    assert found(checked, "1 of 19 files have no depth map in this data set: 003.png", "warning")
    assert found(checked, "1 of 19 files have no image in this data set: 005.png", "warning")


def test_equal_images_across_the_splits_are_found(room_folder: Write) -> None:
    root = room_folder()
    shutil.copy(root / "images" / "002.png", root / "images" / "019.png")
    checked = check(root)
    assert found(checked, "1 images are in train and, under another name, in test", "error")
    shutil.copy(root / "images" / "002.png", root / "images" / "003.png")
    shutil.copy(root / "images" / "000.png", root / "images" / "019.png")
    assert found(check(root), "there several times: images/002.png = images/003.png", "warning")


def test_an_image_listed_in_both_parts_is_found(room_folder: Write) -> None:
    root = room_folder()
    (root / "train.txt").write_text("\n".join(f"{i:03d}" for i in range(15)))
    (root / "test.txt").write_text("\n".join(f"{i:03d}" for i in range(14, 20)))
    assert found(check(root), "1 images belong to train and to test: images/014.png", "error")


def test_a_video_split_by_single_frames_leaks_and_by_runs_does_not(tmp_path: Path) -> None:
    write_folder(tmp_path, [render(3, 0.02 * i) for i in range(15)] + [render(4, 0.02 * i) for i in range(5)])
    assert not found(check(tmp_path, test_fraction=0.25), "near-equal")
    (tmp_path / "test.txt").write_text("\n".join(f"{i:03d}" for i in range(1, 20, 4)))
    assert found(check(tmp_path), "100% of the test images have a near-equal one in train", "error")


def test_val_is_compared_with_train_too(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:12])
    for part, some in (("train", range(8)), ("valid", range(7, 10)), ("test", range(10, 12))):
        (tmp_path / f"{part}.txt").write_text("\n".join(f"{i:03d}" for i in some))
    shutil.copy(tmp_path / "images" / "008.png", tmp_path / "images" / "010.png")
    checked = check(tmp_path)
    assert found(checked, "1 images belong to train and to val: images/007.png", "error")
    assert found(checked, "1 images are in val and, under another name, in test", "error")
    assert checked.summary["n_val"] == 3 and checked.summary["parts"] == "by test.txt, train.txt, valid.txt"


def test_frames_in_no_part_are_counted(tmp_path: Path, rooms: list[Room]) -> None:
    for part, some in (("train", rooms[:3]), ("val", rooms[3:5]), ("extra", rooms[5:6])):
        write_folder(tmp_path / "made", some)
        for kind in ("images", "depth"):
            (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
            (tmp_path / "made" / kind).rename(tmp_path / "set" / kind / part)
    checked = check(tmp_path / "set")
    assert found(checked, "1 frames are in no part: 1 in extra", "warning")
    assert found(checked, "val stands in", "note") and "n_test" not in checked.summary


def test_depth_folders_that_are_not_read_are_named(tmp_path: Path, rooms: list[Room]) -> None:
    write_folder(tmp_path, rooms[:2])
    shutil.copytree(tmp_path / "depth", tmp_path / "depth_raw")
    assert found(check(tmp_path), "depth_raw look like depth, too, and are not read; depth is", "note")


def test_hidden_files_are_no_lone_halves(room_folder: Write) -> None:
    root = room_folder()
    for kind in ("images", "depth"):
        (root / kind / "._000.png").write_bytes(b"Mac OS X")
    assert check(root).findings == ()


def test_unlabelled_images_only_have_their_files_checked(tmp_path: Path, rooms: list[Room]) -> None:
    for i, (image, _) in enumerate(rooms[:4]):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    assert found(check(tmp_path), "no depth to look at", "note")
    (tmp_path / "2.png").write_bytes(b"broken")
    checked = check(tmp_path)
    assert [finding.where for finding in checked.findings if finding.severity == "error"] == ["2.png"]


def test_files_without_an_ending_or_a_number_are_named(tmp_path: Path) -> None:
    for kind in ("rgb", "depth"):
        (tmp_path / kind).mkdir()
        Image.fromarray(np.full((8, 8), 5000, np.uint16)).save(tmp_path / kind / "1.png")
        (tmp_path / f"{kind}.txt").write_text(f"1.0 {kind}/1.png\n2.0 null\n")
    assert found(check(tmp_path), "null: depth maps end in", "error")


def test_classes_are_not_checked(tmp_path: Path) -> None:
    tiny_streets.write(tmp_path, "train", 1, 0)
    with pytest.raises(BadData, match="holds classes; `data check` looks for faults of depth, `data ls` says what"):
        check(tmp_path)


def test_without_a_data_set_there_is_an_error_and_not_a_report(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="is empty; a folder of images or data is needed"):
        check(tmp_path)
    with pytest.raises(ValueError, match="n is 0"):
        check(tmp_path, n=0)


@pytest.mark.parametrize("name", ["nyu_raw", "kitchen", "tum_fr1_rpy", "robot", "office", "drive", "photos"])
def test_good_real_sets_have_no_errors(shared_data: Path, name: str) -> None:
    checked = check(shared_data / name, n=16)
    assert checked.ok, [finding for finding in checked.findings if finding.severity == "error"]


def test_real_faults_are_found_in_a_real_set(shared_data: Path, tmp_path: Path) -> None:
    for kind in ("images", "depth"):
        (tmp_path / kind).mkdir()
        for path in sorted((shared_data / "office" / kind).iterdir())[::6]:
            shutil.copy(path, tmp_path / kind)
    for path in (tmp_path / "depth").iterdir():
        mirrored = np.asarray(Image.open(path))[:, ::-1]
        Image.fromarray(np.ascontiguousarray(mirrored)).save(path, compress_level=1)
    assert found(check(tmp_path, n=16), "mirrored left to right", "error")
