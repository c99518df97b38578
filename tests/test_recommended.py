"""Nothing that a text of quprop tells a reader to type fails: commands, options, names, paths, links."""

import os
import re
import shlex
import shutil

import pytest
import recommended
from recommended import Command
from typer.testing import CliRunner

import quprop as qpr
from quprop.cli import app
from quprop.cli import train as train_cli
from quprop.cli.models import PLANNED
from quprop.errors import QupropError
from quprop.gradients import COSTED, METHODS
from quprop.hardware_models import hardware, noise_of
from quprop.planning.classical import NETWORKS
from quprop.planning.measured.families import FAMILIES
from quprop.planning.named import named_shape
from quprop.problems.config import override
from quprop.problems.run import find
from quprop.problems.table import PROBLEMS
from quprop.report.sources import training
from quprop.report.training import section


def unknown_names(path: str, given: dict) -> list[str]:
    """The names of problems, settings, methods, machines and experiments that are none."""
    wrong = []
    what = given.get("what")
    if path == "train" and not str(what).endswith(".toml") and what not in PROBLEMS:
        wrong.append(what)
    if path in ("compare", "plan") and what and what not in PLANNED and what != "model.json":
        if ":" in what:
            named_shape(what)
        elif path == "compare" or what not in NETWORKS:
            wrong.append(what)
    if path in ("train", "compare", "plan") and what in PROBLEMS:
        for text in given["set_"] or ():
            override({}, text, find(what).schema)
    if given.get("machine", "ours.toml") != "ours.toml":
        hardware(given["machine"])
    if given.get("noise"):
        noise_of(given["noise"])
    for name in (given.get("methods") or "").split(",") if isinstance(given.get("methods"), str) else ():
        wrong += [] if name in METHODS or name in COSTED else [name]
    wrong += [given["family"]] if given.get("family") and given["family"] not in FAMILIES else []
    if path in ("reproduce", "carleman experiment") and given["name"] is not None:
        known = recommended.EVERY[path]["NAME"]()
        wrong += [] if given["name"] in known else [given["name"]]
    if path.startswith("carleman ") and "network" in given:
        known = given["network"] in NETWORKS or given["network"].endswith((".py:make", "nets.py:classifier"))
        wrong += [] if known else [given["network"]]
    return wrong


def test_every_command_that_a_text_names_is_read_by_the_program():
    lines = recommended.whole_lines()
    assert len(lines) > 150 and ("train", "digits") in lines and ("plan", "--preset", "figure2") in lines
    wrong = []
    for words, where in lines.items():
        try:
            names = unknown_names(*recommended.parsed(words)) if "--help" not in words else []
            wrong += [f"{where}: {Command(words, where)}: unknown {name}" for name in names]
        except (QupropError, Exception) as error:
            wrong.append(f"{where}: {Command(words, where)}: {type(error).__name__} {error}")
    assert wrong == []


def test_every_option_that_a_text_names_exists():
    assert {"--resume", "--json", "--quick"} <= recommended.options()
    assert recommended.unknown_options() == []


def test_every_script_and_extra_that_a_text_names_exists():
    assert recommended.unknown_scripts() == []
    assert recommended.unknown_extras() == []


def test_every_file_that_a_text_or_a_comment_names_exists():
    assert recommended.unknown_paths() == []


def test_every_link_of_a_page_leads_somewhere():
    assert recommended.broken_links() == []


def invoked(words):
    """(status, stdout, stderr); an exception that is no exit is raised."""
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    recommended.prepare(folder)
    return folder


GROUPS = {
    "train": lambda words: words[0] == "train",
    "cost": lambda words: words[0] in ("compare", "plan", "methods", "scaling"),
    "claims and pages": lambda words: words[0] in ("reproduce", "report") and "carleman" not in words[-1],
    "networks": lambda words: words[0] == "carleman" or (words[0] == "reproduce" and "carleman" in words[-1]),
}
NEEDED = {"claims and pages": ("plotly", "jinja2"), "networks": ("torch",)}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("group", GROUPS)
def test_every_command_that_a_text_names_runs(group, prepared, tmp_path, monkeypatch):
    """At its smallest, in a folder that has what a reader would have; the very long ones: `.ci/scheduled`."""
    for library in NEEDED.get(group, ()):
        pytest.importorskip(library)
    wrong = []
    for i, words in enumerate(filter(GROUPS[group], recommended.runs_in_seconds())):
        folder = tmp_path / str(i)
        recommended.place_for(words, prepared, folder)
        monkeypatch.chdir(folder)
        broken = recommended.wrong_with(*invoked(recommended.smaller(words)), words)
        wrong += [f"{shlex.join(words)}: {broken}"] if broken else []
    assert wrong == []


# What is wrong, what the one sentence says, what a reader then types, and what becomes of it: "" where it runs, else
# what the next sentence says.
SMALL = "--set steps=1 --quiet"
CHAINS = {
    "a name": ("train tfmi", "did you mean 'tfim'?", f"train tfim --set n=3 {SMALL}", ""),
    "a closed form": (
        f"train tfim --set n=3 --set J=-1 {SMALL}",
        "set ring=false",
        f"train tfim --set n=3,J=-1,ring=false {SMALL}",
        "",
    ),
    "terms": (
        "train hamiltonian",
        "write [problem.terms]",
        f"""train hamiltonian --set 'terms={{"Z0 Z1" = 1.0}}' {SMALL}""",
        "",
    ),
    "too few qubits": (
        """train hamiltonian --set 'terms={"Z0 Z1" = 1.0}' --set n=1""",
        "raise n or leave it out",
        f"""train hamiltonian --set 'terms={{"Z0 Z1" = 1.0}}' --set n=2 {SMALL}""",
        "",
    ),
    "tolerance": (
        "train tfim --set tolerance=0.1,engine=native",
        "engine auto or pauli",
        f"train tfim --set n=4,tolerance=0.1,engine=pauli {SMALL}",
        "",
    ),
    "hidden qubits": (
        "train blobs --set hidden=2 --set gates=covariance",
        "set gates=all, or hidden=0",
        f"train blobs --set hidden=0 --set gates=covariance,rivals=false,exact_weight=2 {SMALL}",
        "",
    ),
    "a sampled loss": (
        "train blobs --set exact=false",
        "optimiser=adam",
        f"train blobs --set exact=false,optimiser=adam,gates=covariance,rivals=false,operators=2,samples=2 {SMALL}",
        "",
    ),
    "the weight of an exact loss": (
        "train blobs --set exact=false,optimiser=adam,exact_weight=2",
        "leave it out",
        f"train blobs --set exact=false,optimiser=adam,gates=covariance,rivals=false,operators=2,samples=2 {SMALL}",
        "",
    ),
    "pairs": (
        "train blobs --set gates=covariance,pairs=9999",
        "at most 120",
        f"train blobs --set gates=covariance,pairs=120,rivals=false,exact_weight=2 {SMALL}",
        "",
    ),
    "batches of L-BFGS": (
        "train digits --set optimiser=lbfgs,layers=1",
        "set batch_size=0, or optimiser=adam",
        "train digits --set optimiser=lbfgs,layers=1,batch_size=0,epochs=1 --quiet",
        "",
    ),
    "noise and the natural gradient": (
        "train tfim --set n=4,optimiser=natural_gradient --noise superconducting",
        "take another optimiser, such as adam",
        f"train tfim --set n=4,optimiser=adam --noise superconducting {SMALL}",
        "",
    ),
    "noise and a state vector": (
        "train tfim --set n=4,engine=native --noise superconducting",
        'take engine="density"',
        f"train tfim --set n=4,engine=density --noise superconducting {SMALL}",
        "",
    ),
    "noise and light cones": (
        "train tfim --set n=4,engine=lightcone --noise superconducting",
        'take engine="density"',
        f"train tfim --set n=4,engine=density --noise superconducting {SMALL}",
        "",
    ),
    "errors of a machine": (
        "train tfim --noise figure2",
        "take superconducting, trapped_ion",
        f"train tfim --set n=4 --noise trapped_ion {SMALL}",
        "",
    ),
    "a share of its errors": (
        "train tfim --noise superconducting:x",
        "such as superconducting:0.1",
        f"train tfim --set n=4 --noise superconducting:0.1 {SMALL}",
        "",
    ),
    "a section": (
        "train tfim --set model.n=4",
        "unknown key 'n' in [model]",
        f"train tfim --set problem.n=4 {SMALL}",
        "",
    ),
    "a precision": (
        "compare model.json",
        "give one of --precision E and --max-error E",
        "plan model.json --max-error 1",
        "",
    ),
    "a saved model's settings": (
        "compare model.json --precision 1 --set n=4",
        "leave it out",
        "compare model.json --precision 1 --methods adjoint --quiet",
        "",
    ),
    "a distance between samples": (
        "plan blobs --precision 1",
        "give one of digits, breast-cancer",
        "plan breast-cancer --precision 1 --methods adjoint --quiet",
        "",
    ),
    "a plan of nothing": (
        "plan --precision 1",
        "--qubits n and --parameters P",
        "plan --precision 1 --qubits 4 --parameters 9",
        "",
    ),
    "a model without parameters": (
        "plan none.json --precision 1 --plot a.png",
        "leave --parameters and --plot out",
        "plan none.json --precision 1",
        "",
    ),
    "a network by a method": (
        "plan mlp --precision 0.1 --method adjoint",
        "leave them out",
        "plan mlp --precision 0.1",
        "",
    ),
    "the Carleman loop": (
        "plan tfim --precision 1 --methods carleman",
        "quprop plan mlp --precision 0.01",
        "plan mlp --precision 0.01",
        "",
    ),
    "a circuit that is not described by numbers": (
        "plan uccsd:4,2 --precision 1",
        "plan the file that Model.save writes",
        "plan model.json --precision 1",
        "",
    ),
    "a preset": ("plan tfim --preset figure2", "leave MODEL", "plan --preset figure2", ""),
    "constants": (
        "scaling --constants",
        "--constants belongs to --figure2; add it",
        "scaling --figure2 --constants",
        "",
    ),
    "a figure of one size": (
        "scaling --m-min 16 --m-max 16 --plot a.png",
        "a fit needs three sizes",
        "scaling --m-min 16 --m-max 64 --max-error 0.5 --methods parameter_shift --family qaoa --instances 1",
        "",
    ),
    "two ways to reproduce": ("reproduce figure2 --all", "give a NAME or --all", "reproduce figure2 --quick", ""),
    "a resumed run's settings": (
        "train tfim --out runs/tfim --resume --set n=5",
        "leave it out",
        "train tfim --out runs/tfim --resume",
        "",
    ),
    "a resumed run's name": (
        "train h2 --out runs/tfim --resume",
        "resume it by its name",
        "train tfim --out runs/tfim --resume",
        "",
    ),
    "a run that is there": (
        f"train tfim --out runs/tfim --set n=4 {SMALL}",
        "continue it with --resume",
        "train tfim --out runs/tfim --resume",
        "",
    ),
    "a report of nothing": ("report nowhere", "give a run folder", "report runs/tfim", ""),
    "half a second": ("report runs/tfim --every 0", "half a second or more", "report runs/tfim --every 0.5", ""),
}
FORMS = {  # what follows each name is said with an example that can be typed
    f"a circuit's sizes: {name}": (f"plan {name}:0 --precision 1", f"as in {name}:", None, "")
    for name in ("hardware_efficient", "data_reuploading", "iqp", "commuting_blocks", "pauli_list")
}


SLOW = {name for name, chain in CHAINS.items() if chain[2].startswith(("train blobs", "scaling --m", "reproduce"))}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in (*CHAINS, *FORMS)]
)
def test_what_a_refusal_advises_works(name, prepared, tmp_path, monkeypatch):
    bad, says, advised, then = (CHAINS | FORMS)[name]
    for library in NEEDED["claims and pages"] if bad.startswith("report") else ():
        pytest.importorskip(library)
    folder = tmp_path / "there"
    shutil.copytree(prepared, folder)
    if "runs/" not in f"{bad} {advised}":
        shutil.rmtree(folder / "runs")
    monkeypatch.chdir(folder)
    if "none.json" in bad:
        qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), "Z0 Z1").save("none.json")
    status, out, err = invoked(shlex.split(bad))
    assert status == 2 and says in err and err.count("\n") == 1, (out, err)
    if advised is None:
        advised = f"plan {re.search(r'as in ([a-z_]+:[0-9,]+)', err)[1]} --precision 1"
    status, out, err = invoked(shlex.split(advised))
    assert (status, err) == (0, "") if not then else status == 2 and then in err, err


@pytest.mark.slow
@pytest.mark.parametrize("what", ["tfim", "my own.toml"])
def test_advice_of_an_interrupted_run_is_followed(what, prepared, tmp_path, monkeypatch):
    """Also where names have spaces in them, and by the report of the same run."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(prepared / "my.toml", "my own.toml")
    run = train_cli.run
    monkeypatch.setattr(train_cli, "run", lambda *a, **k: run(*a, **k) | {"status": "interrupted"})
    status, out, _ = invoked(["train", what, "--set", "n=4", "--set", "steps=2", "--out", "my runs/a"])
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    advised = " ".join(out.split()).partition("Continue with: quprop ")[2]
    assert status == 130 and shlex.split(advised) == ["train", what, "--out", "my runs/a", "--resume"]
    assert invoked(shlex.split(advised))[0] == 0
    (tmp_path / "my runs/a/summary.json").unlink()
    toml = tmp_path / "my runs/a/run.toml"
    toml.write_text(toml.read_text().replace("total_steps = 2", "total_steps = 3"))
    for file in toml.parent.iterdir():
        os.utime(file, (0, 0))  # nobody is at it any more
    said = str(section(training(tmp_path / "my runs/a")))
    advised = re.search(r"continue it with quprop (.*? --resume)", said)[1].replace("\\", "")
    assert shlex.split(advised) == ["train", "tfim", "--out", str(tmp_path / "my runs/a"), "--resume"]
