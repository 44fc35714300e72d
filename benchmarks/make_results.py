"""docs/results.md, some studies of docs/results/ and README's table, from the JSON reports of benchmarks/results/.

    python -m benchmarks.make_results [--check]

Each file there is one `leadline.core.report.Report`. Its `context` says where the figures come from: section and order
on the page, data, device, seed, date, command, and as `source` either `measured` (the command wrote the report) or
`transcribed` (copied from the results page of that date, which was kept by hand).

To add a figure, add a file and run `make results`. `--check` writes nothing; it ends with 1 if a page differs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.filters_page import filters_page
from benchmarks.result_tables import MILLISECONDS, SECTIONS, Column, count, figure, giga, name, said
from benchmarks.street_page import street_page
from leadline.core.report import Report, from_json, grid

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "benchmarks" / "results"
PAGE, README = ROOT / "docs" / "results.md", ROOT / "README.md"
STREETS, PICTURE = ROOT / "docs" / "results" / "street-nets.md", ROOT / "docs" / "pictures" / "street-nets.png"
FILTERS = ROOT / "docs" / "results" / "filters-layers-gates.md"
FILTERS_PICTURE = ROOT / "docs" / "pictures" / "filters-layers-gates.png"
BEGIN, END = "<!-- make results -->\n", "<!-- end -->\n"


def read_reports(folder: Path) -> list[Report]:
    """The reports of a folder, by their order on the page. ValueError names the file that holds none."""
    reports = []
    for file in sorted(folder.glob("*.json")):
        try:
            report = from_json(json.loads(file.read_text("utf-8")))
            missing = {"section", "order", "data", "device", "seed", "date", "source", "command"} - set(report.context)
        except ValueError as error:
            raise ValueError(f"{file.name} holds no report: {error}") from error
        if missing:
            raise ValueError(f"{file.name}: the context lacks {', '.join(sorted(missing))}")
        reports.append(report)
    return sorted(reports, key=lambda report: report.context["order"])


def origin(report: Report) -> str:
    """The line that says where a row comes from."""
    c = report.context
    seeds = ", ".join(map(str, c["seed"])) if isinstance(c["seed"], list) else c["seed"]
    line = f"{c['data']}; {c['device']}; seed {seeds}; {c['date']}, {c['source']}: `{c['command']}`"
    return (
        f"{line}; ms: {c['latency_device']}, {c['latency_source']}: `{c['latency_command']}`"
        if "latency_command" in c
        else line
    )


def table(reports: Sequence[Report], columns: Sequence[Column]) -> str:
    """The rows, the number of each row's origin behind it, and the origins below."""
    origins = list(dict.fromkeys(map(origin, reports)))
    rows = [[*(cell(r) for _, cell in columns), str(origins.index(origin(r)) + 1)] for r in reports]
    listed = "\n".join(f"{number}. {line}" for number, line in enumerate(origins, 1))
    return grid([[*(head for head, _ in columns), "from"], *rows]) + "\n\n" + listed


def studies(folder: Path) -> str:
    """One line for each study: its heading with a link."""
    heads = {file.name: file.read_text("utf-8").partition("\n")[0].removeprefix("# ") for file in folder.glob("*.md")}
    return "; ".join(f"[{heads[file]}](results/{file})" for file in sorted(heads)) + "."


def results_page(reports: Sequence[Report]) -> str:
    """docs/results.md."""
    parts = [
        "# Results",
        "This page is made by `make results` from the reports in `benchmarks/results/`; change those, not this page.\n"
        "`DATA` is a folder that holds the data sets.\n"
        "The column `from` is the line below the table that names data, device, seed, date and command.\n"
        "`measured`: the command wrote the report. `transcribed`: copied from the page that was kept by hand then.\n"
        "NYU figures are of every other one of the 654 test images, so they are near, not equal, to those of all.",
    ]
    for section in SECTIONS:
        own = [report for report in reports if report.context["section"] == section.name]
        parts += [f"## {section.title}", section.above, table(own, section.columns)]
        parts += [section.below] if section.below else []
    parts += ["## Studies", "Each answers one question: " + studies(PAGE.parent / "results")]
    return "\n\n".join(parts) + "\n"


def readme_table(reports: Sequence[Report]) -> str:
    """README's table: the nets that ship."""
    nets = [report for report in reports if report.context["section"] == "accuracy" and report.cost]
    columns: list[Column] = [
        ("net", name), ("parameters", count("parameters")), ("MACs", giga("macs")),
        ("delta1", figure("metrics", "delta1")), *MILLISECONDS, ("licence of the weights", said("licence")),
    ]  # fmt: skip
    first = nets[0]
    note = (
        f"delta1: {first.context['data']}, `{first.protocol}`, n = {first.n}.\n"
        f"ms: the network alone, float32, median, at its own input size; {first.context['latency_device']}.\n"
    )
    rows = [[cell(report) for _, cell in columns] for report in nets]
    return grid([[head for head, _ in columns], *rows]) + "\n\n" + note


def readme(text: str, reports: Sequence[Report]) -> str:
    """README with its table made anew. ValueError where the marks are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md lacks the marks {BEGIN.strip()} and {END.strip()}")
    return before + begin + readme_table(reports) + end + after


def write_differing(pages: Mapping[Path, str], *, check: bool) -> bool:
    """Write the pages whose text is another one, or with `check` only name them; whether there are any."""
    differ = [path for path, text in pages.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in differ:
        print(f"{path.relative_to(ROOT)} {'differs' if check else 'written'}")
        if not check:
            path.write_text(pages[path], "utf-8")
    return bool(differ)


def main(arguments: Sequence[str]) -> int:
    reports, check = read_reports(REPORTS), "--check" in arguments
    made = {report.context["section"]: report for report in reports}  # of those that are studies there is one each
    pages = {STREETS: street_page(made["street"], PICTURE)} if "street" in made else {}
    pages |= {FILTERS: filters_page(made["filters"], FILTERS_PICTURE)} if "filters" in made else {}
    # studies first: the page of results lists their headings
    differ = write_differing(pages, check=check)
    pages = {PAGE: results_page(reports), README: readme(README.read_text("utf-8"), reports)}
    differ |= write_differing(pages, check=check)
    return int(differ and check)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
