"""The experiments of `quprop reproduce`: what each claims, at its quick size; the command."""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from quprop.cli.app import app
from quprop.collective.check import trigger_probability
from quprop.experiments import EXPERIMENTS, bond_dimension, damage, gradient_sweep, triggers
from quprop.experiments.claims import CLAIMS
from quprop.experiments.experiment import Experiment


def result_of(name, seed=0):
    """A quick run that went through JSON, as a file would have it; and its picture."""
    experiment = EXPERIMENTS[name]
    steps = []
    result = json.loads(json.dumps(experiment.run(True, seed, lambda *step: steps.append(step))))
    assert steps and steps[-1][0] == steps[-1][1] and [s[0] for s in steps] == sorted(s[0] for s in steps)
    assert result["findings"] and all(isinstance(line, str) for line in result["findings"])
    assert experiment.draw(result).startswith(b"\x89PNG")
    return result


def module_of(name):
    return import_module(EXPERIMENTS[name].run.__module__)


def test_every_experiment_of_the_papers_is_there():
    assert list(EXPERIMENTS) == [
        "gates",
        "copies",
        "triggers",
        "damage",
        "figure2",
        "bond_dimension",
        "hard_family",
        "training",
        "gentle_search",
        "shadow_rivals",
        "omega",
        "gentleness",
        "markov_chain",
        "pauli_list",
        "shadow_reduction",
        "bars_and_dots",
        "shifted_circuits",
        "modules",
        "cutting",
        "certified",
        "iqp",
        "crossing",
        "followed",
        "many_qubits",
    ]
    for name, e in EXPERIMENTS.items():
        assert e.name == name and e.claim and ("arXiv:" in e.source or "forum" in e.source) and e.minutes > 0


@pytest.mark.parametrize("package", ["quprop.experiments", "quprop.experiments.networks"])
def test_every_file_with_an_experiment_is_a_line_of_its_table(package):
    package = import_module(package)
    files = [p for p in Path(package.__file__).parent.glob("*.py") if "\nEXPERIMENT = " in p.read_text()]
    assert {e.run.__module__.rsplit(".", 1)[-1] for e in package.EXPERIMENTS.values()} == {p.stem for p in files}


def test_figure_2_has_the_break_even_points():
    result = result_of("figure2")
    found = [c["break_even"] for c in result["cases"]]
    np.testing.assert_allclose(found, [2.7e5, 1.2e6, 6.7e6], rtol=0.06)  # n = 20 at 0.2 and 0.1, n = 100 at 0.1
    assert all(c["break_even_of_two_batches"] < c["break_even"] / 100 for c in result["cases"])


@pytest.fixture(scope="module")
def training():
    return result_of("training")


@pytest.mark.slow
def test_training_follows_exact_gradients_and_says_what_it_costs(training):
    runs = training["runs"]
    first = {r["loss"][0] for r in runs.values()}
    assert len(first) == 1  # one start
    gained = {name: first_loss - r["final"] for name, r in runs.items() for first_loss in first}
    for name, gain in gained.items():
        assert gain > 0.9 * gained["exact"], name
    copies = {name: r["copies"][-1] for name, r in runs.items()}
    assert copies["exact"] == 0 < copies["gentle sweep"] < copies["quantum backpropagation"]
    assert all(np.all(np.diff(r["copies"]) >= 0) for r in runs.values())


@pytest.mark.slow
def test_a_seed_gives_the_same_result_and_another_one_another(training):
    again, other = (EXPERIMENTS["training"].run(True, seed) for seed in (0, 4))
    assert again == training and other["runs"] != training["runs"]


def test_the_copies_to_an_energy_are_those_spent_before_it_was_seen():
    """The loss of a line is that before its step, and its copies are those after it."""
    r = {"loss": [3.0, 2.0, 1.5], "copies": [10, 20, 30], "final": 1.0}
    assert [module_of("training").reached(r, e) for e in (3.0, 2.5, 1.5, 1.2, 0.5)] == [0, 10, 20, 30, None]


def lines(ours, theirs, rival="pair_state", n=3, seeds=2):
    """Rows of two laws, gates = f(M), equal but for the seeds."""
    laws = {"quantum_backprop": ours, rival: theirs}
    return [
        {"n": n, "M": m, "seed": seed, "method": name, "total": law(m) * (1 + 0.1 * seed * (name != rival))}
        for m in (10, 100, 1000)
        for seed in range(seeds)
        for name, law in laws.items()
    ]


def test_crossings_are_where_the_lines_meet():
    """1000 M against M^2 meet at 1,000; against 100 M^1.5 at 100, and 1.1 times as many gates at 121."""
    crossing = module_of("crossing")
    found = crossing.crossing(lines(lambda m: 1000.0 * m, lambda m: 100.0 * m**1.5), "pair_state", 3)
    assert found["side"] == "measured"
    assert found["low"] == pytest.approx(100, rel=1e-9) and found["high"] == pytest.approx(121, rel=1e-9)
    assert found["M"] == pytest.approx(110.5, rel=1e-9)
    assert crossing.crossing(lines(lambda m: 1000.0 * m, lambda m: m), "pair_state", 3)["side"] == "beyond"
    assert crossing.crossing(lines(lambda m: m, lambda m: 1000.0 * m), "pair_state", 3)["side"] == "below"
    assert crossing.crossing(lines(lambda m: m, lambda m: m), "gentle_sweep", 3)["side"] == "none"
    rows = [r for n in (2, 3, 4, 5) for r in lines(lambda m: 20.0 * m, lambda m, n=n: 2.0**n * m, n=n)]
    rows = [r for r in rows if r["M"] == 100]
    assert crossing.first_qubits(rows, "pair_state") == 5  # 2^n > 21
    assert crossing.first_qubits([r for r in rows if r["n"] < 5], "pair_state") is None


@pytest.mark.slow
def test_sweeps_are_followed_and_keep_their_promise():
    result = result_of("followed")
    assert all(r["within"] == 1 and r["damage"] <= 1 and r["engine_error"] < 0.05 for r in result["rows"])
    assert all("gaussian" in r["engines_used"] and 1 <= r["claimed"] / r["copies"] <= 2 for r in result["rows"])
    assert set(result["small"]) == set(module_of("followed").KINDS)
    assert sum(r["beyond"] for r in result["small"].values()) <= 2 and all(
        r["triggers"] for r in result["small"].values()
    )


@pytest.mark.slow
def test_the_quick_crossing_counts_what_it_runs():
    result = result_of("crossing")
    ours = [r for r in result["rows"] if r["method"] == "quantum_backprop"]
    assert all(r["run"] and r["within"] == 1 and r["total"] == r["rotations"] + r["toffolis"] for r in ours)
    run = [r for r in result["rows"] if r["run"] and r["method"] != "quantum_backprop"]
    assert {r["method"] for r in run} == set(module_of("crossing").RIVALS)
    assert all(r["claimed"]["rotations"] == r["rotations"] for r in run)  # plans have what runs count
    assert result["crossings"]["parameter_shift"]["side"] == "measured"


@pytest.mark.slow
def test_matrix_products_serve_the_quick_chain():
    rows = result_of("many_qubits")["rows"]
    assert all(r["within"] == 1 and 0 < r["truncation"] < 1e-3 for r in rows)
    assert any(r["above"] > 0.5 for r in rows)


def test_thresholds_are_where_copies_trigger_as_often_as_asked():
    for p, k, mean, noise in ((0.02, 400, 0.4, 10.0), (0.005, 60, 0.9, 15.0), (0.2, 1000, 0.0, 30.0)):
        t = damage.threshold_for(p, k, mean, noise)
        assert float(trigger_probability(k, mean, t, noise)) == pytest.approx(p, rel=1e-6)
        counts = np.arange(k + 1)  # the sum itself
        f = np.exp(np.minimum((counts - k * t) / noise, 0))
        assert stats.binom.pmf(counts, k, mean) @ f == pytest.approx(p, rel=1e-6)


def test_states_and_strings_are_what_they_are_called():
    rng = np.random.default_rng(1)
    for n in (1, 3):
        psi = triggers.state_of("product", n, rng)
        events = triggers.all_strings(n)
        assert len(events) == 4**n - 1
        for e in events:
            assert 2 * float(e.mean(psi)) - 1 == pytest.approx(3 ** (-e.pauli.weight / 2))
    ghz = [2 * float(e.mean(triggers.state_of("GHZ", 3, rng))) - 1 for e in triggers.all_strings(3)]
    assert sum(abs(v) > 0.99 for v in ghz) == 7 and sum(abs(v) > 1e-12 for v in ghz) == 7
    local = bond_dimension.local_strings(5)
    assert len(local) == 63 + 2 * 48  # a window of three, and two more that each add strings on their last qubit
    assert all(max(e.pauli.qubits) - min(e.pauli.qubits) < 3 for e in local)
    psi = bond_dimension.shallow_state(4, 0, rng)  # no entangling layer: a product state
    assert np.linalg.matrix_rank(psi.reshape(4, 4), tol=1e-10) == 1
    assert np.linalg.matrix_rank(bond_dimension.shallow_state(4, 2, rng).reshape(4, 4), tol=1e-10) > 1


def test_findings_name_all_methods_in_order_and_what_a_batch_for_each_trigger_costs():
    rows = [
        {"method": name, "M": m, "gates": gates * m, "triggers": 7, "bound": 70.0, "damage": 0.5}
        for m in (512, 1024)
        for name, gates in (("parameter_shift", 9), (gradient_sweep.OURS, 2), (gradient_sweep.THEOREM, 6))
    ]
    *_, order, more = gradient_sweep.findings({}, "gates", rows)
    assert order.startswith("gates at M = 1,024: quantum backpropagation 2e+03, a batch for each trigger, ")
    assert order.endswith("parameter shift 9.2e+03") and "takes 3 times the gates" in more
    rows[-2]["gates"] *= 10  # of quantum backpropagation at the largest M
    *_, order, more = gradient_sweep.findings({}, "gates", rows)
    assert order.endswith("quantum backpropagation 2e+04") and "takes 0.3 times the gates" in more


def test_exponents_are_found_in_made_up_rows_and_a_wrong_law_is_noticed():
    rows = []
    for name, power in gradient_sweep.LAWS.items():
        for m in (512, 2048, 8192):
            logs = float(gradient_sweep.logarithms(name, np.array(m)))
            rows.append(
                {
                    "method": name,
                    "M": m,
                    "gates": 7 * m**power * logs,
                    "copies": 7 * m ** (power - 1) * logs,
                }
            )
    for what in ("gates", "copies"):
        for fit in gradient_sweep.slopes(rows, what).values():
            assert fit["reduced"]["slope"] == pytest.approx(fit["theory"], abs=1e-9)
    for row in rows:
        row["gates"] *= row["M"] ** 0.3
    assert all(f["reduced"]["slope"] > f["theory"] + 0.29 for f in gradient_sweep.slopes(rows, "gates").values())


# -- at their quick sizes ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_gates_and_copies_grow_with_the_exponents_of_theory(monkeypatch):
    result = result_of("gates")
    rows = result["rows"]
    monkeypatch.setattr(gradient_sweep, "sweep", lambda quick, rng, progress: (progress(1, 1, ""), rows)[1])
    both = {"gates": result["slopes"], "copies": result_of("copies")["slopes"]}
    for what, less in (("gates", 0.0), ("copies", 1.0)):
        slope = {name: fit["reduced"]["slope"] for name, fit in both[what].items()}
        assert slope["parameter_shift"] == pytest.approx(2 - less, abs=0.01)
        assert slope["gentle_sweep"] == pytest.approx(1.5 - less, abs=0.1)
        assert slope["fully_gentle"] >= 1.9 - less
        assert slope["quantum_backprop"] == pytest.approx(both[what]["quantum_backprop"]["design"], abs=0.1)
        assert gradient_sweep.by_design([1 << 14, 1 << 18, 1 << 22], what) == pytest.approx(1 - less, abs=0.03)
    for row in rows:
        if row["error"] is not None:
            assert row["error"] <= 1.25 * result["max_error"] and row["within"] >= 0.99
        if row["method"] in (gradient_sweep.OURS, gradient_sweep.THEOREM):
            assert row["triggers"] <= row["bound"] and row["above"] > 0.05
        assert row["gates"] == row["rotations"] + row["toffolis"]
    count = {name: {r["M"]: r["copies"] for r in rows if r["method"] == name} for name in gradient_sweep.LAWS}
    assert all(count[gradient_sweep.THEOREM][m] > 2 * copies for m, copies in count[gradient_sweep.OURS].items())


@pytest.mark.slow
def test_triggers_stay_below_the_bound():
    rows = result_of("triggers")["rows"]
    assert all(0 < r["updates"] < 0.2 * r["bound"] and r["error"] <= r["eps"] for r in rows)
    by = {(r["state"], r["n"], r["eps"]): r["triggers"] for r in rows}
    for kind in ("product", "random"):  # more with qubits, and with accuracy
        assert by[kind, 2, 0.1] < by[kind, 3, 0.1] < by[kind, 4, 0.1]
        assert by[kind, 4, 0.2] < by[kind, 4, 0.1] < by[kind, 4, 0.05]


@pytest.mark.slow
def test_damage_follows_the_sum_of_trigger_probabilities():
    result = result_of("damage")
    for r in result["runs"]:
        assert np.all(np.array(r["distance"]) <= 3**0.5 * np.array(r["bound"]))  # chi^2 within a factor of 3
        assert r["distance"][-1] > 0.1 * r["bound"][-1]
    worst = result["worst_error"]
    assert worst["bosonic"] < worst["product_sum"] < worst["null"] < 0.02


@pytest.mark.slow
def test_small_bond_dimensions_cost_triggers_and_no_accuracy():
    result = result_of("bond_dimension")
    assert all(r["error"] <= result["eps"] for r in result["rows"])
    alike = [r for r in result["rows"] if r["learning"] == "steps"]
    late = {(r["depth"], r["bond"]): r["second"] for r in alike}
    assert late[2, 1] > late[2, 8] + 5  # bond dimension 1 never learns an entangled state
    total = {(r["depth"], r["bond"]): r["first"] + r["second"] for r in alike}
    assert total[2, 8] <= 1.3 * total[2, 0]  # the dense one
    keeps = {r["depth"]: r["first"] + r["second"] for r in result["rows"] if r["learning"] == "maximum entropy"}
    assert all(keeps[depth] < 0.9 * total[depth, 0] for depth in (0, 2))


@pytest.mark.slow
def test_single_copies_need_exponentially_more_than_pairs():
    result = result_of("hard_family")
    copies = {(r["strategy"], r["n"]): r["copies"] for r in result["rows"]}
    assert copies["mub", 5] > 8 * copies["bell", 5] and copies["mub", 5] / copies["mub", 2] > 8
    assert result["slopes"]["mub"] == pytest.approx(0.9, abs=0.25)


@pytest.mark.slow
def test_searches_need_copies_in_proportion_to_their_items():
    result = result_of("gentle_search")
    assert result["slope"] == pytest.approx(1.0, abs=0.05)
    last = result["rows"][-1]
    assert last["promised with these"] > last["success with these"] + 0.15


@pytest.mark.slow
def test_shadow_tomography_keeps_its_rivals_promise_and_grows_slower():
    result = result_of("shadow_rivals")
    assert all(r["error"] is None or r["error"] <= result["eps"] for r in result["rows"])
    copies = {(r["name"], r["n"]): r["copies"] for r in result["rows"]}
    growth = {name: copies[name, 4] / copies[name, 2] for name, _ in copies}
    assert growth["one by one"] > 17 and growth["local shadows"] > 9  # 255/15 strings; 3^2
    assert growth["Bell sampling"] < growth["shadow tomography"] < growth["local shadows"]


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def quprop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == status, result.output
        return result.output

    return run


def test_the_command_lists_and_writes_figure_and_numbers(quprop, tmp_path):
    listed = quprop("reproduce", "--json", "list.json")
    for name, claim in CLAIMS.items():
        assert name in listed and " ".join(claim.statement.split()[:4]) in listed
    assert set(json.loads((tmp_path / "list.json").read_text())) == set(CLAIMS)
    assert max(len(line) for line in listed.splitlines()) <= 80
    out = quprop("reproduce", "figure2", "--out", "here", "--json", "all.json")
    assert "parameter shift is cheaper below M" in out and "figure2.png and figure2.json in here" in out
    assert (tmp_path / "here" / "figure2.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads((tmp_path / "all.json").read_text())
    assert result == json.loads((tmp_path / "here" / "figure2.json").read_text())
    assert result["experiment"] == "figure2" and result["seed"] == 0 and "quprop" in result["versions"]
    assert quprop("reproduce", "figure2", "--quiet") == ""


def test_bad_names_and_places_are_refused_and_an_interrupt_writes_nothing(quprop, tmp_path, monkeypatch):
    assert "did you mean 'triggers'?" in quprop("reproduce", "trigers", status=2)
    (tmp_path / "file").write_text("")
    assert "is a file; give a folder" in quprop("reproduce", "figure2", "--out", "file", status=2)
    assert "there is no folder" in quprop("reproduce", "figure2", "--json", "no/where.json", status=2)

    def interrupted(quick, rng, progress):
        progress(1, 3, "something long")
        raise KeyboardInterrupt

    e = EXPERIMENTS["damage"]
    monkeypatch.setitem(EXPERIMENTS, "damage", Experiment(e.name, e.claim, e.source, e.minutes, interrupted, e.draw))
    out = quprop("reproduce", "damage", "--out", "there", status=130)
    assert "1/3  something long" in out and "interrupted; nothing was written" in out
    assert not (tmp_path / "there").exists()
