"""The results page and README's table are what the reports of benchmarks/results/ make them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.make_results import BEGIN, END, PAGE, README, REPORTS, ROOT, read_reports, readme, results_page
from leadline.core.report import from_json

CONTEXT = {"section": "accuracy", "order": 1, "data": "D", "device": "E", "seed": 0, "date": "F", "source": "measured"}


def test_the_results_page_is_made_from_the_reports() -> None:
    assert PAGE.read_text("utf-8") == results_page(read_reports(REPORTS)), "run `make results`"


def test_the_table_of_readme_is_made_from_the_reports() -> None:
    text = README.read_text("utf-8")
    assert text == readme(text, read_reports(REPORTS)), "run `make results`"


def test_the_results_page_has_at_most_120_lines() -> None:
    assert len(PAGE.read_text("utf-8").splitlines()) <= 120


def test_every_figure_of_the_table_of_readme_stands_in_a_report() -> None:
    table = README.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    figures = re.findall(r"(?<=\| )\d[\d ]*(?:\.\d+)?(?= G| *\|)", table)
    known: set[str] = set()
    for report in read_reports(REPORTS):
        for value in (*report.metrics.values(), *report.latency_ms.values(), *report.cost.values()):
            known |= {f"{value:.3f}", f"{value:.2f}", f"{value / 1e9:.3f}", f"{int(value):,}".replace(",", " ")}
    assert len(figures) >= 9
    assert {figure.strip() for figure in figures} <= known


@pytest.mark.parametrize("file", sorted(REPORTS.glob("*.json")), ids=lambda path: path.stem)
def test_a_report_loses_nothing_as_a_report_and_names_no_path_of_a_machine(file: Path) -> None:
    plain = json.loads(file.read_text("utf-8"))
    assert from_json(plain).to_json() == plain
    assert not re.search(r"(?<![\w.])/(?:home|work|tmp|root|Users)/", file.read_text("utf-8"))
    assert plain["context"]["source"] in ("measured", "transcribed")


def test_every_study_has_question_protocol_answer_and_threats() -> None:
    for page in (ROOT / "docs" / "results").glob("*.md"):
        text = page.read_text("utf-8")
        for part in ("**Question.**", "## Protocol", "## Answer", "## Threats to validity", "## Figures"):
            assert part in text, f"{page.name} lacks {part}"
        answer = text.partition("## Answer\n\n")[2].partition("\n\n")[0]
        assert len(answer.splitlines()) == 2, f"{page.name} answers in {len(answer.splitlines())} sentences"


def test_a_report_that_does_not_say_where_it_comes_from_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"name": "net", "context": CONTEXT}))
    with pytest.raises(ValueError, match=r"a\.json: the context lacks command"):
        read_reports(tmp_path)


def test_a_readme_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the marks"):
        readme("no marks", [])
