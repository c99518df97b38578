"""Progress bars in a terminal: they show from before the first step on, when the number of steps is not known yet."""

import io

import pytest
from rich.console import Console

from quprop.runs.progress import STEPS, TASKS, TRAINING, Progress
from quprop.training.job import numbers


def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=80)


@pytest.mark.parametrize("step", [(0, 7, "something long"), (2, 7, "something long")])
def test_steps(step):
    console = terminal()
    with Progress(console, STEPS) as bar:
        bar._bar.refresh()
        bar(*step)
        bar._bar.refresh()
    assert f"{step[0]}/7" in console.file.getvalue() and "something long" in console.file.getvalue()


def test_tasks():
    console = terminal()
    with Progress(console, TASKS, "methods") as bar:
        bar._bar.refresh()
        bar(0, 5, None)
        bar(3, 5, {"settings": {"method": "spsa", "m": 8}})
        bar._bar.refresh()
    assert "3/5" in console.file.getvalue() and "spsa 8" in console.file.getvalue()


def test_training():
    console = terminal()
    with Progress(console, TRAINING, "step") as bar:
        bar._bar.refresh()
        bar(0, 20, None)
        bar(4, 20, numbers(0.25, {"test_accuracy": 0.5}))
        bar._bar.refresh()
    assert "4/20" in console.file.getvalue() and "test accuracy 0.5000" in console.file.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "tfim", "--set", "n=3", "--set", "layers=1", "--precision", "0.2"),
        ("reproduce", "shifted_circuits", "--quick"),
        ("scaling", "--m-min", "16", "--m-max", "32", "--methods", "parameter_shift", "--family", "random_pauli"),
        ("train", "tfim", "--set", "n=3", "--set", "steps=3"),
    ],
    ids=lambda a: a[0],
)
def test_commands_in_a_terminal(quprop, monkeypatch, arguments):
    monkeypatch.setenv("FORCE_COLOR", "1")
    quprop(*arguments)
