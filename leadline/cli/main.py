"""The command line: one function for each verb, its flags made from its signature. Everything heavy is imported inside.

With `--json` a verb prints one JSON object on standard output and nothing else there; notes go to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from leadline.cli import bench, data, distill, export, models, prune, quantize
from leadline.cli.command import Groups, Verbs
from leadline.cli.command import run as run_command
from leadline.cli.compare import compare
from leadline.cli.evaluate import val
from leadline.cli.parity import parity
from leadline.cli.predict import predict
from leadline.cli.train import train

VERBS: Verbs = {
    "predict": predict,
    "train": train,
    "val": val,
    "label": distill.label,
    "distill": distill.distill,
    "list": models.list_models,
    "export": export.export,
    "parity": parity,
    "prune": prune.prune,
    "quantize": quantize.quantize,
    "bench": bench.bench,
    "doctor": export.doctor,
    "info": models.info,
    "compare": compare,
    "import": models.import_model,
    "data": data.VERBS,
}


GROUPS: Groups = {
    "Use models": ("predict", "val", "list", "info", "doctor"),
    "Train": ("data", "train", "label", "distill", "compare"),
    "Make models smaller and faster": ("prune", "quantize", "export", "parity", "bench"),
    "Models of other programs": ("import",),
}
"""Titles of the help, and the verbs under each."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, by default the process's own; its exit code, see `command.run`."""
    return run_command(VERBS, sys.argv[1:] if argv is None else argv, GROUPS)


if __name__ == "__main__":
    sys.exit(main())
