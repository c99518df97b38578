"""Every figure can be read: no word on data or on a word, none off the paper, axes with numbers of their kind; colours
mean one thing; files are named by their format and are the same twice."""

import ast
import json
import re
import sys
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import report_samples as samples
from figure_faults import faults

import quprop as qpr
from quprop import plots
from quprop.experiments import EXPERIMENTS
from quprop.experiments.networks import EXPERIMENTS as NETWORKS
from quprop.gradients import COSTED

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


@cache
def _json(path):
    return json.loads((RESULTS / path).read_text())


def _plan(**settings):
    from quprop.planning.figure import draw_plan
    from quprop.planning.structure import shape_of
    from quprop.planning.training import plan_training

    return draw_plan(plan_training(shape_of(settings.pop("model")), precision=0.1, **settings))


def _hardware_efficient():
    return qpr.Model(qpr.ansatz.hardware_efficient(6, 4), "Z0")


def _network():
    from quprop.planning.classical import plan_network
    from quprop.planning.figure import draw_network

    return draw_network(plan_network("mlp", 2410, precision=0.01, steps=5))


def _comparison(run):
    from quprop.planning.compare import compare
    from quprop.planning.compare_figure import draw_comparison

    methods = ["adjoint", "parameter_shift", "hadamard_test", "pair_state"]
    limit = 30.0 if run else 0.0
    return draw_comparison(compare(samples.small_model(2, 1), precision=0.1, methods=methods, rng=0, run_seconds=limit))


def _scaling():
    from quprop.planning.measured.figure import draw_scaling
    from quprop.planning.measured.fit import Exponent
    from quprop.planning.measured.sweep import Fit

    fits = []
    for fit in _json("scaling.json")["fits"]:
        given = {k: v for k, v in fit.items() if k not in ("agrees", "verdict")}
        for key in ("raw", "reduced"):
            given[key] = Exponent(**given[key])
        fits.append(Fit(**given | {"points": tuple(tuple(p) for p in given["points"])}))
    return draw_scaling(fits, 0.1)


def _figure2(constants):
    from quprop.planning.measured.figure import draw_figure2
    from quprop.planning.measured.figure2 import Constants

    return draw_figure2(Constants(*constants) if constants else None)


def _curves(kind):
    from quprop.training.curves import draw_curves

    rng = np.random.default_rng(3)
    if kind == "mmd":
        history = [
            {"step": i, "loss": 0.1 / i, "test_mmd2": 0.12 / i, "test_mmd2_error": 0.01 / i, "gradient_variance": 1 / i}
            for i in range(1, 40)
        ]
        return draw_curves(history, "dots", {"uniform_test_mmd2": 0.2, "boltzmann_test_mmd2": 0.02})
    if kind == "energy":
        history = [{"step": i, "epoch": i, "loss": -1 + 0.5 / i} for i in (1, 2, 3)]
        levels = {"hartree_fock_energy": -0.99, "reference_energy": -1.001, "energy_unit": "Hartree"}
        good = {"energy_accuracy": 1.6e-3, "energy_accuracy_name": "chemical accuracy"}
        return draw_curves(history, "h2", levels | good)
    history = [
        {
            "step": i,
            "epoch": i,
            "loss": 1 / i,
            "test_loss": 1.1 / i,
            "train_accuracy": 1 - 0.3 / i,
            "test_accuracy": 1 - 0.4 / i + 0.01 * rng.uniform(),
        }
        for i in range(1, 4)
    ]
    return draw_curves(history, "digits", {"reference_accuracy": 0.97, "reference_name": "logistic regression"})


def _scan():
    from quprop.problems.scan import draw

    points = [
        {"value": r, "energy": e + 1e-4, "reference_energy": e, "hartree_fock_energy": e + 0.02 + 0.1 * r**4}
        for r, e in ((0.5, -1.055), (0.75, -1.137), (1.0, -1.101), (1.25, -1.046), (1.5, -0.998))
    ]
    summary = {"points": points, "axis": "bond length in Angstrom (r)", "problem": "molecule", "system": "H2"}
    return draw(
        summary | {"energy_unit": "Hartree", "energy_accuracy": 1.6e-3, "energy_accuracy_name": "chemical accuracy"}
    )


def _carleman(tmp, which):
    from quprop.carleman import figure

    made = {"draw_analysis": samples.carleman_analysis, "draw_training": samples.carleman_training}[which]
    return getattr(figure, which)(json.loads(made(tmp / "a.json").read_text()))


def _generative(which):
    from quprop.problems import generative_figures as figures

    rng = np.random.default_rng(0)
    if which == "samples":
        drawn = {k: rng.integers(0, 2, (40, 16)) for k in ("data", "circuit", "boltzmann")}
        return figures.samples_picture("dots", (4, 4), drawn, {k: rng.uniform(size=16) for k in ("data", "circuit")})
    pairs = {k: rng.normal(size=120) for k in ("test", "train", "circuit")}
    return figures.covariance_picture("dots", pairs)


def _damage():
    steps = np.arange(1, 30) / 30
    run = {"c": 2.0, "bound": steps, "distance": steps / 2, "sum_p": steps}
    errors = {f"{name}_error": 1e-3 * steps for name in ("null", "product_sum", "bosonic")}
    return EXPERIMENTS["damage"].draw({"runs": [run | errors, run | errors | {"c": 3.0}]})


def _certified():
    rows = [
        {"tolerance": 10.0**-k, "bound": 10.0**-k / 2, "error": 10.0**-k / 9, "strings": 10**k, "seconds": 3.0**k}
        for k in range(1, 6)
    ]
    return EXPERIMENTS["certified"].draw({"qubits": 20, "rows": rows})


def _many_panels():
    """The kinds of faults that figures had: axes within a decade, equal curves, long names, counts from 1 to 3."""
    long = "a curve whose name has more words than any panel of a row of panels can be wide " * 2
    return plots.draw_curves(
        [
            {
                "x": "order N",
                "y": "condition number",
                "log": "y",
                "title": "a title that is too long to stand over its panel alone, and would run into the next",
                "curves": [("one", [1, 2, 3], [30.0, 33.0, 41.0], "C0o-"), (long, [1, 2, 3], [30.0, 33.0, 41.0], "-")],
            },
            {
                "x": "steps",
                "y": "error",
                "log": "xy",
                "title": "another title that is longer than its panel, so that it would run into the one before",
                "curves": [("two", [150, 160, 420], [1e-3, 2e-3, 6e-3], "C1s")],
            },
            {"x": "qubits n", "y": "copies", "curves": [("three", [2, 3, 4], [10, 20, None], "C2^--")]},
        ],
        "Panels",
    )


def _experiment(experiment, path, tmp):
    return experiment.draw(_json(path))


# By the function that draws: figures of it, each from data.
FIGURES = {
    "quprop.planning.figure:draw_plan": {
        "h2": lambda tmp: _plan(model=_hardware_efficient(), steps=10),
        "on superconducting": lambda tmp: _plan(model=_hardware_efficient(), hardware="superconducting"),
    },
    "quprop.planning.figure:draw_network": {"mlp": lambda tmp: _network()},
    "quprop.planning.compare_figure:draw_comparison": {
        "run": lambda tmp: _comparison(True),
        "planned": lambda tmp: _comparison(False),
    },
    "quprop.planning.measured.figure:draw_scaling": {"measured": lambda tmp: _scaling()},
    "quprop.planning.measured.figure:draw_figure2": {
        "plain": lambda tmp: _figure2(None),
        "constants": lambda tmp: _figure2((100, 0.1)),
        "of 20 qubits": lambda tmp: _figure2((20, 0.3)),
    },
    "quprop.training.curves:draw_curves": {
        "classifier": lambda tmp: _curves("classifier"),
    },
    "quprop.training.curves:finish_energies": {
        "energy": lambda tmp: _curves("energy"),
        "scan": lambda tmp: _scan(),
    },
    "quprop.training.curves:_draw_mmd": {"mmd": lambda tmp: _curves("mmd")},
    "quprop.carleman.figure:draw_analysis": {"mlp": lambda tmp: _carleman(tmp, "draw_analysis")},
    "quprop.carleman.figure:draw_training": {"mlp": lambda tmp: _carleman(tmp, "draw_training")},
    "quprop.problems.generative_figures:samples_picture": {"dots": lambda tmp: _generative("samples")},
    "quprop.problems.generative_figures:covariance_picture": {"dots": lambda tmp: _generative("covariance")},
    "quprop.plots:draw_curves": {"panels": lambda tmp: _many_panels()},
    "quprop.experiments.damage:draw": {"damage": lambda tmp: _damage()},
    "quprop.experiments.certified:draw": {"certified": lambda tmp: _certified()},
}
DRAWN_BY = {  # experiments whose picture is drawn by a function of another file
    "gates": "quprop.experiments.gradient_sweep:draw",
    "copies": "quprop.experiments.gradient_sweep:draw",
    "hard_family": "quprop.collective.hidden_string:draw",
    "figure2": "quprop.planning.measured.figure:draw_figure2",
}
for folder, table in (("experiments", EXPERIMENTS), ("carleman", NETWORKS)):
    for name, experiment in table.items():
        if (RESULTS / folder / f"{name}.json").exists():
            by = DRAWN_BY.get(name, f"{experiment.draw.__module__}:{experiment.draw.__name__}")
            by = "quprop.plots:draw_curves" if by.endswith("<lambda>") else by
            drawing = partial(_experiment, experiment, f"{folder}/{name}.json")
            FIGURES.setdefault(by, {})[f"{folder} {name}"] = drawing
# Fast: of every function that draws one kind of figure; slow: of measured results, which take seconds to draw.
CASES = [
    pytest.param(by, name, id=f"{by.removeprefix('quprop.')} {name}", marks=[pytest.mark.slow] * (" " in name))
    for by, figures in FIGURES.items()
    for name in figures
]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws one of `FIGURES` without its pixels; sees to it that the function that it stands under did it."""

    def made(by, name):
        callers = []

        def stub(figure, form):
            frame = sys._getframe(2)
            callers.append(f"{frame.f_globals['__name__']}:{frame.f_code.co_name}")
            return b""

        monkeypatch.setattr(plots, "_rendered", stub)
        figure = FIGURES[by][name](tmp_path).figure
        assert by in callers
        return figure

    return made


@pytest.mark.slow
@pytest.mark.parametrize(("by", "name"), CASES)
def test_a_figure_can_be_read(by, name, drawn):
    assert faults(drawn(by, name)) == []


def _calls(function, names):
    return any(isinstance(c, ast.Call) and getattr(c.func, "id", "") in names for c in ast.walk(function))


def test_every_function_that_makes_a_figure_is_drawn_here():
    found = set()
    for path in sorted((ROOT / "src" / "quprop").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        text = path.read_text()
        tree = ast.parse(text if "picture(" in text else "")
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        found |= {f"{module}:{f.name}" for f in functions if _calls(f, {"picture"})}
        if module != "quprop.plots":
            assert not re.search(r"savefig|backend_agg|matplotlib\.(figure|pyplot)", text), f"{path} draws by itself"
    assert found == set(FIGURES)


# -- the faults that figures had are found ----------------------------------------------------------------------------


def _bad(what):
    figure, (axes, right) = plots.panels(2)
    x = np.linspace(1, 10, 30)
    axes.plot(x, x, label="data")
    axes.set_xlabel("qubits n")
    axes.set_ylabel("copies")
    right.set_xticks([1, 2])
    right.plot([1.0, 2.0], [1.0, 2.0], color=plots.VERMILION)
    right.set_xlabel("epoch")
    what(axes, right)
    return figure


BAD = {
    "lies on data": lambda a, r: a.legend(loc="upper right"),
    "lies on data ": lambda a, r: a.text(5, 5, "a label of a curve"),
    "outside the paper": lambda a, r: a.text(0.9, 1.5, "a word that leaves", transform=a.transAxes),
    " on ": lambda a, r: (a.text(2, 8, "first word"), a.text(2, 8.1, "second word")),
    "logarithmic x axis": lambda a, r: (a.set_xscale("log"), a.set_xlim(2.1, 9), a.xaxis.set_minor_formatter("")),
    "axis of a count": lambda a, r: r.set_xticks([1.0, 1.5, 2.0]),
    "without a name": lambda a, r: a.set_xlabel(""),
    "hidden under": lambda a, r: r.plot([1.0, 2.0], [1.0, 2.0], color=plots.BLUE),
}


@pytest.mark.parametrize("what", BAD)
def test_the_faults_are_found(what):
    found = faults(_bad(BAD[what]))
    assert any(what.strip() in f for f in found), found
    assert len(found) <= 2, found


def test_what_is_no_fault_is_not_found():
    assert faults(_bad(lambda a, r: None)) == []


def test_points_are_named_where_nothing_is_drawn():
    figure, (axes,) = plots.panels(1)
    x = np.linspace(0, 10, 40)
    for k, curve in enumerate((10 - x, x, 0.1 * x**2)):
        axes.plot(x, curve, color=plots.hue(k), label=f"curve {k}")
    for at in (5.0, 5.5, 6.0):
        plots.note(axes, f"from {at:g} on\nthe cheapest", at, 10 - at)
    axes.set_xlabel("time (s)")
    assert faults(plots.picture(figure, "Notes").figure) == []
    assert sum("the cheapest" in t.get_text() for t in axes.texts) == 3


# -- colours and files ------------------------------------------------------------------------------------------------


def test_each_method_has_a_look_of_its_own_and_colours_are_those_of_the_page():
    assert set(plots.LOOKS) == set(COSTED) and len(set(plots.LOOKS.values())) == len(COSTED)
    light = (ROOT / "src/quprop/report/style.css").read_text().split("@media")[0]
    assert tuple(re.findall(r"--c\d: (#\w+);", light)) == plots.PALETTE


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_a_figure_is_written_in_the_format_of_its_name_and_the_same_twice(suffix, tmp_path):
    for name in ("a", "b"):
        _figure2(None).save(tmp_path / f"{name}.{suffix}")
    first = (tmp_path / f"a.{suffix}").read_bytes()
    start = {"png": b"\x89PNG\r\n", "pdf": b"%PDF-", "svg": b"<?xml"}[suffix]
    assert first.startswith(start) and first == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize(
    "command",
    [pytest.param("plan tfim --precision 0.1", marks=pytest.mark.slow), "plan mlp --precision 0.1",
     pytest.param("plan --preset figure2", marks=pytest.mark.slow), "scaling --figure2",
     "compare tfim --set n=3 --set layers=1 --precision 1 --methods spsa --run-limit 0"],
)  # fmt: skip
def test_a_command_draws_in_the_format_that_is_asked_for(command, quprop, tmp_path):
    quprop(*command.split(), "--plot", "x.svg", "--quiet")
    assert b"<svg" in (tmp_path / "x.svg").read_bytes()
    said = quprop(*command.split(), "--plot", "x.jpg", "--json", "x.json", "--quiet", status=2)[1]
    assert ".png, .pdf or .svg" in said
    assert not list(tmp_path.glob("x.j*")), "refused before anything is computed or written"
