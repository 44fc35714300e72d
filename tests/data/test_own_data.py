"""A data set from a user's function: read everywhere, in other processes, and never run without being asked for."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leadline.cli.main import main
from leadline.core.errors import BadCode, BadData, LeadlineError
from leadline.data.cache_key import identity
from leadline.data.dataset import Dataset
from leadline.data.layouts.detect import described, open_dataset
from leadline.data.validate.check import check
from leadline.pipelines.training_data import own_code, shares
from leadline.training.options import Training

HEAD = """import numpy as np
from leadline import Dataset, Item

def read(key):
    y, x = np.mgrid[0:24, 0:32]
    depth = (1 + x / 32 + key).astype(np.float64)
    image = np.stack([x * 5, y * 5, x + y], -1).astype(np.uint8)
    valid = x > 3
    return Item(image, np.where(valid, depth, np.nan), valid, "")

"""
GOOD = (
    HEAD
    + """def frames(root, description, split):
    (root / "ran").write_text(f"{split} {description.max_depth}")
    keys = {"train": range(4), "val": range(4, 6), "test": (), "all": range(6)}[split]
    return Dataset("mine", tuple(keys), lambda key: read(key))
"""
)


def written(folder: Path, code: str = GOOD) -> str:
    (folder / "reader.py").write_text(code)
    return f"{folder / 'reader.py'}:frames"


def picked(data: Dataset) -> float:
    """In another process."""
    return float(data[1].target.max())


def test_the_function_gives_the_parts(tmp_path: Path) -> None:
    place = written(tmp_path)
    data = open_dataset(place, "train", max_depth=7.0)
    assert (len(data), len(open_dataset(place, "val"))) == (4, 2)
    assert open_dataset(place, "all").parts == (("train", 4), ("val", 2))
    sample = data[2]
    assert (sample.name, sample.target.dtype, sample.valid.dtype) == ("2", np.float32, bool)
    assert not sample.target[~sample.valid].any() and sample.target[0, 31] == pytest.approx(3 + 31 / 32)
    test = open_dataset(place, "test")
    assert len(test) == 2 and "val stands in for it" in test.note


def test_another_root_is_given_with_the_layout(tmp_path: Path) -> None:
    place, root = written(tmp_path), tmp_path / "elsewhere"
    root.mkdir()
    assert len(open_dataset(root, layout=place, max_depth=7.0)) == 4
    assert (root / "ran").read_text() == "train 7.0"
    with pytest.raises(ValueError, match="and a layout is given, too"):
        open_dataset(place, layout="nyu")


def test_looking_at_a_folder_runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path)
    (tmp_path / "dataset.toml").write_text('layout = "reader.py:frames"\nmax_depth = 5.0\n')
    for look in (open_dataset, described, check):
        with pytest.raises(
            BadData, match=r"dataset\.toml names code, .*reader\.py:frames, .*give --allow-code"
        ) as caught:
            look(tmp_path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "__pycache__").exists()
    assert len(open_dataset(tmp_path, allow_code=True)) == 4
    assert (tmp_path / "ran").read_text() == "train 5.0"
    (tmp_path / "dataset.toml").write_text('layout = "reader.py:frames"\nallow_code = true\n')
    with pytest.raises(BadData, match="unknown key 'allow_code'"):
        open_dataset(tmp_path)


def test_other_processes_ask_the_function_again(tmp_path: Path) -> None:
    data = open_dataset(written(tmp_path))  # its reader is a lambda
    assert pickle.loads(pickle.dumps(data))[1].target.max() == data[1].target.max()
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert pool.submit(picked, data).result() == pytest.approx(2 + 31 / 32)


def test_what_it_reads_is_not_cached_since_nobody_knows_its_files(tmp_path: Path) -> None:
    assert identity(open_dataset(written(tmp_path)), 240) is None


def test_a_share_of_a_batch_may_follow_it_and_a_run_knows_its_file(tmp_path: Path) -> None:
    place = written(tmp_path)
    assert shares((f"{place}:3", place), 8) == ([Path(place), Path(place)], [3, 5])
    found = own_code(Training(data=(f"{place}:3",), out=tmp_path / "run", loss=("l1", f"{place}:0.5@map")))
    assert list(found["code"]) == ["reader.py"] and len(found["code"]["reader.py"]) == 64
    assert own_code(Training(data=("nyu",), out=tmp_path / "run")) == {}


WRONG: list[tuple[str, Any, str]] = [
    (
        "def frames(root, split):\n    return 1\n",
        BadCode,
        r"reader\.py:\d+: frames\(root, split\) cannot be called with 3",
    ),
    ("def frames(r, d, s):\n    return Dataset('x', (), read)\n", BadData, "has no items in the part 'train'"),
    ("def frames(r, d, s):\n    return [1]\n", BadCode, "frames gives list; a leadline.Dataset"),
    ("def frames(r, d, s):\n    return 1 / 0\n", BadCode, r"reader\.py:\d+: frames raised ZeroDivisionError"),
    ("def frames(r, d, s):\n    return Dataset('x', (1, 1), read)\n", BadCode, "2 keys are called '1'"),
    (
        "def frames(r, d, s):\n    return Dataset('x', (1,), lambda k: 3)\n",
        BadData,
        "1: .*gives int; a leadline.Item",
    ),
    (
        "def frames(r, d, s):\n    return Dataset('x', (1,), lambda k: {}[k])\n",
        BadData,
        r"1: .*reader\.py:\d+: .*KeyError",
    ),
]


@pytest.mark.parametrize(("code", "kind", "said"), WRONG)
def test_what_is_no_data_set_is_refused_in_one_line(tmp_path: Path, code: str, kind: type, said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        open_dataset(written(tmp_path, HEAD + code))[0]
    assert "\n" not in str(caught.value) and isinstance(caught.value, LeadlineError)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("s.image / 255", r"an image float64 \[24, 32, 3\]"),
        ("s.image[..., 0]", r"an image uint8 \[24, 32\]"),
    ],
)
def test_an_image_of_another_form_is_refused(tmp_path: Path, change: str, said: str) -> None:
    refused(tmp_path, f"replace(s, image={change})", said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("target=s.target[:12]", r"target as float64 \[12, 32\]; float32 \[24, 32\]"),
        ("target=np.nan_to_num(s.target).astype(int)", "target as int64"),
        ("valid=s.valid.astype(np.uint8)", r"valid as uint8 .*; bool \[24, 32\]"),
        ("valid=np.ones_like(s.valid)", "96 valid pixels whose depth is not finite or not above 0"),
        ("target=None", "target as NoneType; a numpy array is needed"),
    ],
)
def test_depth_of_another_form_is_refused(tmp_path: Path, change: str, said: str) -> None:
    refused(tmp_path, f"replace(s, {change})", said)


def refused(folder: Path, change: str, said: str) -> None:
    code = f"def wrong(key):\n    from dataclasses import replace\n    s = read(key)\n    return {change}\n\n"
    code += "def frames(root, description, split):\n    return Dataset('x', (1,), wrong)\n"
    with pytest.raises(BadData, match=said):
        open_dataset(written(folder, HEAD + code))[0]


@pytest.mark.parametrize("verb", [["ls"], ["check", "--n", "2"]])
def test_verbs_take_it_where_they_take_a_folder(
    tmp_path: Path, verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    place = written(tmp_path)
    code, said = main(["data", *verb, place]), capsys.readouterr()
    assert code in (0, 1) and "6" in said.out and "Traceback" not in said.err
