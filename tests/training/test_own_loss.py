"""`--loss FILE.py:name`: it is what the user wrote, alone or beside others; what is no loss is said in one line."""

from __future__ import annotations

import pickle
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from support.tiny_training import batches, options, tiny

from leadline.core.errors import BadCode, LeadlineError
from leadline.training.fit import fit
from leadline.training.losses import Reweighted, Term, l1, weighted
from leadline.training.losses.parse import typed

pytestmark = pytest.mark.usefixtures("one_thread")
PLAIN = "def mine(pred, target, valid):\n    return (pred - target).abs()[valid].mean()\n"
Maps = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def written(folder: Path, code: str) -> str:
    (folder / "my loss.py").write_text(code)
    return f"{folder / 'my loss.py'}:mine"


def maps() -> Maps:
    pred = torch.rand(2, 1, 8, 8, requires_grad=True)
    return pred, torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8) > 0.3


def test_it_is_the_function_of_the_file(tmp_path: Path) -> None:
    terms = typed([written(tmp_path, PLAIN)])
    given = maps()
    assert torch.allclose(terms["mine"].criterion(*given), l1(*given))
    again = pickle.loads(pickle.dumps(terms["mine"]))
    assert torch.equal(again.criterion(*given), terms["mine"].criterion(*given))


def test_weights_places_and_other_losses_stand_beside_it(tmp_path: Path) -> None:
    place = written(tmp_path, PLAIN)
    terms = typed([f"{place}:0.5@map", "l1:2", f"{place}:3"])
    assert {name: (term.weight, term.at) for name, term in terms.items()} == {
        "mine": (0.5, "map"),
        "l1": (2.0, "target"),
        f"{place}:3": (3.0, "target"),
    }
    assert isinstance(Reweighted(terms), torch.nn.Module)
    with pytest.raises(ValueError, match="the weight '-1'"):
        typed([f"{place}:-1"])


def test_a_net_learns_from_it(tmp_path: Path) -> None:
    loss = partial(weighted, typed([written(tmp_path, PLAIN)]))
    _, report = fit(tiny(), batches(), loss, options(steps=2))
    _, expected = fit(tiny(), batches(), partial(weighted, {"l1": Term(l1)}), options(steps=2))
    assert report.metrics["loss"] == pytest.approx(expected.metrics["loss"], rel=1e-5)


def test_it_is_not_asked_where_nothing_is_valid(tmp_path: Path) -> None:
    pred, target, _ = maps()
    value = typed([written(tmp_path, PLAIN)])["mine"].criterion(pred, target, torch.zeros(2, 1, 8, 8).bool())
    assert float(value.detach()) == 0 and value.requires_grad


FILES = [
    ("def mine(pred, target, valid:\n    return 1\n", r"my loss\.py:1: .*never closed"),
    ("import torch\nimport no_such_package\n", r"my loss\.py:2: loading it raised ModuleNotFoundError"),
    ("def other(pred):\n    return 1\n", r"has no function 'mine'; it has other"),
    ("mine = 3\n", r"has no function 'mine'; it has no functions"),
    (
        "\ndef mine(pred, target):\n    return 1\n",
        r"my loss\.py:2: mine\(pred, target\) cannot be called with 3 arguments",
    ),
]
CALLS = [
    ("    x = pred\n    return {}['weights']\n", r"my loss\.py:3: mine raised KeyError: 'weights'"),
    ("    return pred.sum() + target[99]\n", r"my loss\.py:2: mine raised IndexError"),
    ("    return (pred - target).abs()\n", r"my loss\.py:1: the loss mine gives torch.float32 of shape \[2, 1, 8, 8\]"),
    ("    return 0.5\n", "the loss mine gives float; a tensor with one number is needed"),
    ("    return (pred * 0).sum() / 0\n", "the loss mine gives nan for a finite prediction"),
    ("    return pred.detach().mean()\n", "does not depend on pred in a way that torch can differentiate"),
]


@pytest.mark.parametrize(("code", "said"), FILES)
def test_a_file_that_holds_no_loss_is_refused_before_any_work(tmp_path: Path, code: str, said: str) -> None:
    with pytest.raises(BadCode, match=said) as caught:
        typed([written(tmp_path, code)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("body", "said"), CALLS)
def test_a_loss_that_fails_names_its_file_and_line(tmp_path: Path, body: str, said: str) -> None:
    criterion = typed([written(tmp_path, f"def mine(pred, target, valid):\n{body}")])["mine"].criterion
    with pytest.raises(BadCode, match=said) as caught:
        criterion(*maps())
    assert "\n" not in str(caught.value)


def test_a_gradient_that_is_not_finite_is_the_loss_s_fault(tmp_path: Path) -> None:
    code = "def mine(pred, target, valid):\n    return ((pred - target) / target)[valid].mean()\n"
    pred, target, valid = maps()
    value = typed([written(tmp_path, code)])["mine"].criterion(pred, torch.where(valid, target, 0), valid)
    with pytest.raises(
        BadCode, match=r"my loss\.py:1: the loss mine has a gradient that is not finite; .*target\[valid\]"
    ):
        value.backward()  # type: ignore[no-untyped-call]


def test_a_file_that_is_not_there_and_an_unknown_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LeadlineError, match=re.escape(f"there is no file {tmp_path / 'none.py'}")):
        typed([f"{tmp_path / 'none.py'}:mine"])
    with pytest.raises(ValueError, match=r"'nonsense' is unknown; .*FILE\.py:NAME for your own"):
        typed(["nonsense"])


def test_a_prediction_that_is_no_number_is_not_blamed_on_the_loss(tmp_path: Path) -> None:
    pred, target, valid = maps()
    value = typed([written(tmp_path, PLAIN)])["mine"].criterion(pred * float("nan"), target, valid)
    assert value.isnan()
