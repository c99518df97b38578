"""The command line: what it prints, what it writes, its exit status, and one sentence for everything that is wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib

import pytest

from quprop.problems import PROBLEMS

TINY = ["--set", "n=4", "--set", "layers=2"]


def sentence(text):
    assert text.startswith("quprop: ") and text.count("\n") == 1 and "Traceback" not in text, text
    return text


def test_version_and_help(quprop):
    assert quprop("--version")[0].startswith("quprop ")
    assert "train" in quprop("--help")[0]
    text = quprop("train", "--help")[0]
    for word in (
        "--out",
        "--resume",
        "--set",
        "--json",
        "--seed",
        "--quiet",
        "Examples",
        "quprop train digits",
        "quprop[chem]",
        *PROBLEMS,
    ):
        assert word in text, word


def test_settings_are_valid_toml_and_complete(quprop):
    for name, spec in PROBLEMS.items():
        table = tomllib.loads(quprop("train", name, "--settings")[0])
        assert {s: set(t) for s, t in table.items()} == {s: set(t) for s, t in spec.schema.items()}


def test_a_run_prints_the_verdict_and_the_cost_and_writes_the_folder(quprop, tmp_path):
    out, _ = quprop("train", "tfim", *TINY, "--json", "result.json", "--seed", "3")
    assert max(map(len, out.splitlines())) <= 80
    for word in (
        "energy",
        "exact",
        "error",
        "ω in time",
        "ω in memory",
        "rotations executed",
        "by parameter shift",
        "runs/tfim",
    ):
        assert word in out, word
    folder = tmp_path / "runs" / "tfim"
    assert {p.name for p in folder.iterdir()} == {
        "run.toml",
        "metrics.jsonl",
        "checkpoint.npz",
        "summary.json",
        "curves.png",
    }
    summary = json.loads((tmp_path / "result.json").read_text())
    assert summary == json.loads((folder / "summary.json").read_text())
    assert summary["config"]["train"]["seed"] == 3 and summary["n_qubits"] == 4
    assert summary["omega_time"] == summary["gradient_seconds"] / summary["value_seconds"]  # not how large: it is timed
    assert summary["omega_memory"] >= 1
    assert summary["rotations"] < summary["parameter_shift_rotations"]
    assert tomllib.loads((folder / "run.toml").read_text())["problem"]["n"] == 4


def test_quiet_prints_nothing(quprop):
    assert quprop("train", "h2", "--quiet") == ("", "")


def test_a_toml_file_defines_a_run(quprop, tmp_path):
    (tmp_path / "my.toml").write_text(
        '[problem]\nname = "hamiltonian"\n[problem.terms]\n"Z0 Z1" = 1.0\n"X0" = 0.5\n'
        '[model]\ngates = ["ry(theta[0], 0)", "ry(theta[1], 1)", "cx(0, 1)", "ry(theta[2], 0)"]\n[train]\nsteps = 40\n'
    )
    quprop("train", "my.toml", "--out", "here", "--set", "train.steps=30")
    assert json.loads((tmp_path / "here" / "summary.json").read_text())["energy_error"] < 1e-6
    quprop("train", "my.toml", "--out", "here", "--resume", "--set", "steps=30")


def test_an_edge_list_is_found_beside_its_toml_file(quprop, tmp_path):
    (tmp_path / "graphs").mkdir()
    (tmp_path / "graphs" / "square.txt").write_text("a b\nb c\nc d\nd a\n")
    (tmp_path / "graphs" / "cut.toml").write_text(
        '[problem]\nname = "maxcut"\nfile = "square.txt"\n[model]\nlayers = 2\n'
    )
    out, _ = quprop("train", "graphs/cut.toml")
    assert "largest possible 4" in out and (tmp_path / "runs" / "cut" / "summary.json").exists()


BAD = {
    "problem": (["train", "digitz"], "unknown problem 'digitz': did you mean 'digits'?"),
    "file": (["train", "nope.toml"], "there is no file nope.toml"),
    "key": (["train", "tfim", "--set", "layer=3"], "did you mean 'layers'?"),
    "dotted key": (["train", "tfim", "--set", "model.layer=3"], "did you mean 'layers'?"),
    "section": (["train", "tfim", "--set", "modle.layers=3"], "did you mean 'model'?"),
    "no value": (["train", "tfim", "--set", "layers"], "--set takes key=value"),
    "kind": (["train", "tfim", "--set", "layers=many"], "model.layers must be a whole number, got 'many'"),
    "seed": (["train", "tfim", "--seed", "-1"], "train.seed must be at least 0"),
    "resume nothing": (["train", "tfim", "--resume"], "no run.toml"),
    "json": (["train", "tfim", "--json", "no/such/file.json"], "there is no folder"),
    "too large": (["train", "tfim", "--set", "n=60"], "more than any machine holds"),
    "too large here": (["train", "tfim", "--set", "n=40"], "TiB and this machine has"),
    "learning rate": (
        ["train", "tfim", "--set", "optimiser=adam", "--set", "learning_rate=0"],
        "`learning_rate` must be a positive number",
    ),
    "graph": (["train", "maxcut", "--set", "file=none.txt"], "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_usage_is_one_sentence_and_status_2(name, quprop, tmp_path):
    arguments, words = BAD[name]
    assert words in sentence(quprop(*arguments, status=2)[1])
    assert not list(tmp_path.iterdir())


BAD_FILES = {
    "syntax": ("[problem\n", "is not valid TOML"),
    "no problem": ("[train]\nsteps = 3\n", "must name its problem"),
    "problem": ('[problem]\nname = "lhi"\n', "did you mean 'lih'?"),
    "section": ('[problem]\nname = "h2"\n[mode]\nlayers = 2\n', "unknown section [mode]: did you mean 'model'?"),
    "key": ('[problem]\nname = "h2"\n[train]\nstep = 2\n', "unknown key 'step' in [train]: did you mean 'steps'?"),
    "gate": ('[problem]\nname = "h2"\n[model]\ngates = ["hh(0)"]\n', "unknown gate 'hh'"),
    "stray key": ('layers = 3\n[problem]\nname = "h2"\n', "unknown section [layers]"),
    "not text": ("\x00\x01", "is not valid TOML"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_toml_file_is_one_sentence_and_status_2(name, quprop, tmp_path):
    text, words = BAD_FILES[name]
    (tmp_path / "my.toml").write_text(text)
    assert words in sentence(quprop("train", "my.toml", status=2)[1])
    assert [p.name for p in tmp_path.iterdir()] == ["my.toml"]


@pytest.mark.parametrize(
    "arguments", [["train"], ["trian", "digits"], ["train", "h2", "--sed", "3"], ["train", "h2", "--threads", "0"]]
)
def test_bad_usage_of_the_program_is_status_2(arguments, quprop):
    quprop(*arguments, status=2)


def test_an_existing_run_is_left_alone_and_resumes_only_as_it_was(quprop, tmp_path):
    quprop("train", "tfim", *TINY)
    folder = tmp_path / "runs" / "tfim"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert "continue it with --resume" in sentence(quprop("train", "tfim", *TINY, status=2)[1])
    assert "of the problem 'tfim', got 'h2'" in sentence(
        quprop("train", "h2", "--out", folder, "--resume", status=2)[1]
    )
    assert "problem.n = 4, got 5" in sentence(quprop("train", "tfim", "--resume", "--set", "n=5", status=2)[1])
    (folder / "checkpoint.npz").write_bytes(b"no")
    assert "checkpoint" in sentence(quprop("train", "tfim", "--resume", status=2)[1])
    (folder / "checkpoint.npz").write_bytes(before["checkpoint.npz"])
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    quprop("train", "tfim", "--resume")
    assert (folder / "metrics.jsonl").read_bytes() == before["metrics.jsonl"]


def test_a_run_toml_of_a_stranger_is_refused(quprop, tmp_path):
    (tmp_path / "a").mkdir()
    for text, words in (
        ("not = [toml", "no readable TOML"),
        ('[problem]\nname = "nix"\n', "unknown problem"),
        ("[train]\n", "started from Python"),
    ):
        (tmp_path / "a" / "run.toml").write_text(text)
        assert words in sentence(quprop("train", "h2", "--out", "a", "--resume", status=2)[1])


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
def test_control_c_says_how_to_go_on_and_the_run_goes_on(quprop, tmp_path):
    """At the terminal: status 130, one line with the command; the resumed run ends like one that was never stopped."""
    settings = ["--set", "n=8", "--set", "layers=6", "--set", "optimiser=adam", "--set", "steps=400"]
    shim = "import qshim\n" if "qshim" in sys.modules else ""
    code = shim + "from quprop.cli import main\nmain()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", "tfim", *settings],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = tmp_path / "runs" / "tfim" / "metrics.jsonl"
    while process.poll() is None and not (lines.exists() and lines.stat().st_size > 200):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert re.search(r"Stopped after step \d+; .* quprop train tfim --resume", out)
    assert not (tmp_path / "runs" / "tfim" / "summary.json").exists()
    quprop("train", "tfim", "--resume", "--json", "a.json")
    quprop("train", "tfim", *settings, "--out", "whole", "--json", "b.json")
    a, b = (json.loads((tmp_path / f).read_text()) for f in ("a.json", "b.json"))
    assert a["energy"] == b["energy"] and a["gradient_evaluations"] == b["gradient_evaluations"] == 400
