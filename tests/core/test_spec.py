"""A Spec that says what no net can be is refused where it is made, in code or from a file."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from leadline.core.spec import (
    MAX_KERNEL,
    MAX_SEEN,
    MAX_SIDE,
    MAX_WIDTH,
    Decoder,
    Encoder,
    Head,
    Preprocess,
    Spec,
    from_json,
    to_json,
)
from leadline.core.text import short_repr
from leadline.data.layouts.description import Description
from leadline.nn import zoo

NET = zoo.fastdepth()
NAN, INF = math.nan, math.inf
WRONG: tuple[tuple[str, Callable[[], Any]], ...] = (
    ("size", lambda: Preprocess(size=(0, 0))),
    ("size", lambda: Preprocess(size=(-5, 7))),
    ("size", lambda: Preprocess(size=(10**9, 10**9))),
    ("size", lambda: Preprocess(size=(MAX_SIDE + 1, 1))),
    ("size", lambda: Preprocess(size=(MAX_SIDE, MAX_SEEN // MAX_SIDE + 1))),
    ("size", lambda: Preprocess(size=(2.5, 7))),  # type: ignore[arg-type]
    ("size", lambda: Preprocess(size=(224,))),  # type: ignore[arg-type]
    ("view", lambda: Preprocess(view=(5, 5))),
    ("view", lambda: Preprocess(view=(0.0, 1.0))),
    ("view", lambda: Preprocess(view=(1.0, NAN))),
    ("view", lambda: Preprocess(view=(-0.5, 0.5))),
    ("mean", lambda: Preprocess(mean=(NAN, 0, 0))),
    ("mean", lambda: Preprocess(mean=(0, -INF, 0))),
    ("mean", lambda: Preprocess(mean=(0, 0, 1e30))),
    ("std", lambda: Preprocess(std=(0, 1, 1))),
    ("std", lambda: Preprocess(std=(1, -1, 1))),
    ("std", lambda: Preprocess(std=(1, 1, NAN))),
    ("std", lambda: Preprocess(std=(1, 1, INF))),
    ("widths", lambda: Encoder("mobilenet_v1", (0,) * 14)),
    ("widths", lambda: Encoder("mobilenet_v1", (32, -1))),
    ("widths", lambda: Encoder("mobilenet_v1", (10**9,) * 14)),
    ("widths", lambda: Encoder("mobilenet_v1", (8,) * 100_000)),
    ("widths", lambda: Decoder("nnconv5", (MAX_WIDTH + 1,))),
    ("widths", lambda: Decoder("nnconv5", (2.5,))),  # type: ignore[arg-type]
    ("name", lambda: Encoder("", (8,))),
    ("name", lambda: Decoder("nn\x00conv5", (8,))),
    ("kernel", lambda: Decoder("nnconv5", (8,), kernel=0)),
    ("kernel", lambda: Decoder("nnconv5", (8,), kernel=-3)),
    ("kernel", lambda: Decoder("nnconv5", (8,), kernel=4)),
    ("kernel", lambda: Decoder("nnconv5", (8,), kernel=10**9 + 1)),
    ("kernel", lambda: Head(kernel=MAX_KERNEL + 2)),
    ("kind", lambda: Head(kind="depth")),  # type: ignore[arg-type]
    ("layer", lambda: Head(layer="linear")),  # type: ignore[arg-type]
    ("resize", lambda: Head(resize="bicubic")),  # type: ignore[arg-type]
    ("resize", lambda: Preprocess(resize="bicubic")),  # type: ignore[arg-type]
    ("resize", lambda: Preprocess(resize=None)),  # type: ignore[arg-type]
    ("back", lambda: Preprocess(back="area")),  # type: ignore[arg-type]
    ("skip", lambda: zoo.fastdepth(skip="mul")),  # type: ignore[arg-type]
    ("depth", lambda: zoo.fastdepth_resnet(101)),  # type: ignore[arg-type]
    ("taps", lambda: zoo.litedepth(6)),  # type: ignore[arg-type]
    ("unit", lambda: Head(unit="feet")),
    ("focal_times_baseline", lambda: Head(focal_times_baseline=-1)),
    ("focal_times_baseline", lambda: Head(focal_times_baseline=NAN)),
    ("focal_times_baseline", lambda: Head(focal_times_baseline=INF)),
    ("gates", lambda: replace(NET, gates=("decoder", "decoder"))),
    *((f"name is {short_repr(name)}", lambda name=name: replace(NET, name=name))  # type: ignore[misc]
      for name in ("", ".", "..", "../x", "/etc/x", "a/b", "a\\b", "a\nb", "\x1b[2J", "\x00", " a", "\u202egnp.a",
                   "x" * 201)),
)  # fmt: skip


@pytest.mark.parametrize(("what", "make"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_a_value_that_no_net_can_have_is_a_value_error_that_names_it(what: str, make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value).startswith(what) and ";" in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("name", zoo.names())
def test_every_net_of_the_zoo_keeps_the_rules_and_comes_back_from_json(name: str) -> None:
    assert from_json(Spec, json.loads(json.dumps(to_json(zoo.spec(name))))) == zoo.spec(name)


def test_the_limits_are_allowed() -> None:
    Preprocess(size=(1, 1), view=(1.0, 1e-3), mean=(1000, -1000, 0), std=(1e-6, 1e6, 1))
    Preprocess(size=(MAX_SIDE, MAX_SEEN // MAX_SIDE))
    Encoder("timm:any", ())
    Decoder("nnconv5", (1, MAX_WIDTH), kernel=MAX_KERNEL)
    Head("relative_disparity", "relative_disparity", kernel=1, focal_times_baseline=0)
    replace(NET, name="tiefe 2.0 (größer)")


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("Spec.preprocess: size", {"preprocess": {"size": [0, 5]}}),
        ("Spec.preprocess.size", {"preprocess": {"size": "large"}}),
        ("Spec.preprocess.std", {"preprocess": {"std": [10**400, 1, 1]}}),
        ("Spec.encoder.widths", {"encoder": {"name": "vgg", "widths": [[[[[[1]]]]]] * 10_000}}),
        ("Spec.decoder: kernel", {"decoder": {"name": "nnconv5", "widths": [], "kernel": 10**400 + 1}}),
        ("Spec.head.kind", {"head": {"kind": "x" * 100_000}}),
        ("Spec has the unknown key", {"y" * 100_000: 1}),
        ("Spec: gates", {"gates": ["a"] * 10_000}),
    ],
)
def test_a_file_is_told_where_in_it_and_in_few_words(where: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as error:
        from_json(Spec, {**to_json(NET), **change})
    assert str(error.value).startswith(where) and len(str(error.value)) < 500


def test_a_number_that_no_float_holds_is_a_value_error_in_any_description() -> None:
    with pytest.raises(ValueError, match=r"Description\.depth_scale"):
        from_json(Description, {"depth_scale": 10**400})
