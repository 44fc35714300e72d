"""What `leadline export --dynamic` does and says."""

from __future__ import annotations

from pathlib import Path

from leadline.cli.command import print_json, progress
from leadline.cli.say import closing, inform
from leadline.core.text import counted, shown
from leadline.pipelines.export_dynamic import DynamicOptions, export_dynamic
from leadline.runtime.dynamic import described_dynamic
from leadline.runtime.options import CompileOptions


def write_folder(model: str, runtime: str, out: Path, rule: DynamicOptions, options: CompileOptions, json: bool) -> int:
    """Write the folder and print what was measured."""
    found = export_dynamic(model, runtime, out, rule, options, say=inform).measured
    progress("")
    if json:
        print_json({"model": model, "folder": str(out), **described_dynamic(out)})
        return 0
    closing(f"wrote {shown(out)}: {counted(len(found['ms_of_widths']), 'width')} for {runtime}, the narrowest first")
    for i, (share, ms, good) in enumerate(
        zip(found["share_of_widths"], found["ms_of_widths"], found["accuracy_of_widths"], strict=True)
    ):
        closing(f"  width-{i}: {ms:.3g} ms, {found['metric']} {good:.4f}, answers {share:.0%} of pictures")
    whole = found["ms_of_widths"][-1]
    closing(
        f"together {found['ms']:.3g} ms a picture, {whole / found['ms']:.2f} times as fast as the whole net; "
        f"{found['metric']} {found['accuracy']:.4f} on {counted(found['images'], 'validation image')}"
    )
    if found["share_of_widths"][-1] == 1:
        closing("no narrower width is good enough: give a larger --max-drop, or train them longer")
    return 0
