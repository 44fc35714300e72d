"""A picture is known again by its pixels, or by its file where that looks the same."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.tiny_scenes import render, write_folder

from leadline.core.errors import BadData
from leadline.core.types import Item
from leadline.data import identity
from leadline.data.dataset import Dataset
from leadline.data.identity import file_of, fingerprint, is_same, marks
from leadline.data.label_set import labels_of, open_labels, with_labels
from leadline.data.layouts.detect import open_dataset
from leadline.data.layouts.frame import Frame, Source
from leadline.distill.labelling.label import label
from leadline.distill.labelling.shards import watched
from leadline.distill.options import Labelling
from leadline.distill.teachers import Teacher


def photo(path: Path, seed: int = 0) -> np.ndarray:
    image = render(seed, size=(48, 64))[0]
    Image.fromarray(image).save(path, quality=90)
    return np.asarray(Image.open(path).convert("RGB"))


def other_decoder(image: np.ndarray) -> np.ndarray:
    """The picture as another build of the JPEG decoder may give it."""
    wave = np.random.default_rng(0).integers(-2, 3, image.shape)
    return np.clip(image.astype(int) + wave, 0, 255).astype(np.uint8)


def test_the_last_bits_of_another_decoder_do_not_matter(tmp_path: Path) -> None:
    image = photo(file := tmp_path / "a.jpg")
    kept = marks(image, file)
    assert is_same(kept, image, None) and is_same(kept, image, file)
    assert fingerprint(other_decoder(image)) != fingerprint(image)
    assert is_same(kept, other_decoder(image), file)
    assert not is_same(kept, other_decoder(image), None)


def test_a_file_that_is_read_turned_or_mirrored_is_another_picture(tmp_path: Path) -> None:
    image = photo(file := tmp_path / "a.jpg")
    kept = marks(image, file)
    for turned in (image[::-1, ::-1], image[:, ::-1], image[::-1], image.transpose(1, 0, 2), image[:24]):
        assert not is_same(kept, np.ascontiguousarray(turned), file)


def test_another_file_that_looks_the_same_is_another_picture(tmp_path: Path) -> None:
    image = photo(file := tmp_path / "a.jpg")
    kept = marks(image, file)
    again = tmp_path / "b.jpg"
    again.write_bytes(file.read_bytes() + b"\0")
    assert not is_same(kept, other_decoder(image), again)
    assert is_same(kept, image, again), "the same pixels are enough"


def test_a_file_that_changes_is_hashed_again(tmp_path: Path) -> None:
    image = photo(file := tmp_path / "a.jpg")
    kept = marks(image, file)
    photo(file, 1)
    os.utime(file, (9, 9))
    assert not is_same(kept, other_decoder(image), file)


def test_labels_of_before_know_pixels_only(tmp_path: Path) -> None:
    image = photo(file := tmp_path / "a.jpg")
    old = {"image": fingerprint(image)}
    assert is_same(old, image, file) and not is_same(old, other_decoder(image), file)


def test_the_file_of_a_key_is_found_through_whatever_is_bound_around_its_reader(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "rooms", [render(1, size=(48, 64))])
    data = open_dataset(folder, "all")
    assert file_of(data.read, data.keys[0]) == folder / "images" / "000.png"
    assert file_of(watched(data).read, data.keys[0]) == folder / "images" / "000.png"
    assert file_of(partial(str, read=partial(str, read=data.read)), data.keys[0]) == folder / "images" / "000.png"


def test_pictures_without_a_file_of_their_own_have_none(tmp_path: Path) -> None:
    source = Source(tmp_path, None)  # type: ignore[arg-type]
    assert file_of(source.read, Frame("a", "gone.png")) is None
    assert file_of(source.read, 3) is None
    assert file_of(lambda key: key, Frame("a", "a.png")) is None
    assert file_of(partial(str, source), Frame("a", "a.png")) is None


def read_otherwise(key: Any, read: Any, change: Any) -> Item:
    sample = read(key)
    return replace(sample, image=change(sample.image))


def test_labels_made_with_another_decoder_are_used_and_of_another_picture_refused(tmp_path: Path) -> None:
    (folder := tmp_path / "photos").mkdir()
    for seed in range(3):
        photo(folder / f"{seed}.jpg", seed)
    opened = lambda: open_dataset(folder, "all")  # noqa: E731
    run = Labelling(out=tmp_path / "labels", split="all")
    assert list(label(lambda: Teacher("t", "metric", lambda seen: 1 + seen.image[:, :1]), opened, "x", run))
    labels, data = open_labels(run.out), opened()
    assert set(labels.places["0"]) >= {"image", "source", "look"}

    def seen_as(change: Any) -> Dataset:
        return replace(data, read=partial(read_otherwise, read=data.read, change=change))

    elsewhere = seen_as(other_decoder)
    assert labels_of(elsewhere, [labels]) is labels
    assert all(with_labels(elsewhere, labels)[i].pseudo_depth.all() for i in range(3))
    upside_down = seen_as(lambda image: np.ascontiguousarray(image[::-1]))
    assert labels_of(upside_down, [labels]) is None
    with pytest.raises(BadData, match="is of another picture"):
        with_labels(upside_down, labels)[0]
    file = io.BytesIO()
    Image.fromarray(data[1].image).save(file, format="PNG")
    (folder / "1.jpg").write_bytes(file.getvalue())  # the same pixels in another file
    assert with_labels(opened(), labels)[1].pseudo_depth.all()


def test_pixels_that_agree_cost_no_reading_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo(file := tmp_path / "a.jpg")
    kept = marks(image, file)
    monkeypatch.setattr(identity, "_hash_of", None)
    assert is_same(kept, image, file)
