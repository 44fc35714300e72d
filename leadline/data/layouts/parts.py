"""Parts: which items of a data set are for training, for validation (val) and for the final test, and by which rule.

The words are train, training; val, valid, validation, dev, eval, evaluation; test, testing, in upper or lower case and
with a number behind (`train2017`), in the names of folders, of lists and in columns of lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from leadline.core.errors import BadData
from leadline.core.types import Item
from leadline.data.dataset import Dataset
from leadline.data.layouts.description import Description
from leadline.data.layouts.frame import Frame, Source

T = TypeVar("T")
SPLITS = ("train", "val", "test", "all")
OTHERS = "others"
"""The part of items that no other part has, where they have no name of their own."""
BY_FOLDERS = "by the names of its folders"

_PART_OF = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}


def part_of(word: str) -> str | None:
    """`train`, `val` or `test`, if that is what the word means."""
    found = re.fullmatch(r"([a-z]+)[-_ ]?\d*", word.strip().lower())
    return _PART_OF.get(found.group(1)) if found else None


def part_in(name: str) -> str | None:
    """The one part that the words in a name tell: `nyudepthv2_train_files_with_gt` is train's."""
    found = {part for word in re.findall(r"[a-z]+", name.lower()) if (part := _PART_OF.get(word))}
    return found.pop() if len(found) == 1 else None


def part_by_folder(name: str) -> str | None:
    """The part of an item by the folders in its name: the first of them that is called as a part counts."""
    return next((part for folder in PurePosixPath(name).parts[:-1] if (part := part_of(folder))), None)


def by_folders(frames: Sequence[Frame]) -> dict[str, Sequence[Frame]] | None:
    """The parts that the folders in the frames' names tell; None if they tell none.

    What lies in folders of other names is a part of its own that can be asked for by the folder's name, and no other
    part has it. Only where there is no train folder the rest is train.
    """
    of = {frame: part_by_folder(frame.name) for frame in frames}
    if not any(of.values()):
        return None
    rest = "" if "train" in of.values() else "train"
    parts: dict[str, list[Frame]] = {part: [] for part in ("train", "val", "test")}
    for frame in frames:
        above = PurePosixPath(frame.name).parts[:-1]
        own = above[0] if above and above[0] not in SPLITS else OTHERS
        parts.setdefault(of[frame] or rest or own, []).append(frame)
    return dict(parts)


def by_order(items: Sequence[T], description: Description, fraction: float = 0.2) -> dict[str, Sequence[T]]:
    """The parts without lists: the last `test_fraction` of the items in order (or `fraction`) is test, the rest train.

    In order, not at random: neighbouring frames of a video show the same thing, so a random choice would leak.
    """
    share = _share(description, fraction)
    n_test = round(len(items) * share)
    if 0 < share < 1 and len(items) > 1:
        n_test = min(max(n_test, 1), len(items) - 1)
    return {"train": items[: len(items) - n_test], "test": items[len(items) - n_test :]}


def by_scenes(items: Sequence[Frame], description: Description) -> tuple[dict[str, Sequence[Frame]], str]:
    """(parts, the rule): as `by_order`, but cut between two folders, since the frames of one show one place.

    Of all such cuts it is the one whose test part comes nearest to the share. One folder is cut in order, and so are
    folders of sizes so unlike that nearly all frames, or nearly none, would be for testing.
    """
    starts = [i for i in range(1, len(items)) if _scene(items[i]) != _scene(items[i - 1])]
    share = _share(description)
    if not starts or len(starts) + 1 != len({_scene(frame) for frame in items}) or not 0 < share < 1:
        return by_order(items, description), order_rule(description)
    cut = min(starts, key=lambda i: abs(len(items) - i - share * len(items)))
    if not share / 8 <= 1 - cut / len(items) <= share + 0.55:
        return by_order(items, description), order_rule(description)
    n_test = 1 + sum(start > cut for start in starts)
    rule = f"nothing says a split, so the test part is the last {n_test} of {len(starts) + 1} folders in order"
    return {"train": items[:cut], "test": items[cut:]}, rule


def order_rule(description: Description, fraction: float = 0.2) -> str:
    """What `by_order` has done, in words."""
    share = _share(description, fraction)
    if share <= 0:
        return "nothing says a split, so all is the train part"
    who = "nothing says a split" if description.test_fraction is None else f"test_fraction is {share:g}"
    return f"{who}, so the last {share:.0%} of the frames in order are the test part"


def with_rest(parts: Mapping[str, Sequence[Frame]], frames: Sequence[Frame]) -> dict[str, Sequence[Frame]]:
    """`parts` with those of `frames`, all in order, that have no depth: each belongs where the last one before it in
    its folder does that has some (or else the first), for neighbours show the same; in a folder without, to `train`.
    """
    of = {frame: part for part, own in parts.items() for frame in own}
    here: dict[str, str] = {}
    for frame in reversed([frame for frame in frames if frame in of]):
        here[Path(frame.image).parent.as_posix()] = of[frame]
    made: dict[str, list[Frame]] = {part: [] for part in {"train": (), **parts}}
    for frame in frames:
        folder = Path(frame.image).parent.as_posix()
        here[folder] = of.get(frame, here.get(folder, "train"))
        if frame in of or frame.depth is None:
            made[here[folder]].append(frame)
    return dict(made)


def choose(parts: Mapping[str, Sequence[T]], split: str, description: Description, root: Path) -> tuple[T, ...]:
    """The items of one split out of a layout's `parts` (usually train, val and test); `all` is all of them in order.

    Where there is no test part, val is it, as `stand_in` says. A description that says the whole folder is one part
    overrules the layout. No items at all: BadData.
    """
    allowed = (*SPLITS, *(part for part in parts if part not in SPLITS))
    if split not in allowed:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(allowed)}")
    parts = _as_described(parts, description)
    chosen: tuple[T, ...]
    if split == "all":
        chosen = tuple(item for part in parts.values() for item in part)
    else:
        chosen = tuple(parts.get("val" if stand_in(parts, split) else split, ()))
    if not chosen:
        sizes = ", ".join(f"{part} {len(items)}" for part, items in parts.items() if items) or "nothing"
        raise BadData(f"{root} has no frames for the split {split!r} (it has: {sizes})")
    return chosen


def stand_in(parts: Mapping[str, Sequence[Any]], split: str) -> str:
    """What has to be said where the val part is given out as the test part; "" where it is not."""
    if split == "test" and not parts.get("test") and parts.get("val"):
        return "there is no test part, so val stands in for it; what was chosen on val looks better on it than it is"
    return ""


def divided(
    name: str,
    parts: Mapping[str, Sequence[Any]],
    split: str,
    description: Description,
    root: Path,
    read: Callable[[Any], Item],
    rule: str,
    note: str = "",
) -> Dataset:
    """The Dataset of the items that `choose` takes, which knows how large each part is and what made them."""
    keys = choose(parts, split, description, root)
    if description.split is not None:
        rule = f"the description says that all is {description.split}"
    parts = _as_described(parts, description)
    sizes = tuple((part, len(items)) for part, items in parts.items() if items)
    stands_in = stand_in(parts, split)
    called = " ".join(filter(None, (name, "test (its val part)" if stands_in else split, note)))
    return Dataset(called, keys, read, sizes, rule, stands_in)


def dataset(
    source: Source, parts: Mapping[str, Sequence[Frame]], split: str, note: str = "", *, rule: str = ""
) -> Dataset:
    """The Dataset of the frames that `choose` takes. `note` joins its name; `rule` says what made the parts."""
    name = source.root.resolve().name
    return divided(name, parts, split, source.description, source.root, source.read, rule, note)


def _as_described(parts: Mapping[str, Sequence[T]], description: Description) -> Mapping[str, Sequence[T]]:
    if description.split is None:
        return parts
    return {description.split: [item for part in parts.values() for item in part]}


def _share(description: Description, fraction: float = 0.2) -> float:
    return fraction if description.test_fraction is None else description.test_fraction


def _scene(frame: Frame) -> str:
    return PurePosixPath(frame.name).parent.as_posix()
