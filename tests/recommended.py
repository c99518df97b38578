"""What the texts tell a reader to type: commands, options, names, paths and links, as they are written.

Texts are README.md, CONTRIBUTING.md, benchmarks/README.md, docs/ and every string of src/, examples/, benchmarks/ and
tools/, docstrings, helps and sentences of errors among them; what an f-string fills in is written as ``{}``.
"""

from __future__ import annotations

import argparse
import ast
import math
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import typer

from quprop.cli.app import COMMANDS, app
from quprop.planning.compare import compare
from quprop.runs import write_json

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_ARGUMENTS = {("methods",), ("scaling",), ("reproduce",), ("carleman", "experiment")}  # are whole lines
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "benchmarks" / "README.md",
    *(ROOT / "docs").rglob("*.md"),
]
CODE = [
    p for folder in ("src/quprop", "examples", "benchmarks", "tools") for p in sorted((ROOT / folder).rglob("*.py"))
]
# `quprop NAME`, from where a command can begin: not "quprop compare" within a longer dotted or hyphened name.
_COMMAND = re.compile(rf"(?<![\w./-])quprop\s+(?=(?:{'|'.join(COMMANDS)}|--version|--help)\b)")
_FENCE = re.compile(r"^```.*$", re.MULTILINE)
_DOTTED = re.compile(r"(?<![\w./-])(?:quprop|qpr)((?:\.[A-Za-z_]\w*)+)")
_MARKUP = re.compile(r"\[/?bold\]|\\(?=\[)")


class Command(NamedTuple):
    words: tuple[str, ...]  # without the leading "quprop"
    where: str

    def __str__(self) -> str:
        return shlex.join(("quprop", *self.words))


@cache
def strings(path: Path) -> list[tuple[int, str]]:
    """The strings of a Python file with their lines; adjacent ones and f-strings are one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(v) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for v in ast.walk(node) if v is not node
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in inner:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
            found.append((node.lineno, "".join(map(str, parts))))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append((node.lineno, node.value))
    return found


@cache
def texts() -> list[tuple[str, str]]:
    """Every text with its place, such as `src/quprop/cli/train.py:36`."""
    found = [(str(p.relative_to(ROOT)), p.read_text(encoding="utf-8")) for p in PAGES if p.exists()]
    for path in CODE:
        found += [(f"{path.relative_to(ROOT)}:{line}", text) for line, text in strings(path)]
    return found


def commands() -> list[Command]:
    """Every `quprop ...` of the texts, each once, at its first place."""
    found: dict[tuple[str, ...], str] = {}
    for where, text in texts():
        plain = _FENCE.sub("", _MARKUP.sub("", text))
        for match in _COMMAND.finditer(plain):
            found.setdefault(_words(plain, match), where)
    return [Command(words, where) for words, where in found.items()]


def _words(text: str, match: re.Match[str]) -> tuple[str, ...]:
    """The command as a shell would read it. In backquotes it ends at the next one, on a line of its own (after white
    space, `$`, `time` or `&&`) at the end of the line or a comment; within a sentence at the first word that no command
    line has."""
    before, rest = text[: match.start()], text[match.end() :]
    line = before.rpartition("\n")[2]
    if before.rpartition("\n\n")[2].count("`") % 2 and before[-1] in "` ":
        return tuple(shlex.split(rest.partition("`")[0]))
    code = re.split(r"\s#|\s&&|\s2?>\s|\s\|\s|\n|`", rest, maxsplit=1)[0]
    alone = re.fullmatch(r"\s*(\$ |time |.*&& )*", line) and not re.search(r"; |-->", re.sub(r'"[^"]*"', "", code))
    return tuple(shlex.split(code if alone else _of_a_sentence(code)))


def _of_a_sentence(code: str) -> str:
    """The words that a command can have: its own and its subcommand's name, options with their values, what stands in
    for names, and names with a hyphen, an underscore, a dot, a colon or a slash."""
    words = code.split()
    taken: list[str] = []
    for i, word in enumerate(words):
        ended = word[-1:] in ",;:.)"
        bare = word.rstrip(",;:.)")
        here = re.match("--[a-z]", bare) or i == 0 or re.search(r"[=/{}]|\w[_.:]\w", bare) or bare.isupper()
        here = here or (i == 1 and (bare in _subcommands(words[0]) or bare in _names()))
        here = here or (i and taken[-1].startswith("--") and takes_value(words[0], taken[-1]))
        if not here:
            break
        taken.append(bare)
        if ended:
            break
    return " ".join(taken)


@cache
def _names() -> frozenset[str]:
    from quprop.experiments.claims import CLAIMS, experiments
    from quprop.planning.classical import NETWORKS
    from quprop.problems.table import PROBLEMS

    return frozenset([*PROBLEMS, *NETWORKS, *CLAIMS, *experiments()])


@cache
def _command(name: str) -> Any:
    group = typer.main.get_command(app)
    return group.get_command(None, name)


def _subcommands(name: str) -> list[str]:
    return list(getattr(_command(name), "commands", {}))


def takes_value(name: str, option: str) -> bool:
    return any(option in p.opts and not p.is_flag for p in _parameters(name) if hasattr(p, "is_flag"))


def _parameters(name: str) -> list[Any]:
    command = _command(name)
    return [p for c in (command, *getattr(command, "commands", {}).values()) for p in c.params] if command else []


def unknown_options() -> list[str]:
    """Options that the texts of the program and its pages name and no command has."""
    known, found = options() | OTHERS_OPTIONS, []
    for where, text in texts():
        if not where.startswith(("benchmarks", "examples", "tools", "CONTRIBUTING")):
            found += [f"{where}: {o}" for o in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text) if o not in known]
    return found


OTHERS_OPTIONS = {  # of other programs, which the pages name too
    "--logdir",
    "--kill-on-bad-exit",
    *("--no-cache-dir", "--no-binary"),
    *("--ntasks-per-node", "--cpus-per-task", "--mem", "--time", "--mpi", "--signal"),
}


def unknown_scripts() -> list[str]:
    """`python FILE options` where there is no such file, or it has no such option."""
    found = []
    for where, text in texts():
        for name, rest in re.findall(r"\bpython ((?:benchmarks|examples|tools)/\w+\.py)([^\n#`]*)", text):
            if not (ROOT / name).is_file():
                found.append(f"{where}: {name}")
                continue
            code = (ROOT / name).read_text(encoding="utf-8")
            asked = re.findall(r"--[a-z][a-z-]+", rest)
            found += [f"{where}: {name} {o}" for o in asked if not re.search(rf'add_argument\(\s*"{o}"', code)]
    return found


def unknown_extras() -> list[str]:
    """`quprop[NAME]` and `.[NAME]` of names that pyproject.toml does not have."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    asked = re.compile(r"(?:\bquprop|['\"]\.)\\?\[([a-z][a-z,-]*)\]")
    return [
        f"{where}: {name}"
        for where, text in texts()
        for names in asked.findall(text)
        for name in names.split(",")
        if name not in known
    ]


def unknown_paths() -> list[str]:
    """Files of the repository that texts and comments name and that are not there: paths by their last folders, bare
    names by themselves."""
    have = [p.relative_to(ROOT).as_posix() for top in PLACES for p in (ROOT / top).rglob("*.*")]
    have += [p.name for p in ROOT.glob("*.*")]
    ends = {"/".join(parts[i:]) for parts in (h.split("/") for h in have) for i in range(len(parts))}
    named = re.compile(r"(?<![\w*{/.-])(?:\.{1,2}/)*((?:[\w.-]+/)*\w+\.(?:py|cpp|hpp|md|toml))\b(?!:)")
    found = []
    for path in [*PAGES, *CODE]:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        found += [f"{path.relative_to(ROOT)}: {n}" for n in named.findall(text) if n not in ends | READERS_FILES]
    return found


PLACES = ("src/quprop", "native", "docs", "tests", "tools", "benchmarks", "examples")
READERS_FILES = {"FILE.py", "FILE.toml", "my.toml", "ours.toml", "nets.py", "my_network.py", "script.py"}


def broken_links() -> list[str]:
    """Links of the pages to files that are not there, or to headings that those do not have."""
    found = []
    for page in (p for p in PAGES if p.exists()):
        text = re.sub(r"```.*?```|`[^`\n]*`|\$[^$]*\$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"\w+:", target):
                continue
            name, _, anchor = target.partition("#")
            file = page if not name else (page.parent / name)
            if not file.exists() or (anchor and anchor not in _anchors(file)):
                found.append(f"{page.relative_to(ROOT)}: {target}")
    return found


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def dotted_names() -> set[str]:
    """`a.b` of every `quprop.a.b` and `qpr.a.b` of the texts; a string without a space is code, not a text."""
    found = {name[1:] for _, text in texts() if " " in text for name in _DOTTED.findall(text)}
    return {name for name in found if "._" not in name} - OTHERS_NAMES


OTHERS_NAMES = {"data"}  # the annotation `@quprop.data` of OpenQASM


def is_a_mention(words: tuple[str, ...]) -> bool:
    """Whether the words name a command, or one of its options, and are not the whole line that would be typed."""
    path = words[: 1 + (len(words) > 1 and words[1] in _subcommands(words[0]))]
    if words[-1] == "<TAB>":
        return True
    if words == path:
        return path not in WITHOUT_ARGUMENTS
    return words[-1].startswith("--") and takes_value(words[0], words[-1])


def options() -> set[str]:
    """All options that any command has."""
    return {o for name in COMMANDS for p in _parameters(name) for o in (*p.opts, *p.secondary_opts)} | {
        *("--help", "--version", "--install-completion", "--show-completion"),
    }


def parsed(words: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """The command's full name and its values, as the command line is read, without running it; typer's exception of
    what it cannot read."""
    command: Any = typer.main.get_command(app)
    context, rest, path = command.make_context("quprop", list(words)), list(words), []
    while hasattr(command, "resolve_command"):
        if not rest or rest[0].startswith("-"):
            break
        name, command, rest = command.resolve_command(context, rest)
        path.append(name)
        context = command.make_context(name, list(rest), parent=context)
    return " ".join(path), dict(context.params)


# -- what stands for something else -----------------------------------------------------------------------------------


def whole_lines() -> dict[tuple[str, ...], str]:
    """The commands that a reader would type, and where they stand first."""
    found: dict[tuple[str, ...], str] = {}
    for command in commands():
        if command.words not in SKIPPED and not is_a_mention(command.words):
            for words in expanded(command):
                found.setdefault(words, command.where)
    return found


def expanded(command: Command) -> list[tuple[str, ...]]:
    """The command with every name that a placeholder can stand for (NAME, {}), and with the files of `prepare` for
    those that a reader would have (MODEL, FILE, DIR); the numbers of E, M and n are small ones."""
    words = command.words
    first = " ".join(words[: 1 + (words[0] == "carleman")])
    for i, word in enumerate(words):
        if word in EVERY.get(first, {}):
            found = [(*words[:i], name, *words[i + 1 :]) for name in EVERY[first][word]()]
            return [w for one in found for w in expanded(Command(one, command.where))]
    return [tuple(STANDS_FOR.get(word, word) for word in words)]


def _all_problems() -> list[str]:
    from quprop.problems.table import PROBLEMS

    return [*PROBLEMS]


def _all_experiments() -> list[str]:
    from quprop.experiments.claims import CLAIMS, experiments

    return [*CLAIMS, *experiments()]


def _all_networks() -> list[str]:
    from quprop.experiments.networks import EXPERIMENTS

    return [*EXPERIMENTS]


def _all_circuits() -> list[str]:
    from quprop.planning.named import forms

    return [f"{name}:4,2" for name, sizes in forms().items() if sizes.count(",") == 1 or " or " in sizes]


EVERY: dict[str, dict[str, Any]] = {
    "train": {"NAME": _all_problems},
    "plan": {"NAME:4,2": _all_circuits},
    "reproduce": {
        "NAME": _all_experiments,
        "{}": lambda: _all_experiments()[:1],
        "carleman_NAME": lambda: [f"carleman_{n}" for n in _all_networks()],
    },
    "carleman experiment": {"NAME": _all_networks},
}
STANDS_FOR = {"MODEL": "model.json", "E": "0.1", "MODULE:FACTORY": "nets/wave.py:make", "{}{}": "digits"}
SKIPPED = {  # is made of what the run was started with: `test_advice_of_an_interrupted_run_is_followed`
    ("train", "{}", "--out", "{}", "--resume"),
}

OWN_NETWORK = """
from torch import nn

def make(input_shape, classes):
    size = 1
    for length in input_shape:
        size *= length
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 4), nn.Tanh(), nn.Linear(4, classes))
"""


def prepare(folder: Path) -> None:
    """The files that the commands of the texts read: a model, data, a network, a TOML file and finished runs."""
    import quprop as qpr
    from quprop.problems import configure, run

    theta = qpr.params("theta", 3)
    circuit = qpr.Circuit(2).ry(theta[0], 0).cx(0, 1).rx(theta[1], 1).rz(theta[2], 0)
    model = qpr.Model(circuit, "Z1 + 0.5*X0 X1")
    model.save(folder / "model.json")
    found = compare(model, precision=0.1, methods=["adjoint", "parameter_shift"], rng=0)
    write_json(folder / "compare.json", {"what": "model.json", "seed": 0, **found.as_dict()})
    (folder / "my.toml").write_text('[problem]\nname = "tfim"\nn = 4\n\n[train]\nsteps = 2\n', encoding="utf-8")
    (folder / "nets").mkdir()
    (folder / "nets" / "wave.py").write_text(OWN_NETWORK, encoding="utf-8")
    (folder / "nets.py").write_text(OWN_NETWORK.replace("make", "classifier"), encoding="utf-8")
    (folder / "ours.toml").write_text('name = "ours"\nrotation_seconds = 2e-6\n', encoding="utf-8")
    images = np.arange(120 * 64).reshape(120, 64) % 17 / 16
    np.savez(folder / "digits.npz", x_train=images, y_train=np.arange(120) % 10)
    rows = [f"{i % 7},{i % 5},{(i * i) % 11},{2 * (i % 7) - (i % 5)}" for i in range(60)]
    (folder / "house.csv").write_text("\n".join(["area,rooms,age,price", *rows]) + "\n", encoding="utf-8")
    (folder / "graph.txt").write_text("a b 2\nb c\nc a 0.5\nc d\n", encoding="utf-8")
    assets = [
        f"asset{i},{0.1 + 0.01 * i}," + ",".join(str(0.2 if i == j else 0.01) for j in range(6)) for i in range(6)
    ]
    (folder / "assets.csv").write_text("\n".join(assets) + "\n", encoding="utf-8")
    for name, problem, settings in (
        ("digits", "digits", {"model": {"layers": 1}, "train": {"epochs": 1}}),
        ("tfim", "tfim", {"problem": {"n": 4}, "train": {"steps": 2}}),
        ("chain", "tfim", {"problem": {"n": 4}, "train": {"steps": 2}}),
        ("maxcut", "maxcut", {"model": {"layers": 1}, "train": {"steps": 2}}),
    ):
        run(configure(problem, settings), out=folder / "runs" / name, progress=False)


def smaller(words: tuple[str, ...]) -> tuple[str, ...]:
    """The same command with the least work that its options offer, where it offers any."""
    if "--settings" in words or "--help" in words:
        return words
    less = list(words)
    if words[0] == "train" and "--resume" not in words and len(words) > 1:
        what = words[1]
        if what in GENERATIVE:
            less += ["--set", "rivals=false", "--set", "steps=1"]
        elif not what.endswith(".toml"):
            less += ["--set", "epochs=1" if what in ("digits", "breast-cancer") else "steps=1"]
    elif (words[0] == "reproduce" and len(words) > 1) or (words[:2] == ("carleman", "experiment") and len(words) > 2):
        less += ["--quick"]
    elif words[0] == "scaling" and "--figure2" not in words:
        less += ["--m-min", "16", "--m-max", "64", "--instances", "1", "--max-error", "0.3", "--workers", "1"]
        less += ["--methods", "parameter_shift", "--family", "hardware_efficient"]
    elif words[0] == "compare":
        less += ["--run-limit", "1"]
    elif words[:2] == ("carleman", "train"):
        less += ["--blocks", "1", "--warm-up", "2", "--block-length", "2"]
    elif words[:2] == ("carleman", "analyse"):
        less += ["--samples", "8", "--lanczos", "4", "--probes", "1", "--block-length", "2"]
    return tuple(less)


def place_for(words: tuple[str, ...], prepared: Path, folder: Path) -> None:
    """A folder with the prepared files, without the runs that the command would start."""
    shutil.copytree(prepared, folder)
    if words[0] != "report" and "--resume" not in words:
        shutil.rmtree(folder / "runs")


def wrong_with(status: int, out: str, err: str, words: tuple[str, ...]) -> str:
    """What a reader would call broken: a traceback, a status that is not 0 but where the texts lead to a refusal (an
    extra that is not installed among them), or another refusal than that; "" where nothing is."""
    refusal = next((text for start, text in REFUSED.items() if words == start), "not installed: pip")
    if "Traceback" in out + err:
        return err[-2000:]
    if status == 0:
        return f"expected {refusal!r}" if words in REFUSED else ""
    if status != 2 or refusal not in err or err.strip().count("\n"):
        return f"status {status}: {err[-500:] or out[-500:]}"
    return ""


RESNET = ("--set", "depth=32", "--set", "widen=4")
GENERATIVE = ("blobs", "ising-16", "scale-free", "scale-free-sparse", "digits-binary")
REFUSED = {  # what these say is all they can: the terms are the reader's, the images are not ours to ship
    ("train", "hamiltonian"): "needs its terms",
    ("train", "molecule"): "needs its atoms",
    ("carleman", "analyse", "resnet", "--data", "cifar100", "--folder", "data", *RESNET): "is no folder",
}


# What takes longer than ten seconds even at its smallest, in seconds on a core; `.ci/scheduled` runs them as written.
LONG: dict[tuple[str, ...], int] = {
    ("reproduce", "--all", "--quick"): 1500,
    ("reproduce", "copies", "--out", "runs/copies"): 480,
    ("reproduce", "gates"): 480,
    ("reproduce", "triggers", "--quick"): 90,
    ("reproduce", "theorem_9_gates", "--out", "results", "--json", "gates.json"): 480,
    ("reproduce", "crossing"): 3600,
    ("reproduce", "certified"): 30,
    ("reproduce", "carleman_verdicts"): 240,
    ("reproduce", "carleman_dips"): 180,
    ("carleman", "train", "resnet"): 120,
    ("carleman", "experiment", "training"): 30,
    ("carleman", "analyse", "resnet", "--data", "digits32", *RESNET, "--set", "classes=100", "--threads", "2"): 100,
    ("plan", "--check"): 30,
    ("train", "digits-binary"): 60,
    ("train", "scale-free"): 150,
    ("train", "scale-free-sparse"): 150,
}
# Of what a placeholder stands for, the whole of it runs within `reproduce --all --quick`.
ONE_OF_MANY = (("reproduce",), ("carleman", "experiment"))


def runs_in_seconds() -> list[tuple[str, ...]]:
    """The commands that `smaller` makes small enough for a test: all but the `LONG` ones and the experiments that only
    a placeholder names."""
    literal = {c.words for c in commands()}
    return [
        words
        for words in whole_lines()
        if words not in LONG and not (words not in literal and any(words[: len(s)] == s for s in ONE_OF_MANY))
    ]


def main() -> None:
    """Every command as it is written, the shortest first: .ci/scheduled. `--at-most S`: not those of `LONG` that take
    more seconds."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--at-most", type=float, default=math.inf, metavar="S")
    most = parser.parse_args().at_most
    lines = sorted({*runs_in_seconds(), *LONG}, key=lambda words: LONG.get(words, 0))
    failed = []
    with tempfile.TemporaryDirectory() as top:
        prepared = Path(top, "prepared")
        prepared.mkdir()
        prepare(prepared)
        for i, words in enumerate(w for w in lines if LONG.get(w, 0) <= most):
            start = time.perf_counter()
            place_for(words, prepared, Path(top, str(i)))
            command = [sys.executable, "-m", "quprop.cli", *words]
            done = subprocess.run(command, cwd=Path(top, str(i)), capture_output=True, text=True, timeout=4 * 3600)
            wrong = wrong_with(done.returncode, done.stdout, done.stderr, words)
            print(f"{time.perf_counter() - start:8.1f} s  {shlex.join(('quprop', *words))}  {wrong}", flush=True)
            failed += [words] if wrong else []
            shutil.rmtree(Path(top, str(i)))
    sys.exit(f"{len(failed)} of {len(lines)} commands fail" if failed else 0)


if __name__ == "__main__":
    main()
