"""How far lower precision is from the net, in shares of pixels and metres."""

from __future__ import annotations

import numpy as np
import pytest

from leadline.core.agreement import agreement, in_words, mean_agreement

MAP = np.linspace(0.5, 8, 60, dtype=np.float32).reshape(6, 10)


def test_a_map_agrees_with_itself() -> None:
    found = agreement(MAP, MAP)
    assert (found["within_125"], found["mean_difference"]) == (1.0, 0.0)
    assert agreement(np.zeros(3), np.zeros(3))["within_125"] == 1.0


def test_the_share_is_delta1_with_the_net_as_the_truth() -> None:
    other = MAP * np.random.default_rng(0).uniform(0.6, 1.6, MAP.shape)
    ratio = np.maximum(other / MAP, MAP / other)
    assert agreement(other, MAP)["within_125"] == pytest.approx((ratio < 1.25).mean())
    assert agreement(other, MAP)["mean_difference"] == pytest.approx(np.abs(other - MAP).mean())


def test_it_does_not_matter_which_of_two_maps_is_compared_with_which() -> None:
    other = MAP[::-1] + 0.3
    for key in ("within_125", "mean_difference"):
        assert agreement(other, MAP)[key] == pytest.approx(agreement(MAP, other)[key])


def test_values_of_another_sign_and_those_that_do_not_count_are_not_near() -> None:
    assert agreement(-MAP, MAP)["within_125"] == 0
    half = MAP.copy()
    half[:3] = np.nan
    assert agreement(half, MAP)["within_125"] == 1
    wrong = MAP.copy()
    wrong[0] = 100
    assert agreement(wrong, MAP, np.arange(6)[:, None] > 0 * MAP)["within_125"] == 1
    assert np.isnan(agreement(half, MAP, np.zeros(MAP.shape, bool))["within_125"])


def test_images_count_alike_and_words_have_units() -> None:
    near = mean_agreement([agreement(MAP, MAP), agreement(MAP * 2, MAP)])
    assert near["within_125"] == 0.5
    assert in_words(near, True).startswith("50.0 % of the pixels within 1.25 of the float32 net, 2.125 m apart")
    assert "50.0 % of the mean value apart" in in_words(near, False)
