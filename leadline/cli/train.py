"""`leadline train`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from leadline.cli.command import print_json
from leadline.cli.early import check_training
from leadline.cli.say import closing, inform
from leadline.cli.short_help import short_help
from leadline.core.report import Report, table
from leadline.core.text import shown
from leadline.training.options import Training

if TYPE_CHECKING:
    from leadline.distill.options import Distillation
    from leadline.nn.build import Net


def print_report(report: Report, run: Training, json: bool) -> int:
    """Print what a training came to; of several processes one prints. The command's exit code."""
    from leadline.training.distributed import process

    if process()[0] > 0:
        return 0
    if json:
        print_json(report.to_json())
    else:
        print(table([report]))
        closing(f"\nwrote {shown(run.out)}")
    return 0


def run_training(run: Training, net: Net | None = None, distillation: Distillation | None = None) -> tuple[Net, Report]:
    """`pipelines.train.train`; what it says goes to standard error."""
    from leadline.pipelines.train import train

    return train(run, net, distillation, say=inform)


@short_help(
    {
        "Data and results": "--data --out --val-every",
        "Net": "--model --pretrained",
        "Training": "--loss --batch --fit.steps --fit.lr --resume",
    },
    "leadline train --data NYU --out run --model fastdepth --steps 2000",
    "leadline train --data NYU:6 rooms:2 --out run --loss log_l1 --lr 1e-3",
)
def train(run: Annotated[Training, arg(name="")], *, json: bool = False) -> int:
    """Train a net on one or more data sets; checkpoints, curves and pictures go to a folder.

    Args:
        run: the run
        json: print one JSON object
    """
    check_training(run)
    return print_report(run_training(run)[1], run, json)
