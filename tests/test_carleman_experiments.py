"""The experiments of the Carleman system: each shows what it claims, at its quick size."""

import importlib

import numpy as np
import pytest

from quprop.carleman.maps.convergence import error_against_order, toy
from quprop.carleman.spectra.spectrum import exact_spectrum
from quprop.carleman.system.history import HistorySystem
from quprop.experiments.networks import EXPERIMENTS, decay, full_size, scaling, scaling_n, spectra
from quprop.experiments.networks.order import sentence

torch_warning = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # curvlinops imports it


@pytest.fixture(scope="module")
def measured():
    """Quick results by name, each run once."""
    found = {}

    def of(name):
        if name not in found:
            found[name] = EXPERIMENTS[name].run(True, 0, lambda done, total, what: None)
        return found[name]

    return of


def test_every_experiment_has_a_file_a_claim_and_a_source():
    for name, experiment in EXPERIMENTS.items():
        assert importlib.import_module(f"quprop.experiments.networks.{name}").EXPERIMENT is experiment
        assert experiment.claim.endswith(".") and experiment.source and experiment.minutes > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["order", "euler", "kappa", "queries", "burgers", "scaling", "decay", "momentum"])
def test_results_are_drawn_and_put_into_words(measured, name):
    result = measured(name)
    assert EXPERIMENTS[name].draw(result).startswith(b"\x89PNG")
    assert result["findings"] and all(isinstance(text, str) for text in result["findings"])


def test_the_error_falls_as_proved_inside_the_radius_and_not_far_outside(measured):
    rows = {r.get("R", r.get("start")): r for r in measured("order")["rows"]}
    for ratio in (0.3, 0.6, 0.9):
        row = rows[ratio]
        assert row["bound"] == pytest.approx([ratio**n for n in row["orders"]])  # (rho/Gamma)^N, rho = 1, Gamma = 1/R
        assert np.all(np.array(row["error"]) <= row["bound"])
        assert np.all(np.diff(row["error"]) < 0)
    assert rows[6.0]["bound"] is None and min(rows[6.0]["error"]) > 0.1
    assert rows["near start"]["error"][-1] < 1e-2 * rows["near start"]["error"][0]
    assert rows["far start"]["error"][-1] > rows["far start"]["error"][0]
    assert "does not converge" in sentence(rows[6.0]) and "bound holds" in sentence(rows[0.6])
    assert "BROKEN" in sentence(rows[0.6] | {"bound": [1e-9] * 5})


def test_only_the_exact_blocks_pass_the_plateau(measured):
    exact, euler = measured("euler")["error"]["discrete"], measured("euler")["error"]["euler"]
    assert exact[-1] < 1e-2 * euler[-1]
    assert euler[-1] == pytest.approx(euler[2], rel=0.2)
    for row in EXPERIMENTS["euler"].run(False, 0, lambda *_: None)["by_rate"]:
        assert row["euler"][-1] == pytest.approx(0.021 * row["rate"], rel=0.15)  # eta^2 a step in 6/eta steps


def test_the_flow_is_the_published_one_and_its_error_falls(measured):
    result = measured("burgers")
    assert result["R"] == pytest.approx(43.59, abs=5e-3)
    assert result["error"][0] > 1.8 * result["error"][1]
    largest = [max(c) for c in result["courses"]]
    assert largest == pytest.approx(result["error"], rel=1e-2)  # 61 of all times


def test_counted_queries_are_the_formula_and_states_within_eps(measured):
    rows = measured("queries")["rows"]
    assert {r["system"] for r in rows} == {"random", "history, T = 2", "history, T = 4"}
    for row in rows:
        assert row["error"] <= row["asked"], row
        assert 0 <= row["queries"] - row["formula"] <= (2 * row["kappa"] if row["solver"] == "adiabatic" else 0), row
    assert measured("queries")["exponents"]["optimal"] == pytest.approx(1, abs=0.02)


def test_whole_circuits_query_as_often_as_the_emulated_solver(measured):
    rows = measured("queries")["circuits"]
    for row in (r for r in rows if r["circuit"] == "qsvt"):
        assert row["queries"] == row["formula"] and row["error"] <= row["asked"]
    hhl = [r for r in rows if r["circuit"] == "hhl"]
    assert [r["queries"] for r in hhl] == [2 * (2 ** r["clock"] - 1) for r in hhl]  # sum of 2^j uses, and undone
    assert hhl[-1]["error"] < 0.1 * hhl[0]["error"]
    assert "in 3 of 3" in measured("queries")["findings"][-1]


def test_momentum_is_bounded_in_a_lyapunov_norm_where_the_usual_one_proves_nothing(measured):
    calm, pushed = measured("momentum")["rows"]
    assert calm["R"] is not None and calm["linear"] < 1 < pushed["linear"] and pushed["R"] is None
    for row in (calm, pushed):
        assert row["spectral_radius"] < 1 and row["best_R"] < 1
        assert np.all(np.array(row["error"]) <= row["bound"]) and np.all(np.diff(row["error"]) < 0)
    # heavy ball on a mode of curvature h: z^2 - (1 + b - eta h) z + b = 0, here for eta = 0.1, b = 0.5
    roots = [np.abs(np.roots([1, -(1.5 - 0.1 * h), 0.5])).max() for h in (0.5, 1.0, 2.0)]
    assert pushed["spectral_radius"] == pytest.approx(max(roots))
    assert "infinite in the usual norm" in " ".join(measured("momentum")["findings"])


def test_the_exponents_of_the_three_protocols(measured):
    slopes = {name: found["slope"] for name, found in measured("scaling")["exponents"].items()}
    for case in (scaling.FULLY, scaling.ALMOST):
        for protocol, theory in zip(scaling.PROTOCOLS, scaling.THEORY[case], strict=True):
            assert slopes[f"{case}, {protocol}"] == pytest.approx(theory, abs=0.25), (case, protocol)
    assert abs(slopes["fully dissipative, kappa_plain"]) < 0.2
    assert slopes["self-coupled mode, kappa_idle"] > slopes["almost dissipative, kappa_idle"] + 0.5


def test_the_almost_dissipative_mode_grows_by_one_part_in_the_number_of_steps():
    for case, growth in ((scaling.FULLY, 0.8), (scaling.ALMOST, 1 + 1 / 50), (scaling.COUPLED, 1 + 1 / 50)):
        step, _ = scaling.block(case, 50)
        assert np.abs(np.linalg.eigvalsh(step.matrix(1).toarray())).max() == pytest.approx(growth)
    step, start = scaling.block(scaling.ALMOST, 50)
    neutral = np.linalg.eigh(step.matrix(1).toarray())[1][:, -1]
    assert neutral @ step.matrix(2).toarray() @ np.kron(neutral, neutral) == pytest.approx(0, abs=1e-12)
    assert error_against_order(step, start, [2], 50)[0].relative < 0.05
    step, _ = scaling.block(scaling.COUPLED, 50)
    assert abs(neutral @ step.matrix(2).toarray() @ np.kron(neutral, neutral)) == pytest.approx(0.25)


def test_the_self_coupled_mode_has_a_jordan_block_between_levels():
    """M = [[1, g], [0, 1]] for one neutral parameter: ||M^t|| grows as g t, so kappa as T^2."""
    step, _ = toy(0.2)
    quadratic = 0.25
    one = type(step)(np.zeros(1), {1: (np.array([[0]]), np.eye(1)), 2: (np.array([[0, 0]]), np.array([[quadratic]]))})
    kappas = [HistorySystem(one, np.ones(1), 2, t, scale=1.0).condition().kappa for t in (50, 100, 200)]
    assert np.log2(np.divide(kappas[1:], kappas[:-1])) == pytest.approx([2, 2], abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("case", scaling_n.CASES)
@pytest.mark.parametrize(
    ("structure", "n"),
    [
        *(("chain", n) for n in (6, 16, 32)),
        *(("blocks", n) for n in (8, 16, 32)),
        *((name, n) for name in ("low rank", "dense") for n in (8, 14)),
    ],
)
def test_access_by_structure_is_that_of_the_matrix_written_down(case, structure, n):
    step = scaling_n.turned(scaling_n.base(structure, case, n), scaling_n.turn(structure, n))
    history = HistorySystem(step, np.zeros(n), 2, 2, scale=scaling_n.SCALE, basis="kronecker")
    parts, matrix = scaling_n.parts_of(structure, case, n), history.matrix()
    assert (parts.access.rows, parts.access.columns) == history.sparsity()
    largest = np.abs(matrix.data).max()
    assert largest <= parts.access.largest * (1 + 1e-12) <= 1.01 * largest
    norm = np.linalg.norm(matrix.toarray(), 2) if n < 20 else 2.0
    assert parts.access.alpha >= norm and parts.factors >= norm * (1 - 1e-12)
    first, second = step.matrix(1).toarray(), scaling_n.SCALE * step.matrix(2).toarray()
    assert parts.first >= np.linalg.norm(first, 2) * (1 - 1e-12)
    assert parts.second >= np.linalg.norm(second, 2) * (1 - 1e-12)


@pytest.mark.parametrize("case", scaling_n.CASES)
@pytest.mark.parametrize("structure", ["blocks", "low rank", "dense"])
def test_turning_the_coordinates_leaves_singular_values_and_success(case, structure):
    turned = scaling_n.turned(scaling_n.base(structure, case, 8), scaling_n.turn(structure, 8))
    at = (structure, 6) if structure == "low rank" else (structure, 8)  # beyond four curved directions nothing changes
    found = scaling_n.condition(turned, 4)
    np.testing.assert_allclose(found, scaling_n.condition(scaling_n.base(at[0], case, at[1]), 4), rtol=1e-9)
    growth = np.abs(np.linalg.eigvalsh(turned.matrix(1).toarray())).max()
    assert growth == pytest.approx(1 + 1 / scaling_n.STEPS if case == scaling_n.ALMOST else growth) and growth < 1.06


@pytest.mark.slow
def test_kappa_by_a_short_recurrence_is_that_by_singular_values():
    step = scaling_n.base("chain", scaling_n.FULLY, 10)
    history = HistorySystem(step, np.zeros(10), 2, 7, scale=scaling_n.SCALE, basis="kronecker")
    exact = history.condition("dense")
    top, bottom, _ = scaling_n.condition(step, 7)
    assert history.shape[0] > 1500 and (top, bottom) == pytest.approx((exact.sigma_max, exact.sigma_min), rel=1e-4)


def test_with_n_the_ideal_condition_number_is_flat_and_sparse_access_is_not(measured):
    pytest.importorskip("torch")
    result = measured("scaling_n")
    slopes = {name: fit["slope"] for name, fit in result["exponents"].items()}
    for case in scaling_n.CASES:
        for structure in scaling_n.STRUCTURES:
            assert abs(slopes[f"{case}, {structure}, ideal"]) < 0.05
        for structure, slope in (("chain", 0.5), ("low rank", 2), ("dense", 2), ("pruned network", 2)):
            assert slopes[f"{case}, {structure}, access"] == pytest.approx(slope, abs=0.15)
        for structure in ("chain", "blocks", "low rank"):
            assert abs(slopes[f"{case}, {structure}, factors"]) < 0.05
        assert slopes[f"{case}, dense, factors"] > 0.5 < slopes[f"{case}, pruned network, factors"]
    for row in result["rows"]:
        # queries are linear in what is charged for
        ratio = row["queries_access"] / row["queries_ideal"]
        assert ratio == pytest.approx(row["kappa_access"] / row["kappa_ideal"], rel=0.1)
    nets = [r for r in result["rows"] if r["structure"] == "pruned network"]
    assert all(r["growth"] < 1 for r in nets if r["case"] == scaling_n.FULLY)
    assert all(r["growth"] == pytest.approx(1 + 1 / 20) for r in nets if r["case"] == scaling_n.ALMOST)
    assert EXPERIMENTS["scaling_n"].draw(result).startswith(b"\x89PNG") and "survivors" in result["findings"][5]


def test_a_contracting_output_is_lost_as_its_norm_squared(measured):
    """Levels are u and u (x) u exactly: P = (T + 1) a_T/sum_t w_t (a_t + a_t^2), a_t = 2^-t a_0, w_T = T + 1."""
    result = measured("decay")
    for row in (r for r in result["rows"] if r["case"] == decay.FREE):
        step, start = decay.contraction(decay.FREE)
        t = np.arange(row["steps"] + 1)
        a = 0.25 * 2.0**-t / HistorySystem(step, start, 2, row["steps"]).scale ** 2
        weights = np.where(t == row["steps"], row["steps"] + 1, 1)
        chance = (row["steps"] + 1) * a[-1] / (weights * (a + a**2)).sum()
        assert row["success"] == pytest.approx(chance, rel=1e-9)
        assert row["times_power"] == pytest.approx(row["success"] * 2 ** row["steps"])
    assert result["rates"]["no force, error"]["slope"] == pytest.approx(0.5, abs=0.04)
    assert abs(result["rates"]["force, error"]["slope"]) < 0.1
    for row in result["rows"]:
        assert row["error"] == pytest.approx(row["expected_error"], rel=0.35)  # of 40 repeats of three numbers
        assert row["runs_amplified"] == pytest.approx(1.38 / np.sqrt(row["success"]), rel=0.2)
    driven = [r["success"] for r in result["rows"] if r["case"] == decay.DRIVEN]
    assert min(driven) > 0.2 and driven[-1] > 0.6 * driven[0]


def test_findings_of_spectra_say_what_the_numbers_say():
    """Two modes, +1 and -1, at eta = 0.1: the proxy falls until the growing one weighs more, and an upload restarts."""
    course = [exact_spectrum(np.array([1.0, 1.0, -1.0]))] * 4
    made = {
        "steps": [0, 5, 40, 60],
        "uploads": [0],
        "positive": [2 / 3],
        "negative": [1 / 3],
        "proxy": {"running": {"values": [0.9, 0.8, 2.0, 14.0]}},
        "accuracy": [0.5] * 4,
        "zeros": [0.9] * 4,
        "dips": [{"step": 40, "before": 0.9, "after": 0.5, "recovered": 0.8}],
    }
    text = " ".join(spectra._findings(made, 3, course, 0.1))
    assert "2 times the negative" in text and "least 0.8000 after 5 steps" in text
    assert "training accuracy 0.900, 0.500 right after, 0.800 later" in text
    assert f"{(13.2 / 1.2) ** (1 / 20) - 1:.1%} a step (eta |l_min| there: 10.0%, 10.0%)" in text


@torch_warning
@pytest.mark.slow
def test_pruning_is_undone_and_restored_along_training(measured):
    pytest.importorskip("torch")
    assert EXPERIMENTS["spectra"].draw(measured("spectra")).startswith(b"\x89PNG")
    result = measured("spectra")["runs"][0]
    steps, zeros = np.array(result["steps"]), np.array(result["zeros"])
    running = np.array(result["proxy"]["running"]["values"])
    for upload in result["uploads"]:
        block = np.flatnonzero((steps >= upload) & (steps < upload + result["size"]["every"]))
        assert zeros[block[0]] > 0.7 > 0.2 > zeros[block[1]]
        assert running[block[0]] < 1 and running[block[1]] < running[block[0]]
    assert result["positive"][0] > result["negative"][0]


@torch_warning
@pytest.mark.slow
def test_the_authors_networks_are_measured_in_pieces_that_are_kept(tmp_path):
    pytest.importorskip("torch")
    experiment = EXPERIMENTS["full_size"]
    result = experiment.kept(tmp_path / "runs")(True, 0, lambda done, total, what: None)
    assert [r["case"] for r in result["runs"]] == [full_size.START, full_size.DENSE, full_size.PLAIN, *full_size.LARGE]
    assert experiment.draw(result).startswith(b"\x89PNG")
    start, dense, plain, *large = result["runs"]
    assert start["zeros"][0] == 0 < 0.8 < dense["zeros"][0] == plain["zeros"][0]
    first = dense["steps"].index(11) + 1  # until the first re-upload both are the same run
    assert dense["width"][:first] == plain["width"][:first] and dense["width"][first:] != plain["width"][first:]
    assert len(dense["dips"]) == len(plain["dips"]) == 2 and large[0]["parameters"] > 10 * dense["parameters"]
    seen = []
    again = experiment.kept(tmp_path / "runs")(True, 0, lambda done, total, what: seen.append(what))
    assert again == result and not seen  # all was there


@torch_warning
@pytest.mark.slow
def test_training_in_the_papers_rhythm_follows_plain_descent(measured):
    pytest.importorskip("torch")
    result = measured("training")
    assert result["reuploads"] == 2 and len(result["blocks"]) == 3
    assert max(result["relative_error"]) < 0.05
    assert result["twin_accuracy"] == pytest.approx(result["accuracy"], abs=0.03)
    assert EXPERIMENTS["training"].draw(result).startswith(b"\x89PNG")
    solved = result["solved"]
    assert [b["by"] for b in solved["blocks"]] == ["solver"] * 2 and {b["by"] for b in result["blocks"]} == {"jets"}
    for b in solved["blocks"]:
        assert 1e-6 < b["residual"] < 1e-3 and 1e-6 < b["solver_error"] < 5e-3 and b["cost"]["kappa_by"] == "lanczos"
    assert max(solved["update_error"]) < 0.05 and solved["accuracy"] == pytest.approx(solved["twin_accuracy"], abs=0.03)
    assert "solver's polynomial" in result["findings"][0] and "Taylor jets" in result["findings"][1]


@torch_warning
@pytest.mark.slow
def test_verdicts_are_the_steps_that_plain_descent_measures(measured):
    pytest.importorskip("torch")
    result = measured("verdicts")
    assert EXPERIMENTS["verdicts"].draw(result).startswith(b"\x89PNG") and len(result["rows"]) == 3
    assert all(row["verdict"] / 1.5 <= row["measured"] <= 1.5 * row["verdict"] for row in result["rows"])
    assert any(row["proxy"] > 1.5 * row["measured"] for row in result["rows"])  # what the proxy alone would allow
    for row in result["criteria"]:
        assert row["steps"]["geometric"] <= row["steps"]["by level"] <= row["measured"]


@torch_warning
@pytest.mark.slow
def test_accuracy_dips_at_an_upload_only_where_all_parameters_moved(measured):
    pytest.importorskip("torch")
    result = measured("dips")
    assert EXPERIMENTS["dips"].draw(result).startswith(b"\x89PNG")
    rows = result["rows"]
    assert {(r["how"], r["masked"], r["dense_steps"]) for r in rows if r["data"] == "digits"} == {
        (how, masked, dense)
        for how in ("linear system", "plain descent")
        for masked in (True, False)
        for dense in (0, 10)
    }
    for row in rows:
        pruned = row["masked"] and not row["dense_steps"]
        assert not pruned or row["train_dip"] == [0.0] * len(row["train_dip"])  # the same survive
        for part in ("train", "test"):
            before, after, end = np.transpose(row[part])
            assert row[f"{part}_dip"] == pytest.approx((before - after)[1:])
            assert row[f"{part}_left"] == pytest.approx((before - end)[1:])
            if pruned or not row["dense_steps"]:
                assert np.array_equal(before[1:], end[:-1])
        if row["how"] == "linear system":
            assert max(row["update_error"]) < 0.01 and row["diverged"] is None
            assert np.allclose(row["train"], row["twin_train"], atol=0.02)
    solved = [r for r in rows if r["network"] == "logistic"]
    assert solved and all(r["emulation"] == ["solver's polynomial applied, queries counted"] for r in solved)
    open_row = next(r for r in rows if r["how"] == "plain descent" and not r["masked"] and not r["dense_steps"])
    assert min(open_row["train_dip"]) > 0.02
    widths = open_row["width"]
    for moment in ("pruned", "downloaded"):  # a part of a symmetric matrix is no wider than the whole
        part, whole = widths[f"survivors, {moment}"], widths[f"all, {moment}"]
        assert np.all(np.array(part["greatest"]) <= np.array(whole["greatest"]) + 1e-3)
        assert np.all(np.array(part["least"]) >= np.array(whole["least"]) - 1e-3)


@pytest.mark.parametrize("structure", scaling_n.STRUCTURES[1:3])
def test_the_recurrence_for_a_norm_is_scipys_eigenvalue(structure):
    from scipy.sparse.linalg import LinearOperator, eigsh

    step = scaling_n.base(structure, "almost dissipative", 8)
    history = HistorySystem(step, np.zeros(8), 2, 6, scale=scaling_n.SCALE, basis="kronecker")
    size = history.shape[0]

    def product(v):
        return history.rmatvec(history.matvec(np.ravel(v)))

    exact = eigsh(LinearOperator((size, size), matvec=product, dtype=float), k=1, which="LA", tol=1e-10)[0][0]
    assert exact * (1 - 2e-4) <= scaling_n._lanczos(product, size) <= exact * (1 + 1e-9)
