"""Label sets: numbers that survive being stored, and labels that only ever meet the pictures they were made from."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_scenes import render, write_folder
from torch import Tensor

from leadline.core.errors import BadData
from leadline.core.spec import Kind
from leadline.core.types import Item
from leadline.data.batch import Batch
from leadline.data.dataset import Dataset, hold_out
from leadline.data.label_set import TOP, Labels, labels_of, open_labels, read_label, stored, with_labels
from leadline.data.layouts.detect import open_dataset
from leadline.data.loader import Part, collate, loader
from leadline.data.options import View
from leadline.data.transforms.augment import augment, fastdepth_train, hu_train, mirror
from leadline.data.validate.check import check
from leadline.distill.labelling.label import label
from leadline.distill.options import Labelling
from leadline.distill.teachers import Answer, Teacher

KINDS = ("metric", "relative_depth", "relative_disparity")


def maps(kind: Kind, seed: int, span: float, low: float) -> np.ndarray:
    x = np.random.default_rng(seed).random((6, 8), np.float32) * span + low
    x[0, 0] = np.nan
    return x if kind != "metric" else x.clip(0.01, 60)


def answered(data: Dataset, sets: list[Labels], **how: Any) -> Dataset:
    labels = labels_of(data, sets)
    assert labels is not None
    return with_labels(data, labels, **how)


@given(st.sampled_from(KINDS), st.integers(0, 99), st.floats(1e-3, 50), st.floats(-20, 20))
def test_stored_numbers_are_the_numbers(kind: Kind, seed: int, span: float, low: float) -> None:
    values = maps(kind, seed, span, low if kind == "relative_disparity" else abs(low))
    numbers, facts = stored(values, kind, 1000)
    known = numbers > 0
    assert np.array_equal(known, np.isfinite(values)) and numbers.dtype == np.uint16
    x = numbers[known].astype(np.float64)
    if kind == "metric":
        back, step = x / 1000, 1e-3
    elif kind == "relative_depth":
        ratio = (facts["high"] / facts["low"]) ** (1 / (TOP - 1))
        back, step = facts["low"] * ratio ** (x - 1), (ratio - 1) * values[known]
    else:
        step = (facts["high"] - facts["low"]) / (TOP - 1)
        back = facts["low"] + (x - 1) * step
    assert (np.abs(back - values[known]) <= 0.51 * step + 1e-6 * abs(values[known]).max()).all()


def test_what_16_bits_do_not_hold_is_nothing_and_counted() -> None:
    far = np.array([[1.0, 65.5, 65.6, 300.0, 0.0001, np.nan, -1.0, 0.0]], np.float32)
    numbers, facts = stored(far, "metric", 1000)
    assert numbers.tolist() == [[1000, 65500, 0, 0, 1, 0, 0, 0]] and facts == {"beyond": 2}
    assert stored(far, "metric", 100)[1] == {}


def test_one_number_far_away_leaves_relative_depth_its_steps(tmp_path: Path) -> None:
    values = np.array([[1, 1.1, 1.2, 1e5]], np.float32)
    folder = write_folder(tmp_path / "rooms", [(np.zeros((1, 4, 3), np.uint8), values)])
    run = Labelling(out=tmp_path / "labels", split="all")
    said = Teacher("far", "relative_depth", lambda seen: torch.from_numpy(values)[None, None])
    assert list(label(lambda: said, lambda: open_dataset(folder, "all"), "../rooms", run))
    back, _ = read_label(open_labels(run.out), "000")
    assert back * 1e5 == pytest.approx(values, rel=2e-4)


def test_a_constant_disparity_is_stored_as_one_number() -> None:
    numbers, facts = stored(np.full((2, 2), 0.25, np.float32), "relative_disparity", 1000)
    assert (numbers == 1).all() and facts == {"low": 0.25, "high": 0.25}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "rooms", [render(seed, size=(48, 64)) for seed in range(5)])


def bright(seen: Batch) -> Tensor:
    return 1 + 3 * seen.image.mean(1, keepdim=True)


def labelled(folder: Path, out: Path, kind: Kind = "metric", name: str = "bright", **changes: object) -> Path:
    run = Labelling(out=out, **{"split": "all", "shard": 2, **changes})  # type: ignore[arg-type]
    data = lambda: open_dataset(folder, run.split)  # noqa: E731
    for _ in label(lambda: Teacher(name, kind, bright, {"licences": ["tests"]}), data, "../rooms", run):
        pass
    return out


def test_each_item_has_what_the_teacher_said_of_it(folder: Path, tmp_path: Path) -> None:
    labels = open_labels(labelled(folder, tmp_path / "labels"))
    assert (len(labels), labels.kind, labels.manifest["licences"]) == (5, "metric", ["tests"])
    plain = open_dataset(folder, "all")
    data = answered(plain, [labels])
    for i in range(5):
        item, image = data[i], torch.from_numpy(plain[i].image).permute(2, 0, 1)[None].float() / 255
        wanted = bright(replace(plain[i], image=image))[0, 0].numpy()
        assert item.pseudo_depth == pytest.approx(wanted, abs=6e-4)
        assert item.pseudo_kind == "metric" and item.valid.any() and np.array_equal(item.target, plain[i].target)


def test_without_its_truth_an_item_has_no_depth(folder: Path, tmp_path: Path) -> None:
    labels = open_labels(labelled(folder, tmp_path / "labels"))
    item = answered(open_dataset(folder, "all"), [labels], keep_depth=False)[3]
    assert not item.valid.any() and not item.target.any() and (item.pseudo_depth > 0).all()


def test_labels_of_fewer_rows_are_enlarged(folder: Path, tmp_path: Path) -> None:
    small, large = (labelled(folder, tmp_path / f"{h}", height=h) for h in (24, None))
    a, b = (answered(open_dataset(folder, "all"), [open_labels(path)])[0].pseudo_depth for path in (small, large))
    assert read_label(open_labels(small), open_dataset(folder, "all")[0].name)[0].shape == (24, 32)
    assert a.shape == b.shape == (48, 64) and np.abs(a - b).mean() < 0.1


def test_a_part_of_a_data_set_finds_its_labels(folder: Path, tmp_path: Path) -> None:
    labels = open_labels(labelled(folder, tmp_path / "labels"))
    data = answered(open_dataset(folder, "all"), [labels])
    rest, kept = hold_out(data, every=2, block=1)
    assert len(rest) + len(kept) == 5 and all(
        (part[i].pseudo_depth > 0).all() for part in (rest, kept) for i in range(2)
    )


def test_the_label_set_that_knows_the_images_is_found(folder: Path, tmp_path: Path) -> None:
    other = write_folder(tmp_path / "others", [render(seed, size=(48, 64)) for seed in range(10, 15)])
    sets = [open_labels(labelled(where, tmp_path / f"{i}")) for i, where in enumerate((other, folder))]
    assert (answered(open_dataset(folder, "all"), sets)[0].pseudo_depth > 0).all()


def test_labels_of_other_pictures_are_refused(folder: Path, tmp_path: Path) -> None:
    labels = open_labels(labelled(folder, tmp_path / "labels"))
    other = write_folder(tmp_path / "others", [render(seed, size=(48, 64)) for seed in range(10, 15)])
    assert labels_of(open_dataset(other, "all"), [labels]) is None
    assert labels_of(open_dataset(folder, "all"), [labels]) is labels
    with pytest.raises(BadData, match=r"labels and .*labels are both about"):
        labels_of(open_dataset(folder, "all"), [labels, labels])


def test_an_image_that_cannot_be_read_is_left_out_wherever_it_is(folder: Path, tmp_path: Path) -> None:
    first, *_, last = sorted((folder / "images").iterdir())
    first.write_bytes(b"no image")
    last.write_bytes(b"nor this")
    labels = open_labels(labelled(folder, tmp_path / "labels", split="all"))
    assert len(labels) == 3 and len(answered(open_dataset(folder, "all"), [labels])) == 3
    part = open_dataset(folder, "train")
    assert len(answered(part, [labels])) == len(part) - sum(key.name in {first.stem, last.stem} for key in part.keys)
    for image in (folder / "images").iterdir():
        image.write_bytes(b"none")
    with pytest.raises(BadData, match=r"no image of .* can be read"):
        labels_of(open_dataset(folder, "all"), [labels])


def test_a_picture_that_has_changed_since_is_refused(folder: Path, tmp_path: Path) -> None:
    labels = open_labels(labelled(folder, tmp_path / "labels"))
    data = answered(open_dataset(folder, "all"), [labels])
    last = sorted((folder / "images").iterdir())[-1]
    last.write_bytes(sorted((folder / "images").iterdir())[0].read_bytes())
    with pytest.raises(BadData, match=r"is of another picture; label the data set anew"):
        data[4]


def test_an_image_without_a_label_says_why(folder: Path, tmp_path: Path) -> None:
    labels = open_labels(labelled(folder, tmp_path / "labels", split="train"))
    with pytest.raises(BadData, match=r"has no label for 1 images of .*, such as .*; label the data set anew, into"):
        answered(open_dataset(folder, "all"), [labels])


def test_images_of_which_nothing_is_said_are_learned_from_only_with_their_depth(folder: Path, tmp_path: Path) -> None:
    def first_alone(seen: Batch) -> Tensor:
        return bright(seen) * (1 if seen.name == ("000",) else torch.nan)

    run, data = Labelling(out=tmp_path / "labels", split="all"), open_dataset(folder, "all")
    for _ in label(lambda: Teacher("t", "metric", first_alone), lambda: data, "x", run):
        pass
    labels = open_labels(run.out)
    assert [len(answered(data, [labels], keep_depth=keep)) for keep in (True, False)] == [5, 1]


def test_pixels_that_nobody_is_sure_of_do_not_count(folder: Path, tmp_path: Path) -> None:
    def half_sure(seen: Batch) -> Answer:
        confidence = torch.linspace(0, 1, seen.image.shape[-1]).expand_as(seen.image[:, :1])
        return Answer(bright(seen), confidence)

    run = Labelling(out=tmp_path / "labels", split="all")
    for _ in label(lambda: Teacher("t", "metric", half_sure), lambda: open_dataset(folder, "all"), "x", run):
        pass
    labels, data = open_labels(run.out), open_dataset(folder, "all")
    sure = answered(data, [labels], min_confidence=0.5)[0].pseudo_depth > 0
    assert (answered(data, [labels])[0].pseudo_depth > 0).all()
    assert not sure[:, :31].any() and sure[:, 33:].all()


def test_unfinished_and_damaged_sets_say_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"lacks manifest.json"):
        open_labels(folder)
    out = labelled(folder, tmp_path / "labels")
    shard = out / "labels-00001.tar"
    shard.write_bytes(shard.read_bytes()[:-600])
    with pytest.raises(BadData, match=r"labels-00001.tar has \d+ bytes, \d+ are needed"):
        open_labels(out)
    shard.unlink()
    with pytest.raises(BadData, match=r"labels-00001.tar is missing"):
        open_labels(out)
    (out / "manifest.json").write_text(json.dumps({"format": "leadline-labels-9", "kind": "metric"}))
    with pytest.raises(BadData, match=r"of another version"):
        open_labels(out)
    (out / "manifest.json").rename(out / "plan.json")
    with pytest.raises(BadData, match=r"is not finished: run `leadline label` again"):
        open_labels(out)


def item(kind: Kind = "metric") -> Item:
    """What the teacher says is twice the depth, so that each transform shows whether it treats both alike."""
    rng = np.random.default_rng(1)
    depth = rng.uniform(1, 4, (480, 640)).astype(np.float32)
    image = rng.integers(0, 255, (480, 640, 3), np.uint8)
    return Item(image, depth, np.ones((480, 640), bool), "a", pseudo_depth=2 * depth, pseudo_kind=kind)


@pytest.mark.parametrize("way", ["view", "fastdepth", "hu", "mirror"])
@pytest.mark.parametrize("kind", ["metric", "relative_depth"])
def test_what_a_teacher_says_goes_where_the_depth_goes(way: str, kind: Kind) -> None:
    table = {
        "view": lambda s, rng: augment(s, rng, View(size=(60, 80), zoom=(0.8, 1.5), stretch=1.2)),
        "fastdepth": fastdepth_train,
        "hu": hu_train,
        "mirror": lambda s, rng: mirror(s),
    }
    for seed in range(4):
        seen = table[way](item(kind), np.random.default_rng(seed))
        assert seen.pseudo_kind == kind and seen.pseudo_depth.shape == seen.target.shape
        told = seen.pseudo_depth[seen.valid] / seen.target[seen.valid]
        assert told == pytest.approx(2.0, rel=1e-5) if kind == "metric" else np.ptp(told) < 1e-4 * told.max()
        if kind != "metric" and seen.valid.all() and way != "view":
            assert math.isclose(
                seen.pseudo_depth.max(), item().pseudo_depth.max(), rel_tol=0.05
            )  # no metres: zoom leaves it


def test_a_batch_of_taught_and_other_items_says_nothing_of_the_others() -> None:
    taught, other = item(), replace(item(), pseudo_depth=None)
    batch = collate([taught, other])
    assert (
        (batch.pseudo_depth[0] > 0).all()
        and not batch.pseudo_depth[1].any()
        and batch.pseudo_kind == ("metric", "metric")
    )
    assert collate([other, other]).pseudo_depth is None


def test_batches_carry_what_the_teacher_said() -> None:
    data = Dataset("d", (0, 1), lambda key: replace(item(), name=str(key)))
    batch = next(loader([Part(data, 2, lambda s, rng: augment(s, rng, View(size=(48, 64))))], seed=0, workers=0)(0))
    assert torch.allclose(batch.pseudo_depth[batch.valid], 2 * batch.target[batch.valid])


def test_the_check_of_a_label_set_names_what_is_missing_unsure_and_damaged(folder: Path, tmp_path: Path) -> None:
    def third_is_silent(seen: Batch) -> Answer:
        depth = bright(seen) * (torch.nan if seen.name == ("002",) else 1)
        return Answer(depth, torch.full_like(depth, 0.25 if seen.name == ("001",) else 0.75))

    run = Labelling(out=tmp_path / "labels", split="all")
    for _ in label(lambda: Teacher("t", "metric", third_is_silent), lambda: open_dataset(folder, "all"), "x", run):
        pass
    checked = check(run.out)
    assert checked.ok and checked.summary["n"] == 5 and checked.summary["confidence"] == pytest.approx(0.625, abs=0.01)
    silent, unsure = checked.findings
    assert silent.severity == "warning" and silent.where == "002"
    assert unsure.severity == "note" and unsure.where.startswith("001, ") and "0.25" in unsure.what
    shard = next(run.out.glob("*.tar"))
    content = bytearray(shard.read_bytes())
    content[600] ^= 1
    shard.write_bytes(content)
    [damaged] = check(run.out).findings
    assert (damaged.severity, damaged.where) == ("error", shard.name)
