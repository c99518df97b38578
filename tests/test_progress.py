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


def test_a_log_file_gets_a_line_for_each_tenth_or_now_and_then():
    console = Console(file=io.StringIO(), width=80)
    with Progress(console, TASKS, "rows") as bar:
        bar(4, 24, None)
        for done in range(5, 25):
            bar(done, 24, {"settings": {"method": "spsa", "m": done}})
    found = console.file.getvalue().splitlines()
    assert found[0] == "4 of 24 rows are there already" and found[-1] == "24/24 rows  0 s  spsa 24"
    assert [int(line.split("/")[0]) for line in found[1:]] == [*range(6, 25, 2)]
    console = Console(file=io.StringIO(), width=80)
    with Progress(console, STEPS) as bar:
        for done in range(6):
            bar(done, 5, f"part {done}")
    assert console.file.getvalue() == "0/5  part 0\n"
    console = Console(file=io.StringIO(), width=80)
    with Progress(console, TRAINING, "step") as bar:
        bar(10, 20, None)
        for done in range(11, 21):
            bar(done, 20, numbers(0.5, {"loss": 1.0, "damage": 0.25}))
    found = console.file.getvalue().splitlines()
    assert [line.split("  ")[0] for line in found] == [f"step {k}/20" for k in range(12, 21, 2)]
    assert found[-1] == "step 20/20  loss 0.5  damage 0.2500  0 s left"


def test_nothing_is_shown_where_nothing_is_wanted():
    quiet = Console(file=io.StringIO(), quiet=True, force_terminal=True)
    for console in (quiet, None):
        with Progress(console, TASKS, "rows") as bar:
            bar(1, 2, None)
            bar(2, 2, "words")
    assert not quiet.file.getvalue()


@pytest.mark.slow
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
    monkeypatch.setattr("quprop.cli.common.plain_console", lambda quiet: Console(quiet=quiet, force_terminal=True))
    quprop(*arguments)
