"""`quprop train` under mpirun: one run of many ranks, with the numbers of one process, which nothing leaves hanging."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import led_program
import mpi
import numpy as np
import pytest
from test_train import wait_for_lines

import quprop as qpr
from quprop.runs import RunFolder
from quprop.simulate.distributed import serve

PROGRAM = Path(led_program.__file__)
TFIM = ("train", "tfim", "--set", "n=6", "--threads", "1")
LONG = (*TFIM, "--set", "optimiser=adam", "--set", "steps=120")
SLOW = 0.03  # seconds of a gradient of LONG, so that it is cut in its middle


def quprop(ranks, *arguments, cwd):
    """The command under mpirun, or without it for one process."""
    command = ("-m", "quprop.cli", *arguments)
    if ranks > 1:
        return mpi.run(ranks, *command, cwd=cwd)
    return subprocess.run([sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)


def numbers(folder):
    """All that a run found, without times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    history = [[value for key, value in line.items() if key != "seconds"] for line in lines]
    theta = RunFolder.open(folder).read_checkpoint()[0]["params/theta"]
    summary = json.loads((folder / "summary.json").read_text())
    kept = {k: v for k, v in summary.items() if isinstance(v, float) and "seconds" not in k and "omega" not in k}
    return history, theta, kept


def alike(a, b):
    (history, theta, kept), (other, other_theta, other_kept) = numbers(a), numbers(b)
    np.testing.assert_allclose(history, other, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(theta, other_theta, rtol=1e-11, atol=1e-11)
    assert kept.keys() == other_kept.keys()
    for key, value in kept.items():
        assert value == pytest.approx(other_kept[key], rel=1e-12, abs=1e-11), key
    assert {f.name for f in a.iterdir()} == {f.name for f in b.iterdir()}
    assert (a / "run.toml").read_bytes() == (b / "run.toml").read_bytes()
    return True


@mpi.needs_mpi
@pytest.mark.parametrize(
    ("ranks", "what"),
    [
        (2, "tfim n=6,steps=20"),
        pytest.param(4, "digits epochs=1,optimiser=sgd", marks=pytest.mark.slow),
        pytest.param(4, "maxcut steps=10", marks=pytest.mark.slow),
        pytest.param(2, "h2 steps=10", marks=pytest.mark.slow),
        pytest.param(8, "tfim n=8,steps=20,optimiser=adam", marks=pytest.mark.slow),
    ],
)
def test_many_ranks_train_what_one_process_trains(tmp_path, ranks, what):
    name, settings = what.split()
    asked = ("train", name, "--set", settings, "--threads", 1, "--out")
    done = quprop(ranks, *asked, "many", cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.count("writing to many") == done.stdout.count("summary.json") == 1
    assert "simulated by   distributed" in done.stdout and f"on {ranks} ranks" in done.stdout
    assert quprop(1, *asked, "one", "--quiet", cwd=tmp_path).returncode == 0
    assert alike(tmp_path / "many", tmp_path / "one")


@mpi.needs_mpi
def test_the_other_ranks_make_every_call_of_the_first_and_remember_what_it_may_ask(tmp_path):
    done = mpi.run(2, PROGRAM, "protocol", tmp_path / "out", cwd=tmp_path, PYTHONPATH=_path())
    assert done.returncode == 0 and not done.stderr, done.stderr
    values, found, expected, refused, told, ranks = json.loads((tmp_path / "out").read_text())
    assert np.shape(values) == (1, 2) and refused == "too large" and ranks == ["rank 0", "rank 1"]
    assert np.allclose(found[0], expected[0], atol=1e-14) and found[2] == found[0]
    assert np.allclose(found[1], expected[1], atol=1e-14)
    of_first, of_second = "pullback of 0.7 at 3.0 ", "pullback of 1.4 at 3.0 "
    assert told[:8] == [
        "vjp 0.7",
        "vjp 1.4",
        "vjp 0.7",  # again, because the second took its place
        of_first + "False",
        "vjp 1.4",
        of_second + "True",
        "vjp 0.7",
        of_first + "False",
    ]
    assert len(told) == 8 + 1 + 2 * serve.MODELS + 5


@mpi.needs_mpi
def test_a_program_that_ranks_lead_trains_into_one_folder_and_one_that_they_share_into_none(tmp_path):
    done = mpi.run(2, PROGRAM, "script", tmp_path / "run", cwd=tmp_path, PYTHONPATH=_path())
    assert done.returncode == 1 and done.stderr == "done\n", done.stderr
    *_, loss = lines = done.stdout.splitlines()
    assert sum("start it with qpr.lead(program)" in line for line in lines) == 2  # of each rank
    assert checkpoint_of(tmp_path / "run") == 5 and done.stdout.count(loss) == 1
    alone = qpr.train(led_program.model(), qpr.Expectation((1.0, 2.0)), params=[0.3, 0.4], steps=5)
    assert float(loss) == pytest.approx(alone.loss, rel=1e-13)


@mpi.needs_mpi
def test_a_rank_that_fails_alone_ends_all_with_one_sentence(tmp_path):
    with mpi.start(2, PROGRAM, "failure", tmp_path / "out", cwd=tmp_path) as ranks:
        done = ranks.end(60)
        assert done.returncode and done.stderr.count("quprop: rank 1 failed (ValueError: lost)") == 1
        assert "Traceback" not in done.stderr
        assert ranks.gone()


@mpi.needs_mpi
@pytest.mark.slow
def test_ctrl_c_within_a_call_of_all_ranks_ends_all(tmp_path):
    with mpi.start(4, PROGRAM, "cut", tmp_path / "out", cwd=tmp_path, PYTHONPATH=_path()) as ranks:
        assert ranks.end(60).returncode
        assert ranks.gone()


def _path():
    return os.pathsep.join([str(PROGRAM.parent), *filter(None, sys.path)])


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("train tfim --set engine=native", "train.engine = 'native'"),
        ("train tfim --set tolerance=0.1", "train.tolerance = 0.1"),
        ("train tfim --noise superconducting", "train.noise = 'superconducting'"),
        ("train tfim --method parameter_shift --shots 10", "train.method = 'parameter_shift'"),
        ("train tfim --set optimiser=natural_gradient", "natural_gradient"),
        ("train blobs", "blobs"),
        ("scan tfim --over J=0:1:2", "`quprop scan`"),
        ("compare tfim", "`quprop compare`"),
        ("carleman train digits", "`quprop carleman`"),
    ],
)
def test_what_ranks_have_no_part_in_is_refused_before_anything_is_written(quprop, monkeypatch, tmp_path, asked, said):
    class Alone:
        ranks = type("Ranks", (), {"size": 2})

    monkeypatch.setattr(serve, "_leader", Alone())
    _, err = quprop(*asked.split(), status=2)
    assert err.count("\n") == 1 and said in err and "start it without mpirun" in err
    assert not list(tmp_path.iterdir())


@mpi.needs_mpi
@pytest.mark.parametrize(
    ("ranks", "asked", "said"),
    [
        (2, ("train", "nothing"), "unknown problem"),
        pytest.param(3, TFIM, "a power of two of ranks, got 3", marks=pytest.mark.slow),
        pytest.param(4, (*TFIM, "--noise", "superconducting"), "without mpirun", marks=pytest.mark.slow),
    ],
)
def test_many_ranks_refuse_with_one_sentence(tmp_path, ranks, asked, said):
    done = quprop(ranks, *asked, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("quprop: ") and done.stderr.count("\n") == 1 and said in done.stderr
    assert not list(tmp_path.iterdir())


@mpi.needs_mpi
def test_without_mpi4py_one_rank_says_so(tmp_path):
    done = mpi.run(2, PROGRAM, "without", *TFIM, cwd=tmp_path)
    said = "quprop: one state over many ranks needs mpi4py, which is not installed: "
    assert done.returncode == 2 and done.stderr.startswith(said) and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
def test_one_process_never_starts_mpi():
    code = "import sys, quprop.cli as c; c.app(['methods'], standalone_mode=False); print('mpi4py' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


# -- how it ends before its end ---------------------------------------------------------------------------------------


def checkpoint_of(folder):
    """The step that its checkpoint stands at; 0 before there is one."""
    found = (folder / "checkpoint.npz").exists() and RunFolder.open(folder).read_checkpoint()
    return found[1]["step"] if found else 0


@mpi.needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "number"),
    [
        (0, "SIGKILL"),
        (1, "SIGKILL"),
        ("mpirun", "SIGKILL"),
        ("mpirun", "SIGINT"),
        ("mpirun", "SIGTERM"),
        ("mpirun", "SIGUSR1"),
        (0, "SIGINT"),
    ],
)
def test_ranks_that_are_cut_end_and_other_ranks_go_on(tmp_path, who, number):
    folder = tmp_path / "cut"
    alone = (who, number) == ("mpirun", "SIGKILL")
    quiet = ("--quiet",) if alone else ()  # nothing is written that would find its reader gone
    with mpi.start(2, PROGRAM, "train", SLOW, *LONG, *quiet, "--out", folder, cwd=tmp_path) as ranks:
        wait_for_lines(folder, ranks.process, 3)
        until = time.monotonic() + 30
        while not checkpoint_of(folder) and time.monotonic() < until:
            time.sleep(0.05)
        pid = ranks.process.pid if who == "mpirun" else ranks.pid(who)
        os.kill(pid, getattr(signal, number))
        if alone:
            assert ranks.gone()
        done = ranks.end(30)
        assert ranks.gone()
    again = f"mpirun -n 2 quprop train tfim --out {folder} --resume"
    assert done.stdout.count(f"if the ranks are cut, continue with: {again}") == (not alone)
    if number == "SIGKILL" and who != "mpirun":
        assert done.stderr.count("quprop: ") == 1
        assert f"quprop: rank {who} is gone; continue with: {again}" in done.stderr
    if number == "SIGUSR1" or (who, number) == (0, "SIGINT"):
        assert done.returncode == 130 and "prterun" not in done.stderr
        assert done.stdout.count("the checkpoint is written. Continue with: " + again) == 1
    assert 0 < checkpoint_of(folder) < 120 and not (folder / "summary.json").exists()
    ranks = {"SIGKILL": 4, "SIGINT": 1}.get(number, 2)
    assert quprop(ranks, *LONG, "--out", folder, "--resume", cwd=tmp_path).returncode == 0
    assert quprop(1, *LONG, "--out", tmp_path / "whole", cwd=tmp_path).returncode == 0
    assert alike(folder, tmp_path / "whole")
