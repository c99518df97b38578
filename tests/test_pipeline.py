"""The command line in pipelines, terminals and shells: what goes where, what is never lost, what is completed, and its
reference in the documentation."""

import dataclasses
import errno
import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from test_cli import TINY, program, sentence

from quprop.cli.common import one_of, some_of
from quprop.cli.tables import narrow_table
from quprop.gradients import COSTED
from quprop.hardware_models import HardwareModel, NoiseModel
from quprop.problems import PROBLEMS
from quprop.runs.progress import plain_console

DOCS = Path(__file__).parent.parent / "docs"
SMALL = [
    "compare",
    "tfim",
    "--set",
    "n=3",
    "--set",
    "layers=1",
    "--precision",
    "0.2",
    "--methods",
    "adjoint,pair_state,parameter_shift",
]
SWEEP = ["scaling", "--m-min", "16", "--m-max", "32", "--methods", "parameter_shift", "--family", "random_pauli"]

# -- standard output --------------------------------------------------------------------------------------------------

DOCUMENTS = {  # the command, and the kind of its document
    "train": (["train", "tfim", *TINY], "summary"),
    "compare": (SMALL, "comparison"),
    "plan": (["plan", "hardware_efficient:4,2", "--precision", "0.1"], "plan"),
    "figure2": (["plan", "--preset", "figure2"], "figure2"),
    "scaling": (SWEEP, "scaling"),
    "methods": (["methods"], None),
    "reproduce": (["reproduce"], None),
    "reproduce NAME": (["reproduce", "figure2"], "experiment"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_on_standard_output_is_all_that_goes_there(name, quprop, tmp_path):
    arguments, kind = DOCUMENTS[name]
    out, words = quprop(*arguments, "--json", "-")
    found = json.loads(out)
    assert kind is None or found["kind"] == kind
    assert words.strip() and not (tmp_path / "-").exists()
    if name in ("compare", "plan", "methods"):  # the same again, for nothing in them is timed
        assert found == json.loads(quprop(*arguments, "--json", "-", "--quiet")[0]) or name == "compare"
        quprop(*arguments, "--json", "file.json")
        in_file = json.loads((tmp_path / "file.json").read_text())
        assert found.keys() == in_file.keys() if isinstance(found, dict) else found == in_file


ROWS = {
    "train": (["train", "tfim", *TINY, "--set", "steps=3"], "loss"),
    "compare": (SMALL, "cost"),
    "scaling": (SWEEP, "result"),
    "methods": (["methods"], "bias"),
    "reproduce": (["reproduce"], "verdict"),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_come_one_object_a_line(name, quprop, tmp_path):
    arguments, key = ROWS[name]
    out, words = quprop(*arguments, "--jsonl", "-", "--json", "whole.json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) > 1 and all(key in row for row in rows) and words.strip()
    whole = json.loads((tmp_path / "whole.json").read_text())
    if name == "compare":
        assert [row["name"] for row in rows] == list(whole["methods"])
    elif name == "train":
        assert rows == [json.loads(line) for line in (tmp_path / "runs/tfim/metrics.jsonl").read_text().splitlines()]
    else:
        assert len(rows) == len(whole["rows"] if name == "scaling" else whole)


def test_one_output_takes_one_of_them(quprop):
    assert "give two names" in sentence(quprop("methods", "--json", "-", "--jsonl", "-", status=2)[1])


def test_a_refused_command_writes_nothing_to_standard_output(quprop):
    out, err = quprop("compare", "tfmi", "--precision", "1", "--json", "-", status=2)
    assert out == "" and sentence(err)


# -- nothing is lost --------------------------------------------------------------------------------------------------


def full(path, data):
    from quprop.files import FileError

    raise FileError(f"{path} cannot be written (No space left on device): free some space")


LAST = {  # a word of the result, which the last write does not take with it
    "compare": ([*SMALL, "--json", "a.json"], "On a simulator use adjoint"),
    "compare --plot": ([*SMALL, "--plot", "a.png"], "On a simulator use adjoint"),
    "plan": (["plan", "tfim", "--precision", "0.1", "--json", "a.json"], "a gradient"),
    "scaling": ([*SWEEP, "--json", "a.json"], "no fit"),
    "train": (["train", "tfim", *TINY, "--json", "a.json"], "what the gradients cost"),
    "reproduce": (["reproduce", "figure2"], "Abbas"),
    "methods": (["methods", "--jsonl", "a.jsonl"], "parameter_shift"),
}


@pytest.mark.slow
@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("name", LAST)
def test_a_disk_that_is_full_in_the_end_takes_no_result_with_it(name, quiet, quprop, monkeypatch):
    arguments, word = LAST[name]
    monkeypatch.setattr("quprop.cli.common.write_atomically", full)
    out, err = quprop(*arguments, *["--quiet"] * quiet, status=1)
    assert word in out and "cannot be written (No space" in sentence(err) and "printed above" in err


@pytest.mark.slow
def test_a_full_standard_output_is_one_sentence_and_the_result_goes_to_the_other():
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    for option in ([], ["--json", "-"]):
        with open("/dev/full", "wb") as place:
            process = program("methods", *option, stdout=place)
            words = process.communicate(timeout=60)[1].decode()
        assert process.returncode == 1 and "standard output cannot be written (No space left" in words
        assert ("parameter_shift" in words) == bool(option)


def test_a_file_that_may_not_grow_is_named(tmp_path):
    """By the limit of the shell, which is a write that takes a part, and then none."""
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700)); from quprop_cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, "methods", "--json", "m.json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1 and "m.json cannot be written (File too large)" in done.stderr
    assert "parameter_shift" in done.stdout and not list(tmp_path.iterdir())


def test_a_model_s_file_is_named_as_it_was_given(tmp_path):
    import quprop as qpr

    model = qpr.Model(qpr.ansatz.hardware_efficient(2, 1), "Z0")
    for thing in (model, qpr.Module(model)) if hasattr(qpr, "Module") else (model,):
        with pytest.raises(qpr.QupropError, match=r"/nonexist/m\.json cannot be written .* no folder /nonexist"):
            thing.save("/nonexist/m.json")
        with pytest.raises(qpr.QupropError, match=r"/proc/m\.json cannot be written"):
            thing.save("/proc/m.json")


# -- terminals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "tfim", *TINY],
        *(
            pytest.param(a, marks=pytest.mark.slow)
            for a in (SMALL, ["methods"], ["train", "tfmi"], ["train", "--none"])
        ),
    ],
    ids=" ".join,
)
def test_no_escape_codes_outside_terminals_whatever_the_environment_says(arguments, tmp_path, monkeypatch):
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "TTY_COMPATIBLE", "GITHUB_ACTIONS"):
        monkeypatch.setenv(name, "1")
    out, err = program(*arguments, cwd=tmp_path).communicate(timeout=120)
    assert out + err and b"\x1b" not in out + err


def seen_in_a_terminal(tmp_path, *arguments, **environment):
    """All that a program writes into a terminal of 40 columns."""
    parent, child = pty.openpty()
    code = (
        "import fcntl, struct, termios;"
        "fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 30, 40, 0, 0)); from quprop_cli import main; main()"
    )
    settings = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "JPY_PARENT_PID")}
    settings |= {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "TERM": "xterm-256color"} | environment
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=child, stdout=child, stderr=child, env=settings, cwd=tmp_path
    ) as process:
        os.close(child)
        pieces = []
        while True:
            try:
                piece = os.read(parent, 1 << 16)
            except OSError as error:  # Linux says so when nobody writes any more
                assert error.errno == errno.EIO
                break
            if not piece:
                break
            pieces.append(piece)
    os.close(parent)
    assert process.returncode == 0
    return b"".join(pieces).decode()


def test_colours_are_for_terminals_and_a_notebook_is_none(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for name in ("FORCE_COLOR", "NO_COLOR", "JPY_PARENT_PID", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)

    def printed(stdout, **environment):
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", stdout)
            for name, value in ({"TERM": "xterm-256color"} | environment).items():
                patched.setenv(name, value)
            plain_console().print("[bold red]energy[/bold red]")
        return stdout.getvalue()

    assert "\x1b[1;31m" in printed(Terminal())
    assert "31m" not in printed(Terminal(), NO_COLOR="1")
    for stdout, environment in (
        (io.StringIO(), {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}),
        (Terminal(), {"JPY_PARENT_PID": "1", "FORCE_COLOR": "1"}),
        (Terminal(), {"TERM": "dumb"}),
    ):
        assert printed(stdout, **environment) == "energy\n"


def test_forty_columns_lose_no_number(tmp_path):
    seen = seen_in_a_terminal(tmp_path, *SMALL)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen).replace("\r", "\n").splitlines()
    assert "\x1b[" in seen and "…" not in seen and max(map(len, shown)) <= 40
    for method, number in (("parameter_shift", "11,700"), ("pair_state", "1.22e5"), ("pair_state", "22.5")):
        assert [line for line in shown if line.startswith(method) and number in line], (method, number)


@pytest.mark.parametrize("width", [11, 14, 20, 30, 40, 60, 200])
def test_a_table_in_parts_has_all_its_cells(width):
    table = narrow_table("all", *(f"head{i}" for i in range(7)))
    rows = [[f"row {r}", *(f"{r}.{i}e+05" for i in range(7))] for r in range(4)]
    for row in rows:
        table.add_row(*row)
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width and lines[0].strip() == "all"
    cells = [word for line in lines for word in line.split()]
    assert all(cells.count(cell) == 1 for row in rows for cell in row[1:])
    if width >= 5 + 8 + 1:
        assert sum(line.startswith("row 2") for line in lines) == -(-7 // min(7, (width - 5) // 8))


# -- shells -----------------------------------------------------------------------------------------------------------

COMPLETED = {
    "quprop tr": {"train"},
    "quprop train kick": {"kicked-ising"},
    "quprop train tfim --noise trap": {"trapped_ion"},
    "quprop train tfim --set lay": {"layers="},
    "quprop compare tfim --methods adjoint,par": {"adjoint,parameter_shift"},
    "quprop plan --hardware super": {"superconducting"},
    "quprop scaling --family pauli": {"pauli_list"},
    "quprop reproduce theorem_9_g": {"theorem_9_gates"},
    "quprop carleman an": {"analyse"},
    "quprop carleman train mlp --data wi": {"wine"},
    "quprop train tfim --jso": {"--json", "--jsonl"},
}


@pytest.mark.parametrize("typed", COMPLETED)
def test_shells_complete_names_by_value(typed, monkeypatch, capfd):
    words = typed.split(" ")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    monkeypatch.setenv("_QUPROP_COMPLETE", "complete_bash")
    from quprop.cli import app

    with pytest.raises(SystemExit):
        app([], prog_name="quprop")
    assert set(capfd.readouterr().out.split()) == COMPLETED[typed]


def test_what_is_none_of_the_names_is_left_to_the_shell():
    assert one_of(PROBLEMS)("my.to") == [] and one_of(lambda: PROBLEMS)("dig") == ["digits", "digits-binary"]
    assert some_of(COSTED)("spsa,sps") == [] and some_of(COSTED)("x,sps") == ["x,spsa"]


def test_the_way_to_install_completion_is_in_the_help(quprop):
    assert "--install-completion" in quprop("--help")[0] and "Exit status" in quprop("--help")[0]


# -- the reference ----------------------------------------------------------------------------------------------------


def reference(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    import reference

    return reference


def pages(monkeypatch):
    """What the site has where its marks were."""
    made, found = reference(monkeypatch), {}
    for path in (DOCS / "reference").glob("*.md"):
        source = [path.read_text(encoding="utf-8")]
        made.fill(None, path.stem, source)
        found[path.stem] = source[0]
    assert not re.search(r"<!-- \w+ -->", "".join(found.values()))
    return found


def test_the_reference_has_every_option_of_every_command_as_its_help_has(quprop, monkeypatch):
    parts = re.split(r"^#+ (quprop .*)$", pages(monkeypatch)["commands"], flags=re.M)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    monkeypatch.setenv("COLUMNS", "200")
    for path, text in sections.items():
        words = path.split()[1:]
        if words == ["carleman"]:
            continue
        options = set(re.findall(r"^│ (?:\*\s+)?(--[a-z][\w-]*)", quprop(*words, "--help")[0], re.M))
        listed = re.findall(r"^\| (`--.*?) \|", text, re.M)
        assert options - {"--help"} <= set(re.findall(r"--[a-z][\w-]*", " ".join(listed))), path
    assert {"quprop train", "quprop report", "quprop carleman analyse"} <= sections.keys()


def test_the_reference_has_every_key_of_every_file(monkeypatch):
    text = pages(monkeypatch)["files"]
    runs, machines = text.split("## A machine")
    for name, spec in PROBLEMS.items():
        section = runs.split(f"\n### {name}\n")[1].split("\n### ")[0]
        keys = {key for table in spec.schema.values() for key in table}
        assert set(re.findall(r"^\| `(\w+)`", section, re.M)) == keys, name
    fields = {f.name for kind in (HardwareModel, NoiseModel) for f in dataclasses.fields(kind)}
    assert fields <= set(re.findall(r"^\| `(\w+)`", machines, re.M))


def test_what_the_reference_shows_of_files_is_read(quprop, tmp_path):
    run, machine = re.findall(r"```toml\n(.*?)```", (DOCS / "reference/files.md").read_text(encoding="utf-8"), re.S)
    (tmp_path / "my.toml").write_text(run.replace("steps = 300", "steps = 3"))
    (tmp_path / "ours.toml").write_text(machine)
    quprop("train", "my.toml", "--quiet")
    assert "ours" in quprop("plan", "tfim", "--precision", "0.1", "--hardware", "ours.toml")[0]


def test_the_site_has_the_reference():
    assert "reference/index" in (DOCS / "index.md").read_text(encoding="utf-8")
    assert '"reference"' in (DOCS / "conf.py").read_text(encoding="utf-8")


# -- going on ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [["train", "tfim"], ["scaling"], pytest.param(["carleman", "train", "mlp"], marks=pytest.mark.slow)],
    ids=" ".join,
)
def test_a_run_that_is_not_there_is_not_resumed(command, quprop, tmp_path):
    if command[0] == "carleman":
        pytest.importorskip("torch")
    said = sentence(quprop(*command, "--resume", "--out", "nope", status=2)[1])
    assert "expected a run to resume in nope" in said and not list(tmp_path.iterdir())
