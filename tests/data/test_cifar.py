"""CIFAR in its two spellings: what is read, and what is damaged or hostile."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.png_bomb import bomb
from support.tiny_classes import pictures, png, write_batches, write_parquet

from leadline.core.errors import BadData, BadImage
from leadline.core.tasks import CIFAR10
from leadline.data.layouts.detect import open_dataset
from leadline.data.loader import collate


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    write_batches(tmp_path, "data_batch_1", 60, 0)
    write_batches(tmp_path, "test_batch", 20, 1)
    return tmp_path


def test_the_authors_pickles_are_read_and_the_classes_have_their_names(cifar: Path) -> None:
    data, test = open_dataset(cifar, "train"), open_dataset(cifar, "test")
    images, labels = pictures(60, 0)
    assert (len(data), len(test)) == (60, 20) and data.classes == CIFAR10
    assert np.array_equal(data[7].image, images[7]) and int(data[7].target) == labels[7] and bool(data[7].valid)
    assert len({key.name for key in data.keys}) == 60
    batch = collate([data[i] for i in range(4)])
    assert batch.image.shape == (4, 3, 32, 32) and batch.target.dtype == torch.int64
    assert batch.target.tolist() == labels[:4] and batch.valid.tolist() == [True] * 4


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    images, labels = pictures(12, 0)
    write_parquet(tmp_path, "train", [png(image) for image in images], labels)
    data = open_dataset(tmp_path, "train")
    assert [int(item.target) for item in data] == labels  # type: ignore[attr-defined]
    assert all(np.array_equal(data[i].image, images[i]) for i in range(12))


@pytest.mark.parametrize("size", [(1, 1), (32, 1), (31, 32), (64, 64)])
def test_pictures_of_another_size_in_parquet_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    """A single pixel or row, which numpy would repeat, is one too."""
    pytest.importorskip("pyarrow")
    images, labels = pictures(3, 0)
    other = png(np.zeros((*size, 3), np.uint8))
    write_parquet(tmp_path, "train", [png(images[0]), other, png(images[2])], labels)
    with pytest.raises(BadImage, match=f"picture 1 .* it is {size[1]} wide, {size[0]} high"):
        open_dataset(tmp_path, "train")[1]


@pytest.mark.parametrize(
    "stored",
    [bomb(20_000, 20_000, 8), bomb(32, 32, 8)[:60], b"", b"no picture"],
    ids=["bomb", "cut", "empty", "text"],
)
def test_damaged_pictures_in_parquet_are_one_line_of_error(tmp_path: Path, stored: bytes) -> None:
    pytest.importorskip("pyarrow")
    images, labels = pictures(2, 0)
    write_parquet(tmp_path, "train", [png(images[0]), stored], labels)
    with pytest.raises(BadImage, match=r"train-00000-of-00001\.parquet: its picture 1 cannot be read") as caught:
        open_dataset(tmp_path, "train")[1]
    assert "\n" not in str(caught.value)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("code ran",)


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Evil(), b"labels": [0]}))
    with pytest.raises(BadData, match=r"data_batch_1 is no batch of CIFAR, or damaged: it names builtins\.print"):
        open_dataset(tmp_path, "train")
    assert "code ran" not in capsys.readouterr().out


class Huge:
    """An array of 3 TB: `numpy.ndarray` itself would make room for it."""

    def __reduce__(self) -> Any:
        return np.ndarray, ((10**9, 3072), "u1")


def nested(depth: int) -> list[Any]:
    """Small in the file, 10**depth numbers once it is an array."""
    return [0] * 10 if depth == 1 else [nested(depth - 1)] * 10


@pytest.fixture
def little_memory() -> Iterator[None]:
    """2 GiB more than the process has: a request for more fails at once."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + (2 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


NEEDED = r"data uint8 \[N,3072\] and as many whole numbers as labels are needed"
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the memory that a process may take is limited on Linux")


@on_linux
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("data", "labels", "message"),
    [
        (Huge(), [0], NEEDED),
        (nested(9), [0] * 10, NEEDED),
        (np.zeros((10, 3072), np.uint8), nested(9), NEEDED),
        (np.zeros((1, 3072), object), [0], "it holds an array of objects"),
        (np.zeros((1, 3072), np.uint8), [10**9], "data_batch_1 holds the label 1000000000; at most 999 is read"),
        (np.zeros((1, 3072), np.uint8), [1000], "data_batch_1 holds the label 1000; at most 999 is read"),
    ],
    ids=["array", "nested", "nested labels", "objects", "label", "least label"],
)
def test_a_pickle_that_would_fill_the_memory_is_refused(tmp_path: Path, data: Any, labels: Any, message: str) -> None:
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": data, b"labels": labels}))
    with pytest.raises(BadData, match=message):
        open_dataset(tmp_path, "train")


@on_linux
@pytest.mark.usefixtures("little_memory")
def test_a_pickle_that_claims_more_memos_than_it_has_takes_no_memory(tmp_path: Path) -> None:
    """Pickle's C code makes a table as long as the largest number of a memo: here 2**31 - 1."""
    whole = write_batches(tmp_path, "data_batch_1", 1, 0).read_bytes()
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02]r\xff\xff\xff\x7f0" + whole[2:])
    assert np.array_equal(open_dataset(tmp_path, "train")[0].image, pictures(1, 0)[0][0])


@pytest.mark.parametrize("damage", ["short", "labels", "negative", "words"])
def test_damaged_batches_are_named(tmp_path: Path, damage: str) -> None:
    file = write_batches(tmp_path, "data_batch_1", 4, 0)
    content = pickle.loads(file.read_bytes(), encoding="bytes")
    if damage == "short":
        file.write_bytes(file.read_bytes()[:100])
    else:
        content[b"labels"] = {"labels": [1], "negative": [0, -1, 2, 3], "words": list("abcd")}[damage]
        file.write_bytes(pickle.dumps(content))
    with pytest.raises(BadData, match="data_batch_1"):
        open_dataset(tmp_path, "train")


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train-0.parquet")
    with pytest.raises(BadData, match="holds no CIFAR"):
        open_dataset(tmp_path, "train", layout="cifar")
    write_batches(tmp_path, "data_batch_1", 10, 0)
    assert len(open_dataset(tmp_path, "train")) == 10
