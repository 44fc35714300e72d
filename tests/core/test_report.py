"""Reports as JSON: what `to_json` gives comes back, and anything else is refused."""

from __future__ import annotations

from typing import Any

import pytest

from leadline.core.report import Report, from_json


def test_what_is_stored_comes_back() -> None:
    report = Report("a", protocol="indoor-metric@1", n=3, metrics={"delta1": 0.5}, cost={"macs": 7}, context={"k": [1]})
    assert from_json(report.to_json()) == report


@pytest.mark.parametrize(
    "plain", [None, [], "a", {}, {"name": 1}, {"name": "a", "metrics": -0.0}, {"name": "a", "cost": {"macs": "7"}}]
)
def test_what_is_no_report_is_refused(plain: Any) -> None:
    with pytest.raises(ValueError, match="report"):
        from_json(plain)
