"""Old names are gone from the code, and what people have typed or written with them is still understood."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import pytest
from tyro.conf import arg

from leadline.cli.command import run
from leadline.cli.flag_names import OLD_FLAGS, new_flag
from leadline.compress.options import Pruning
from leadline.core.old_keys import OLD_KEYS, with_new_keys
from leadline.core.spec import Head, from_json
from leadline.data.label_index import OLD_KEYS as OLD_LABEL_KEYS
from leadline.data.label_index import checked_line
from leadline.distill.labelling.plan import differing
from leadline.distill.options import Distillation, TeacherOptions
from leadline.training.options import FitOptions, Training
from leadline.training.state import differences

ROOT = Path(__file__).parents[1]
TABLES = ("leadline/cli/flag_names.py", "leadline/core/old_keys.py", "leadline/data/label_index.py")
GONE = {*re.findall(r"\w+", """
    Taught Lesson Lessons Teaching Asking Foreign FOREIGN OutOfReach NotBetter Demands Card Proposal Judge Teach
    WholeBatchNorm2d taught teaching unheard ramped still_after average_into kept_best harvest reach_at steered
    complain emit imgsz kept_for_choosing choosing foreign foreign_teacher resource_of card cards card_of with_card
    proposals proposal lesson lessons asking dumb narrowed narrowing demands price
""")}  # fmt: skip


def test_old_names_are_in_the_tables_of_old_names_alone() -> None:
    paths = [*ROOT.glob("leadline/**/*.py"), *ROOT.glob("recipes/*.py")]
    code = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    found = {f"{name}: {word}" for name, text in code.items() for word in {*re.findall(r"\w+", text)} & GONE}
    assert len(code) > 200
    assert not [line for line in found if not line.startswith(TABLES)]


@pytest.mark.parametrize(("old", "new"), OLD_FLAGS.items())
def test_an_old_flag_is_the_new_one(old: str, new: str) -> None:
    last = "kind" if old.endswith(".") else ""
    assert new_flag(old + last) == new + last
    assert new_flag((old + last).replace("-", "_").replace("__", "--", 1)) == new + last
    assert new_flag(new + last) == new + last


@pytest.mark.parametrize("old", [old for old in OLD_FLAGS if not old.endswith(".")])
def test_an_old_switch_is_turned_off_as_the_new_one(old: str) -> None:
    def negated(flag: str) -> str:
        return re.sub(r"([\w-]+)$", r"no-\1", flag) if "." in flag else f"--no-{flag[2:]}"

    assert new_flag(negated(old)) == negated(OLD_FLAGS[old])


def test_flags_that_only_begin_like_an_old_one_stay() -> None:
    assert new_flag("--teacher") == "--teacher"
    assert new_flag("--freshen") == "--freshen"


def test_a_verb_gets_the_value_of_an_old_flag_and_the_new_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    def verb(
        *,
        size: str = "",
        teachers: Annotated[TeacherOptions, arg(name="")] = Distillation.teachers,
        label_weight: float = 1.0,
    ) -> int:
        """A verb."""
        seen.extend((size, teachers.teacher, teachers.external.kind, label_weight))
        return 0

    words = ["--imgsz=64x96", "--asking.teacher", "a", "b", "--asking.foreign.kind", "metric", "--truth", "0.5"]
    assert run({"verb": verb}, ["verb", *words]) == 0
    assert seen == ["64x96", ("a", "b"), "metric", 0.5]
    assert capsys.readouterr().err.splitlines() == [
        "leadline: --imgsz is now --size; the old name goes with the next release",
        "leadline: --asking.teacher is now --teacher; the old name goes with the next release",
        "leadline: --asking.foreign.kind is now --external.kind; the old name goes with the next release",
        "leadline: --truth is now --label-weight; the old name goes with the next release",
    ]


@pytest.mark.parametrize(("old", "new"), OLD_KEYS.items())
def test_an_old_key_is_read_as_the_new_one(old: str, new: str) -> None:
    assert with_new_keys({old: 1}, {new: 2}) == {new: 1}
    assert with_new_keys({f"masks.{old}": 1}, {f"masks.{new}": 2}) == {f"masks.{new}": 1}
    assert with_new_keys({old: 1}, {old: 2}) == {old: 1}


def test_an_old_checkpoints_head_is_read() -> None:
    old = {"kind": "metric", "layer": "disparity", "metres": 0.31}
    assert from_json(Head, old) == Head("metric", layer="disparity", focal_times_baseline=0.31)


def test_options_of_an_older_run_are_compared_by_their_new_names() -> None:
    old = {"training": {"choose": 10, "fit": {"still_after": 0.9}}, "teaching": {"asking": {"foreign": {"kind": None}}}}
    new = {
        "training": {"val_every": 10, "fit": {"freeze_bn_after": 0.9}},
        "distillation": {"teachers": {"external": {"kind": None}}},
    }
    assert not differences(old, new)
    new["training"]["val_every"] = 5
    new["distillation"]["teachers"]["external"]["kind"] = "metric"
    assert differences(old, new) == [
        "training.val_every 10 there, 5 here",
        "distillation.teachers.external.kind null there, metric here",
    ]
    assert not differences(
        {"training.choose": 10, "masks.speed": 3.0}, {"training.val_every": 10, "masks.lr_scale": 3.0}
    )


def test_what_an_older_label_set_knows_of_its_teacher_is_the_same_teacher() -> None:
    old = {"teacher": {"together": [{"averaged": {"flip": True}}], "fused": {"truth": True}}}
    new = {"teacher": {"ensemble": [{"test_time_augmentation": {"flip": True}}], "to_metric": {"truth": True}}}
    assert not differing({"teacher": new["teacher"]}, {"teacher": old["teacher"]})


def test_a_line_of_an_older_label_set_is_read() -> None:
    at = {"depth": [0, 1], "confidence": [1, 1]}
    line = {"name": "a", "i": 0, "image": "0" * 64, "at": at, "silent": 1, "unheard": ["b"]}
    found = checked_line(line, 2)
    assert found["no_prediction"] == 1 and found["abstained"] == ["b"] and not {*OLD_LABEL_KEYS} & {*found}


def test_every_option_that_was_renamed_is_in_the_table() -> None:
    now = {name for cls in (Training, FitOptions, Pruning, Distillation) for name in cls.__dataclass_fields__}
    assert {"val_every", "freeze_bn_after", "distill_weight", "reinit", "teachers", "label_weight"} <= now
    assert now & {*OLD_KEYS} == set() and now & {*OLD_KEYS.values()} == {
        "val_every", "freeze_bn_after", "distill_weight", "reinit", "teachers", "label_weight", "min_confidence",
        "warmup_distill",
    }  # fmt: skip
