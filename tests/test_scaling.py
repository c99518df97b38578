"""Exponents: of formulas, of made-up errors, and of what is measured."""

import json
import math

import numpy as np
import pytest

import quprop as qpr
from quprop.errors import QupropError
from quprop.gradients import METHODS
from quprop.planning.costs import cost_of
from quprop.planning.measured import (
    FAMILIES,
    Constants,
    Fit,
    fit_exponent,
    fits,
    largest_of_normals,
    reach,
    shots_at_error,
    tasks,
)
from quprop.planning.measured.figure2 import LAWS, TIMES, TWO, table
from quprop.planning.measured.sweep import sweep_one
from quprop.planning.named import summary
from quprop.runs.executor import run_tasks
from quprop.sampling.shape import Wanted

# Parameters reachable, two digits, worked out by hand from M^2 T, M ln M T, M ln^2 M T, M log2^2 M T with T = 1 ms.
FIGURE_2 = {
    "1 s": ("32", "1.9e2", "60", "37"),
    "1 min": ("2.4e2", "6.8e3", "1.2e3", "6.8e2"),
    "1 h": ("1.9e3", "2.9e5", "3.3e4", "1.8e4"),
    "1 day": ("9.3e3", "5.6e6", "5.0e5", "2.7e5"),
    "1 week": ("2.5e4", "3.5e7", "2.8e6", "1.4e6"),
    "30 days": ("5.1e4", "1.4e8", "1.0e7", "5.2e6"),
    "1 year": ("1.8e5", "1.5e9", "9.4e7", "4.8e7"),
}


@pytest.mark.parametrize("time", FIGURE_2)
def test_figure_2_reaches_the_tables_numbers(time):
    found = table()[time]
    for law, expected in zip(LAWS, FIGURE_2[time], strict=True):
        assert float(f"{found[law]:.1e}") == float(expected), law


def test_figure_2_agrees_with_the_papers_day_for_ten_thousand_parameters():
    assert reach(1e5, LAWS["M²"]) == pytest.approx(1e4)
    assert 24 < LAWS["M²"](1e4) * 1e-3 / 3600 < 28


def test_laws_are_solved_exactly():
    for law in LAWS.values():
        for seconds in TIMES.values():
            assert law(reach(seconds, law)) * 1e-3 == pytest.approx(seconds, rel=1e-9)


@pytest.mark.parametrize(("n", "error", "m"), [(20, 0.2, 2.7e5), (20, 0.1, 1.2e6), (100, 0.1, 6.7e6)])
def test_with_constants_the_two_meet_where_they_should(n, error, m):
    found = Constants(n, error, 0.01)
    even = found.break_even()
    assert even == pytest.approx(m, rel=0.06)
    assert found.parameter_shift(even) == pytest.approx(found.backpropagation(even))
    assert found.parameter_shift(even / 2) < found.backpropagation(even / 2)


@pytest.mark.parametrize(("n", "error"), [(4, 0.2), (8, 0.1)])
def test_two_batches_cost_what_quantum_backpropagation_plans_for(n, error):
    """dF/dtheta of exp(-i theta P) is twice dF/da; a rotation takes 1 ms, a Toffoli 0.1 ms."""
    m, found = 300, Constants(n, error, 0.01)
    wanted = Wanted("max_error", error / 2, 0.01)
    cost = cost_of("quantum_backprop", summary(n, m), wanted)
    assert found.two_batches(m) == pytest.approx(cost.rotations + 0.1 * cost.toffolis)
    even = found.break_even(TWO)
    assert found.parameter_shift(0.9 * even) < found.two_batches(0.9 * even)
    assert found.parameter_shift(1.1 * even) > found.two_batches(1.1 * even)
    assert even < found.break_even()


def test_the_error_enters_to_the_fourth_power():
    loose, tight = Constants(error=0.2), Constants(error=0.1)
    assert tight.backpropagation(1e6) / loose.backpropagation(1e6) == pytest.approx(16)
    for law in (tight.parameter_shift, tight.two_batches):
        assert law(1e6) / getattr(loose, law.__name__)(1e6) == pytest.approx(4, rel=0.05)


def test_a_fit_finds_a_power_law_and_its_interval_covers():
    x = 2.0 ** np.arange(6, 13)
    exact = fit_exponent(x, 3 * x**1.7)
    assert exact.value == pytest.approx(1.7) and exact.half_width < 1e-9 and exact.scale == pytest.approx(3)
    rng = np.random.default_rng(0)
    inside = sum(1.7 in fit_exponent(x, x**1.7 * np.exp(0.2 * rng.normal(size=7))) for _ in range(2000))
    assert abs(inside / 2000 - 0.95) < 5 * math.sqrt(0.95 * 0.05 / 2000)


def test_the_verdict_allows_a_law_in_m_one_more_logarithm_and_no_more():
    m = 2.0 ** np.arange(6, 13)

    def verdict(y, theory):
        points = tuple((int(k), 0, v) for k, v in zip(m, y, strict=True))
        return Fit("f", "m", 0.1, fit_exponent(m, y), fit_exponent(m, y), theory, "M", points).verdict

    assert verdict(m, 1.0) == "agrees" and verdict(m * np.log(m), 1.0) == "within a log"
    assert verdict(m**1.5, 1.0) == "differs" and verdict(m * np.log(m) ** 3, 1.0) == "differs"
    assert verdict(m**2 * np.log(m), 2.0) == "differs" and verdict(m, None) == ""


def test_a_fit_needs_three_points_at_two_sizes():
    for x, y in (([1, 2], [1, 2]), ([2, 2, 2], [1, 2, 3]), ([1, 2, 3], [1, 0, 2])):
        with pytest.raises(QupropError, match="needs three points"), np.errstate(divide="ignore"):
            fit_exponent(x, y)


def test_the_largest_of_normals_is_that_of_draws():
    assert largest_of_normals(1) == pytest.approx(math.sqrt(2 / math.pi))
    draws = np.abs(np.random.default_rng(1).normal(size=(4000, 64))).max(axis=1)
    assert largest_of_normals(64) == pytest.approx(draws.mean(), abs=5 * draws.std() / math.sqrt(4000))
    # the leading term, sqrt(2 ln 2m), with the correction of order ln ln / sqrt ln
    assert 0.9 < largest_of_normals(1 << 20) / math.sqrt(2 * math.log(1 << 21)) < 1


@pytest.mark.parametrize(
    ("law", "shots", "off"),
    [
        (lambda n: 7 / n**0.5, 4900, 0.001),
        (lambda n: 2 / n**0.5, 400, 0.001),
        # Read off along N^(-1/2) over a factor 1.3 in the error at most.
        (lambda n: 3 / n**0.25, 810_000, 0.7),
        (lambda n: 40 / n, 400, 0.3),
    ],
)
def test_shots_are_found_where_the_error_is_the_one_wanted(law, shots, off):
    level = shots_at_error(lambda n: np.array([law(n)]), 0.1, 64)
    assert level.reached and level.shots == pytest.approx(shots, rel=off)


def test_a_floor_of_the_error_is_reported_and_not_fitted():
    level = shots_at_error(lambda n: np.array([0.2 + 1 / math.sqrt(n)]), 0.1, 64, most=1e9)
    assert not level.reached


def test_the_fewest_shots_there_are_may_do():
    level = shots_at_error(lambda n: np.array([0.5 / math.sqrt(n)]), 0.1, 1000, least=1000)
    assert level.reached and level.shots == 1000


@pytest.mark.parametrize("name", FAMILIES)
def test_families_have_m_parameters_one_a_rotation_and_gradients_that_do_not_fade(name):
    family = FAMILIES[name]
    if name == "pauli_list":
        pytest.importorskip("quprop.gradients.bell_sampling")
    sizes = family.sizes(64)
    for m in sizes[:1] + sizes[-1:]:
        found = family.build(m, 0)
        assert len(found) == family.draws
        for (model, theta), (again, same) in zip(found, family.build(m, 0), strict=True):
            assert model == again and np.array_equal(theta, same) and model.n_params == m
            (observable,) = model.observables
            assert [abs(c) for _, c in observable.items()] == [1.0]
            if m == sizes[-1]:
                gradient = qpr.value_and_grad(model, theta)[1]
                assert np.mean(np.abs(gradient) > 0.1) > 0.02, (m, np.abs(gradient).max())
        other = family.build(m, 1)
        assert any(a[0] != b[0] or not np.array_equal(a[1], b[1]) for a, b in zip(found, other, strict=True))


def test_sizes_are_powers_of_two_and_the_familys_largest():
    assert FAMILIES["hardware_efficient"].sizes(256) == [16, 32, 64, 128, 256]
    assert FAMILIES["pauli_list"].sizes(4096)[-2:] == [2048, 4095]
    assert FAMILIES["pauli_list"].sizes(512)[-1] == 512


def test_rows_do_not_depend_on_each_other_and_a_longer_sweep_contains_a_shorter():
    short = {t.key for t in tasks(["random_pauli"], ["parameter_shift"], m_max=128)}
    assert short < {t.key for t in tasks(["random_pauli"], ["parameter_shift"], m_max=512, instances=3)}


def test_what_cannot_be_swept_is_refused():
    with pytest.raises(QupropError, match="did you mean 'random_pauli'"):
        tasks(["random_paulis"])
    with pytest.raises(QupropError, match="did you mean 'parameter_shift'"):
        tasks(None, ["parameter_shfit"])
    with pytest.raises(QupropError, match="adjoint measures nothing"):
        tasks(None, ["adjoint"])
    with pytest.raises(QupropError, match="m_max must be at least m_min"):
        tasks(m_max=32)
    with pytest.raises(QupropError, match="max_error must be a positive number"):
        tasks(max_error=-1)


def test_parameter_shift_grows_as_m_squared():
    todo = tasks(["hardware_efficient"], ["parameter_shift"], m_min=16, m_max=128, instances=2)
    (fit,) = fits(run_tasks(todo))
    assert 2.0 in fit.reduced and fit.reduced.half_width < 0.25, str(fit.reduced)
    assert fit.raw.value > fit.reduced.value  # the logarithm of the max norm


def test_a_gradient_of_wrong_cost_is_noticed(monkeypatch):
    """The verdict can fail: parameter shift whose shots are counted as if one circuit served all components."""
    kind = METHODS["parameter_shift"]

    class Cheat(kind):
        def compile(self, model, weights=None, *, at=None):
            plan = super().compile(model, weights, at=at)
            plan.cost = type(plan.cost)(**{**plan.cost.as_dict(), "rotations": plan.cost.rotations // model.n_params})
            return plan

    monkeypatch.setitem(METHODS, "parameter_shift", Cheat)
    todo = tasks(["hardware_efficient"], ["parameter_shift"], m_min=16, m_max=128, instances=1)
    (fit,) = fits(run_tasks(todo))
    assert fit.agrees is False and fit.verdict == "differs" and 0.6 < fit.reduced.value < 1.4


def test_a_row_measures_the_error_it_reports():
    """Estimates with the shots that a row ends with have the wanted mean max-norm error, drawn anew."""
    todo = tasks(["random_pauli"], ["parameter_shift"], m_min=64, m_max=64, instances=1)
    (row,) = run_tasks(todo)
    result = row["result"]
    ((model, theta),) = FAMILIES["random_pauli"].build(64, 0)
    exact = qpr.value_and_grad(model, theta)[1]
    plan = METHODS["parameter_shift"](total_shots=round(result["shots"])).compile(model)
    rng = np.random.default_rng(5)
    errors = [np.abs(plan.estimate(theta, None, rng).value - exact).max() for _ in range(100)]
    spread = 5 * np.std(errors) / 10 + 0.1 * result["spread"]
    assert np.mean(errors) == pytest.approx(0.1, abs=spread)
    assert result["rotations"] == pytest.approx(plan.cost.rotations, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "method"), [(f, m) for m, kind in METHODS.items() for f in kind.exponents if f != "pauli_list"]
)
def test_measured_exponents_contain_theory(family, method):
    # Random directions take many shots to simulate: smaller models, and more of them (see `tasks`).
    m_max, instances = (64, 1) if METHODS[method].coarser > 1 else (128, 3)
    (fit,) = fits(run_tasks(tasks([family], [method], m_min=16, m_max=m_max, instances=instances)))
    assert fit.theory in fit.reduced or abs(fit.theory - fit.reduced.value) < 0.15, (str(fit.reduced), fit.theory)


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def quprop(quprop_in_80_columns):
    return quprop_in_80_columns


SMALL = ["scaling", "--family", "random_pauli", "--methods", "parameter_shift", "--m-min", "16", "--instances", "1"]


def test_the_command_writes_rows_summary_and_figure_and_resumes(quprop, tmp_path):
    out, _ = quprop(*SMALL, "--m-max", 64, "--json", "r.json", "--plot", "p.png")
    assert "random_pauli" in out and "parameter_shift" in out and "95 % intervals" in out
    folder = tmp_path / "runs" / "scaling"
    assert {f.name for f in folder.iterdir()} == {"rows.jsonl", "summary.json", "scaling.png"}
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["fits"][0]["theory"] == 2.0 and len(result["rows"]) == 3
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert "holds rows already: continue with --resume" in quprop(*SMALL, "--m-max", 64, status=2)[1]
    out, _ = quprop(*SMALL, "--m-max", 64, "--resume", "--seed", 1)  # rows of another seed are other rows
    assert "already" not in out
    out, _ = quprop(*SMALL, "--m-max", 64, "--resume")
    assert "3 of 3 rows are there already" in out
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert [r["result"] for r in rows[:3]] == [r["result"] for r in sorted(rows[:3], key=lambda r: -r["settings"]["m"])]
    assert quprop(*SMALL, "--m-max", 64, "--resume", "--quiet") == ("", "")


def test_figure_2_on_the_command_line(quprop, tmp_path):
    out, _ = quprop("scaling", "--figure2", "--json", "f.json", "--plot", "f.png")
    assert "1 week" in out and "2.5e4" in out
    assert json.loads((tmp_path / "f.json").read_text())["parameters"]["1 year"]["M ln M"] == pytest.approx(
        1.5e9, rel=0.03
    )
    out, _ = quprop("scaling", "--figure2", "--constants")
    assert "M = 6.7e+06" in out and f"from {Constants().break_even(TWO):.0f} with two batches" in " ".join(out.split())


BAD = {
    "family": (["scaling", "--family", "random"], "unknown family 'random'"),
    "method": (["scaling", "--methods", "adjoint"], "adjoint measures nothing"),
    "constants": (["scaling", "--constants"], "--constants belongs to --figure2"),
    "folder": (["scaling", "--plot", "no/where.png"], "there is no folder"),
    "dask": (["scaling", "--m-max", "64", "--dask", "tcp//x"], "dask"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_usage_is_one_sentence_and_status_2(name, quprop, tmp_path):
    arguments, words = BAD[name]
    _, stderr = quprop(*arguments, status=2)
    assert stderr.startswith("quprop: ") and words in stderr and stderr.count("\n") == 1


def test_a_refused_model_is_a_row_that_says_why():
    todo = tasks(["random_pauli"], ["parameter_shift"], m_min=16, m_max=16, instances=1)

    class Refusing(METHODS["parameter_shift"]):
        def compile(self, model, weights=None, *, at=None):
            raise QupropError("no")

    kind = METHODS["parameter_shift"]
    METHODS["parameter_shift"] = Refusing
    try:
        assert sweep_one(todo[0].settings, np.random.SeedSequence(0)) == {"refused": "no"}
    finally:
        METHODS["parameter_shift"] = kind


def test_methods_on_many_copies_are_swept_by_the_error_they_are_asked_for():
    """The measured error ends within a factor of the wanted one, and rotations are those executed, not the claim."""
    (task,) = tasks(["hardware_efficient"], ["gentle_sweep"], m_max=16, m_min=16, max_error=0.3, instances=1)
    row = sweep_one(task.settings, np.random.SeedSequence(1))
    assert row["reached"] and 0.3 / 1.3 <= row["trail"][-1][1] <= 0.3 * 1.3
    ((model, theta),) = FAMILIES["hardware_efficient"].build(16, 0)
    asked = 0.3 * (64 / row["trail"][-1][0]) ** 0.5
    executed = METHODS["gentle_sweep"](max_error=asked).compile(model).estimate(theta, None, 0).cost.rotations
    assert row["rotations"] == pytest.approx(executed * row["shots"] / row["trail"][-1][0], rel=0.3)
