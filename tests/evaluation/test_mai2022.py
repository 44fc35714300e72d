"""The Mobile AI 2022 challenge: its metrics and its score."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leadline.core.report import Report
from leadline.core.types import Depth
from leadline.evaluation.protocols import PROTOCOLS, apply, mai2022_score, with_mai2022_score


def test_the_mai_score_is_that_of_the_published_entry() -> None:
    assert mai2022_score(0.311, 37) == pytest.approx(0.003625, rel=1e-3)
    assert mai2022_score(0.301, 56) == pytest.approx(0.00275, rel=2e-3)
    assert mai2022_score(0.309, 49) == pytest.approx(0.00281, rel=2e-3)
    with pytest.raises(ValueError, match="a positive number is needed"):
        mai2022_score(0.3, 0)


def test_a_hundredth_of_si_rmse_is_worth_15_percent_more_runtime() -> None:
    assert mai2022_score(0.311, 37) == pytest.approx(mai2022_score(0.301, 37 * 1.149), rel=1e-3)


def test_a_report_gets_its_score_with_the_latency_it_is_for() -> None:
    reports = [Report("a", "indoor-metric@1", 3), Report("a", "mai2022@1", 3, {"si_rmse": 0.311, "rmse": 3.79})]
    other, scored = with_mai2022_score(reports, 37.0)
    assert other == reports[0]
    assert scored.metrics == {"si_rmse": 0.311, "rmse": 3.79, "score": pytest.approx(0.003625, rel=1e-3)}
    assert scored.context == {"score_latency_ms": 37.0}


def test_mai2022_counts_targets_beyond_a_millimetre_and_lifts_predictions_to_it() -> None:
    """As in the authors' data set class, in millimetres: values below 1 become 1, and what then exceeds 1 counts."""
    protocol = PROTOCOLS["mai2022@1"]
    target = np.array([[0.0, 0.001, 0.0012, 2.0, 40.0]])
    pred = np.array([[5.0, 5.0, 0.0002, 1.0, 50.0]], np.float32)
    p, t = np.maximum(pred.astype(float) * 1000, 1), np.maximum(target * 1000, 1)
    counts = t > 1
    d = np.log(p[counts]) - np.log(t[counts])
    found = apply(protocol, Depth(pred), target, target > 0)
    assert counts.sum() == 3
    assert found["si_rmse"] == pytest.approx(math.sqrt((d**2).mean() - d.mean() ** 2), rel=1e-6)
    assert found["rmse"] == pytest.approx(math.sqrt((((p - t)[counts] / 1000) ** 2).mean()), rel=1e-6)
