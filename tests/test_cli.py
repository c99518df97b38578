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
from faults import calls_of, failing

from quprop.problems import PROBLEMS

TINY = ["--set", "n=4", "--set", "layers=2"]


def sentence(text):
    assert text.startswith("quprop: ") and text.count("\n") == 1 and "Traceback" not in text, text
    return text


def test_the_bare_command_prints_its_help(quprop):
    assert "Usage: quprop" in "".join(quprop(status=2)) and "train" in "".join(quprop(status=2))


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
        "needs PySCF",
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
    "too large": (["train", "tfim", "--set", "n=60,layers=30"], "fits no machine, and a term has a light cone of more"),
    "tolerance": (["train", "tfim", "--set", "engine=native,tolerance=0.1"], "drops nothing: leave it out"),
    "too large here": (["train", "tfim", "--set", "n=40", "--set", "layers=30"], "TiB and this machine has"),
    "learning rate": (
        ["train", "tfim", "--set", "optimiser=adam", "--set", "learning_rate=0"],
        "`learning_rate` must be a positive number",
    ),
    "graph": (["train", "maxcut", "--set", "file=none.txt"], "cannot be read"),
    "layers": (["train", "tfim", "--set", f"layers={10**18}"], "model.layers must be at most 10,000, got 10000"),
    "spins": (["train", "tfim", "--set", f"n={10**18}"], "problem.n must be at most 10,000"),
    "sizes": (["compare", "digits", "--precision", "1", "--set", f"layers={10**18}"], "must be at most 10,000"),
    "steps": (["train", "tfim", "--set", f"steps={10**40}"], "train.steps must be at most"),
    "many digits": (["train", "tfim", "--set", "layers=0x" + "f" * 9000], "got a number of thousands of digits"),
    "long number": (["train", "tfim", "--set", "layers=1" + "0" * 9000], "must be a whole number, got '10000"),
    "zeros": (["train", "maxcut", "--set", "file=/dev/zero"], "larger than the 16 MiB"),
    "endless model": (["compare", "/proc/self/mem", "--precision", "1"], "cannot be read"),
    "deep": (["train", "tfim", "--set", "gates=" + "[" * 90_000], "model.gates must be a list, got '[[["),
    "deep gate": (["train", "hamiltonian", "--set", f'gates=["{"-" * 90_000}1"]', "--set", 'terms={"Z0"=1.0}'], "gate"),
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
    "deep": ("a = " + "[" * 90_000, "nested too deeply"),
    "many digits": ('[problem]\nname = "h2"\n[model]\nlayers = 1' + "0" * 9000, "is not valid TOML"),
    "layers": (f'[problem]\nname = "h2"\n[model]\nlayers = {10**18}\n', "layers must be at most 10,000"),
    "gates": ('[problem]\nname = "h2"\n[model]\ngates = ["ry(theta[999999999999], 0)"]\n', "theta"),
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


@pytest.mark.slow
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


def test_an_endless_toml_file_is_refused_before_it_is_read(quprop, tmp_path):
    (tmp_path / "zeros.toml").symlink_to("/dev/zero")
    for arguments in (["train", "zeros.toml"], ["compare", "tfim", "--precision", "1", "--hardware", "zeros.toml"]):
        assert "larger than the 16 MiB" in sentence(quprop(*arguments, status=2)[1])


# -- places for output ------------------------------------------------------------------------------------------------

COMMANDS = {
    "train": ["train", "tfim", *TINY],
    "compare": ["compare", "tfim", "--precision", "0.1", *TINY],
    "plan": ["plan", "tfim", "--precision", "0.1", *TINY],
    "plan a preset": ["plan", "--preset", "figure2"],
    "plan --check": ["plan", "--check"],
    "methods": ["methods"],
    "scaling": ["scaling", "--m-max", "64"],
    "scaling --figure2": ["scaling", "--figure2"],
    "reproduce": ["reproduce", "figure2"],
    "reproduce --all": ["reproduce", "--all"],
    "report": ["report", "."],
    "carleman analyse": ["carleman", "analyse", "mlp"],
    "carleman train": ["carleman", "train", "mlp"],
    "carleman experiment": ["carleman", "experiment", "euler"],
}
PLACES = {".": "is a folder", "no/where.json": "make it first", "/dev/null": "no ordinary file", "/proc/x": "cannot be"}
FIGURES = ("compare", "plan", "plan a preset", "scaling --figure2", "carleman analyse", "carleman train")
FOLDERS = (
    "train",
    "scaling",
    "reproduce",
    "reproduce --all",
    "carleman analyse",
    "carleman train",
    "carleman experiment",
)


@pytest.mark.parametrize("name", COMMANDS)
def test_places_for_output_are_refused_before_any_work(name, quprop, tmp_path, monkeypatch):
    """Whatever would be work is not reached: it costs no time, and leaves nothing."""
    (tmp_path / "file").write_text("")
    for option in ["--json", *["--plot"] * (name in FIGURES)]:
        for place, words in PLACES.items():
            start = time.process_time()
            assert words in sentence(quprop(*COMMANDS[name], option, place, status=2)[1])
            assert time.process_time() - start < 2
    for place, words in {"file": "is a file", "file/deep": "a file", "/proc/x": "cannot be written"}.items():
        if name in FOLDERS:
            assert words in sentence(quprop(*COMMANDS[name], "--out", place, status=2)[1])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_refused(quprop, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    assert "cannot be written" in quprop("methods", "--json", "locked/a.json", status=2)[1]
    assert "cannot be written" in quprop("train", "tfim", *TINY, "--out", "locked/a", status=2)[1]


@pytest.mark.slow
def test_a_full_disk_is_status_1_names_the_file_and_the_run_goes_on(quprop, tmp_path):
    count = calls_of(lambda: quprop("train", "tfim", *TINY, "--out", "count", "--quiet"))
    for k in (count // 3, count // 2, count - 4):
        out = str(tmp_path / str(k))
        with failing("full", k):
            said = sentence(quprop("train", "tfim", *TINY, "--out", out, "--quiet", status=1)[1])
        assert out in said and "free some space" in said
        if (tmp_path / str(k) / "checkpoint.npz").exists():
            assert f"quprop train tfim --out {out} --resume" in said
            quprop("train", "tfim", "--resume", "--out", out, "--quiet")
    with failing("full", 1):
        assert "free some space" in sentence(quprop("methods", "--json", "m.json", status=1)[1])


# -- signals and pipes ------------------------------------------------------------------------------------------------


def program(*arguments, **options):
    code = "from quprop_cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment, **pipes)


def interrupted(number, delay):
    """Status and words of a program that gets a signal so long after it began."""
    process = program("compare", "tfim", "--precision", "0.01", "--set", "n=10")
    while process.poll() is None:  # until it is ours: before, it is the interpreter that starts
        with open(f"/proc/{process.pid}/status") as status:
            caught = next(line.split()[1] for line in status if line.startswith("SigCgt"))
        if int(caught, 16) >> (signal.SIGTERM - 1) & 1:
            break
    time.sleep(delay)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    return process.returncode, err.decode()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="a process is asked whether it listens")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_first_seconds_ends_the_program_without_a_traceback(number):
    for delay in (0.0, 0.25, 0.7):
        code, err = interrupted(number, delay)
        assert code == 130 and err.startswith("quprop: interrupted") and err.count("\n") == 1, err


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="a process is asked whether it listens")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_time_ends_the_program_without_a_traceback(number):
    for delay in [i / 12 for i in range(24)]:
        code, err = interrupted(number, delay)
        assert code in (0, 130) and "Traceback" not in err, err


@pytest.mark.slow
def test_output_that_nobody_takes_is_no_traceback():
    process = program("methods")
    process.stdout.close()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and b"Traceback" not in err and b"ignored" not in err, err
    with open("/dev/full", "wb") as full:
        process = program("methods", stdout=full)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and b"Traceback" not in err and b"ignored" not in err, err


@pytest.mark.slow
def test_sigterm_of_a_run_is_as_control_c(tmp_path):
    process = program("train", "tfim", "--set", "n=8", "--set", "optimiser=adam", "--set", "steps=4000", cwd=tmp_path)
    folder = tmp_path / "runs" / "tfim"
    while process.poll() is None and not (
        (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").stat().st_size
    ):
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Continue with: quprop train tfim --resume" in out, (out, err)


# -- experiments that fail --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_experiment_that_fails_leaves_nothing_and_the_others_go_on(quprop, tmp_path, monkeypatch):
    from quprop.experiments import EXPERIMENTS, Experiment

    def fails(quick, rng, progress):
        raise KeyError("nothing of the kind")

    e = EXPERIMENTS["figure2"]
    broken = Experiment("damage", "c", "s", 0.1, fails, e.draw)
    monkeypatch.setattr("quprop.cli.reproduce.experiments", lambda: {"damage": broken, "figure2": e})
    for _ in range(2):
        out, err = quprop("reproduce", "--all", "--quick", "--out", "there", status=1)
        assert "damage: failed, KeyError" in out and "damage failed" in err
        assert sorted(p.name for p in (tmp_path / "there").iterdir()) == ["figure2.json", "figure2.png"]
    assert "figure2: in there already" in out
    # What lacks something, or is something else, is not measured; the table and the next run go on.
    for content in ({"experiment": "figure2"}, [], {"experiment": "figure2", "parameters": 3, "versions": []}):
        (tmp_path / "there" / "figure2.json").write_text(json.dumps(content))
        quprop("reproduce", "--out", "there")
    (tmp_path / "there" / "figure2.json").write_text("[" * 90_000)
    assert "in there already" not in quprop("reproduce", "--all", "--quick", "--out", "there", status=1)[0]


def test_a_figure_that_cannot_come_is_refused_before_the_sweep(quprop, tmp_path):
    out = quprop("scaling", "--m-max", 64, "--m-min", 64, "--plot", "a.png", status=2)[1]
    assert "three sizes" in sentence(out) and not list(tmp_path.iterdir())
