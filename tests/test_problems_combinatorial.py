"""Costs of bit strings and their QAOA: formulas against direct sums, published angles against what they are known to
reach, and what bad input gets."""

import itertools
import json
import math

import dense
import numpy as np
import pytest
import scipy.linalg

import quprop as qpr
from quprop import problems
from quprop.errors import QupropError
from quprop.gradients.shift_rules import shifts_of
from quprop.model import ansatz
from quprop.problems import combinatorial, labs, maxcut, portfolio, published_angles, sk
from quprop.report import collect
from quprop.report.parts import Fields


def solve(name, **sections):
    return problems.run(problems.configure(name, sections))


def every(n):
    """All bit strings of n bits, (2^n, n); bit q is that of qubit q."""
    return np.arange(1 << n)[:, None] >> np.arange(n) & 1


def diagonal(cost, n):
    """E of all strings from the dense matrices of the terms."""
    return np.diag(dense.sum_matrix(cost, n)).real


# -- costs are what they are called ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 4, 7])
def test_labs_is_the_sum_of_squared_autocorrelations(n):
    s = 1 - 2 * every(n)
    direct = sum((s[:, : n - k] * s[:, k:]).sum(axis=1) ** 2 for k in range(1, n))
    assert np.allclose(diagonal(labs.energy(n), n), direct)
    assert all(p.z.bit_count() in (0, 2, 4) for p, _ in labs.energy(n).items())


def test_sk_is_the_energy_of_the_couplings():
    n, s = 6, 1 - 2 * every(6)
    for kind in sk.COUPLINGS:
        edges = sk.couplings(n, kind, 3)
        direct = -sum(w * s[:, a] * s[:, b] for a, b, w in edges)
        assert np.allclose(diagonal(sk.energy(edges), n), direct) and len(edges) == 15
    drawn = np.array([w for seed in range(200) for *_, w in sk.couplings(9, "gaussian", seed)])
    assert abs(drawn.mean()) < 5 * drawn.std() / math.sqrt(drawn.size) and drawn.var() == pytest.approx(1 / 9, rel=0.1)
    assert {abs(w) for *_, w in sk.couplings(9, "signs", 0)} == {1 / 3}
    assert sk.couplings(5, "gaussian", 0) == sk.couplings(5, "gaussian", 0) != sk.couplings(5, "gaussian", 1)


def test_portfolio_is_the_mean_variance_cost():
    assets, x = portfolio.synthetic(6, 2), every(6)
    direct = 0.7 * np.einsum("bi,ij,bj->b", x, assets.covariance, x) - x @ assets.mu
    assert np.allclose(diagonal(portfolio.energy(assets, 0.7), 6), direct)
    assert np.linalg.eigvalsh(assets.covariance)[0] > 0
    assert (np.sqrt(np.diag(assets.covariance)) > 0.1 - 1e-12).all()


def test_a_cut_is_minus_the_weight_between_two_sides():
    edges, x = [(0, 1, 1.5), (1, 2, -0.5), (0, 3, 2.0)], every(4)
    direct = -sum(w * (x[:, a] ^ x[:, b]) for a, b, w in edges)
    assert np.allclose(diagonal(maxcut.minus_cut(edges), 4), direct)


# -- brute force -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, ones", [(5, None), (5, 2), (13, None), (13, 4), (17, None), (17, 9)])
@pytest.mark.parametrize("even", [False, True])
def test_trying_all_strings_is_the_naive_loop(n, ones, even):
    """Of random sums of odd and even terms, one block of strings and several; the best string has the best cost."""
    rng = np.random.default_rng(n)
    masks = [int(m) for m in rng.integers(1, 1 << n, 40)]
    masks = [m for m in masks if not even or m.bit_count() % 2 == 0]
    cost = qpr.PauliSum({qpr.PauliString(0, m): float(rng.normal()) for m in masks} | {qpr.PauliString(0, 0): 0.5})
    index = np.arange(1 << n)
    values = sum(c * (1.0 - 2.0 * (np.bitwise_count(index & p.z) & 1)) for p, c in cost.items())
    allowed = values if ones is None else values[np.bitwise_count(index) == ones]
    found = combinatorial.extremes(cost, n, ones)
    assert found.lowest == pytest.approx(allowed.min()) and found.highest == pytest.approx(allowed.max())
    assert values[found.at] == pytest.approx(found.lowest) and (ones is None or found.at.bit_count() == ones)
    assert np.allclose(combinatorial.costs(cost, every(n)[:1000]), values[:1000])


def test_labs_has_the_known_lowest_and_highest_energies():
    known = dict(enumerate([1, 2, 2, 7, 3, 8, 12, 13, 5, 10, 6, 19, 15, 24], 3))
    for n, lowest in known.items():
        found = combinatorial.extremes(labs.energy(n), n)
        bits = np.array([found.at >> q & 1 for q in range(n)])
        s = 1 - 2 * bits
        assert found.lowest == lowest == labs.LOWEST[n] == sum((s[: n - k] @ s[k:]) ** 2 for k in range(1, n))
        config = problems.configure("labs", {"problem": {"n": n}, "model": {"layers": 0}})
        reference = problems.PROBLEMS["labs"].build(config).reference
        assert (reference["reference_energy"], reference["highest_energy"]) == (found.lowest, found.highest)
    assert labs.runs(np.array([0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0])) == "5 2 2 1 1 1 1"  # Barker's of 13


@pytest.mark.slow
def test_labs_has_the_known_lowest_energies_as_far_as_all_are_tried():
    for n in range(17, combinatorial.EXACT_BITS + 1):
        assert combinatorial.extremes(labs.energy(n), n).lowest == labs.LOWEST[n]


def test_the_ratio_is_of_costs_of_any_sign():
    known = {"reference_energy": -3.0, "highest_energy": 5.0}
    assert [combinatorial.ratio(e, known) for e in (-3.0, 5.0, 1.0)] == [1.0, 0.0, 0.5]
    assert combinatorial.ratio(1.0, {"reference_energy": 2.0, "highest_energy": 2.0}) is None
    assert combinatorial.ratio(1.0, {"reference_name": "none"}) is None


# -- circuits ----------------------------------------------------------------------------------------------------------


def test_a_dicke_state_is_the_equal_superposition_of_its_strings():
    for n in range(1, 8):
        for ones in range(n + 1):
            state = qpr.state(qpr.Model(ansatz.dicke_state(n, ones), "Z0"), [])
            wanted = (every(n).sum(axis=1) == ones) / math.sqrt(math.comb(n, ones))
            assert abs(np.vdot(wanted, state)) == pytest.approx(1.0, abs=1e-12), (n, ones)


@pytest.mark.parametrize("mixer", ansatz.MIXERS)
@pytest.mark.parametrize("n", [2, 4, 5])
def test_an_xy_mixer_is_its_pairs_one_after_another(mixer, n):
    """Against dense exponentials; the pairs of the ring and of the complete graph, each once."""
    cost = qpr.PauliSum({"Z0": 0.4, "Z0 Z1": -0.7})
    pairs = {frozenset((q, (q + 1) % n)) for q in range(n)}
    pairs = pairs if mixer == "ring" else set(map(frozenset, itertools.combinations(range(n), 2)))
    circuit = ansatz.qaoa_xy(n, cost, 1, 1, mixer)
    rounds = [op for op in circuit.operations if op.name == "exp" and op.angles[0].terms[0][0] and "beta" in repr(op)]
    met = [p for op in rounds for p, _ in op.target.items() if p.z == 0]
    assert sorted(p.x for p in met) == sorted(sum(1 << q for q in pair) for pair in pairs)
    gamma, beta = 0.3, 0.5
    psi = np.asarray(dense.final_state(ansatz.dicke_state(n, 1), ()))
    psi = scipy.linalg.expm(1j * gamma * dense.sum_matrix(cost, n)) @ psi
    for p in met:
        both = dense.sum_matrix(qpr.PauliSum({p: 1.0, qpr.PauliString(p.x, p.x): 1.0}), n)
        psi = scipy.linalg.expm(-0.5j * beta * both) @ psi
    found = qpr.state(qpr.Model(circuit, "Z0"), [gamma, beta])
    assert abs(np.vdot(found, psi)) == pytest.approx(1.0, abs=1e-12)
    assert np.abs(found[every(n).sum(axis=1) != 1]).max() < 1e-12


def test_qaoa_of_a_cost_is_the_product_of_its_exponentials():
    cost, gamma, beta = qpr.PauliSum("Z0 Z1 Z2 - 0.5*Z0 + 2*I"), 0.3, 1.1
    mixer = dense.sum_matrix(qpr.PauliSum("X0 + X1 + X2"), 3)
    psi = np.full(8, 8**-0.5)
    psi = scipy.linalg.expm(-1j * beta * mixer) @ scipy.linalg.expm(1j * gamma * dense.sum_matrix(cost, 3)) @ psi
    found = qpr.state(qpr.Model(ansatz.qaoa(3, cost, 1), "Z0"), [gamma, beta])
    assert abs(np.vdot(found, psi)) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", ["maxcut", "labs", "sk", "portfolio"])
def test_all_rotations_of_a_layer_share_one_driver(name):
    """gamma times numbers for the cost, beta times numbers for the mixer, whatever stands before the first layer."""
    config = problems.configure(name, {"model": {"layers": 3}})
    model = problems.PROBLEMS[name].build(config).model
    assert model.n_params == 6
    drivers = [tuple(mono for mono, _ in r.angle.terms if mono) for r in model.rotations]
    layered = [d[0] for d in drivers if d]
    assert all(len(d) <= 1 for d in drivers) and len(list(itertools.groupby(layered))) == 6


# -- published angles --------------------------------------------------------------------------------------------------

# Shares of edges cut that Wurtz and Lykov guarantee up to 8 layers, arXiv:2107.00677.
GUARANTEED = [0.69245, 0.75591, 0.79232, 0.81673, 0.83638, 0.84989, 0.85962, 0.86723]
# Energies per spin, arXiv:1910.08187 and arXiv:2110.14206.
INFINITE = [0.3033, 0.4075, 0.4726, 0.5157, 0.5476, 0.5721, 0.5915, 0.6073]


def cut_of_trees(gamma, beta, degree):
    """The share of edges cut of a regular graph without cycles that p layers see: Basso et al., section 3, by products
    over subtrees. An edge's phase is exp(i gamma/2 z z')."""
    p = len(gamma)
    size = 2 * p + 1
    a = 1 - 2 * every(size)
    angles = np.concatenate([gamma, [0], -np.array(gamma)[::-1]]) / 2
    turns = np.concatenate([beta, -np.array(beta)[::-1]])
    f = np.full(1 << size, 0.5, complex)
    for k, turn in enumerate(turns):
        f *= np.where(a[:, k] == a[:, k + 1], np.cos(turn), 1j * np.sin(turn))
    phase = a @ angles
    h = np.ones_like(f)
    transform = qpr.model.pauli_algebra.walsh_hadamard
    spectrum = transform(np.cos(phase))
    for _ in range(p):
        h = (transform(transform(f * h) * spectrum) / f.size) ** (degree - 1)
    ends = f * h * a[:, p]
    zz = ends @ transform(transform(ends) * transform(np.exp(1j * phase))) / f.size
    return float((1 + zz.real) / 2)


def energy_of_spins(gamma, beta):
    """The energy per spin of the Sherrington-Kirkpatrick model for n without end: Basso et al., section 4."""
    p = len(gamma)
    a = 1.0 - 2.0 * every(2 * p + 1)
    angles = np.concatenate([gamma, [0], -np.array(gamma)[::-1]])
    turns = np.concatenate([beta, -np.array(beta)[::-1]])
    f = np.full(len(a), 0.5, complex)
    for k, turn in enumerate(turns):
        f *= np.where(a[:, k] == a[:, k + 1], np.cos(turn), 1j * np.sin(turn))
    g = np.zeros((2 * p + 1, 2 * p + 1), complex)
    for _ in range(p + 1):
        weight = f * np.exp(-0.5 * np.einsum("ai,ij,aj->a", a * angles, g, a * angles, optimize=True))
        g = (a * weight[:, None]).T @ a
    return float((0.5j * (angles * g[p] ** 2).sum()).real)


def test_published_angles_of_3_regular_graphs_cut_what_is_guaranteed():
    for layers, share in enumerate(GUARANTEED[:7], 1):
        gamma, beta, _ = published_angles.table("regular_3", layers)
        assert cut_of_trees(gamma, beta, 3) == pytest.approx(share, abs=1.5e-5)
    gamma, beta, _ = published_angles.table("regular_3", 1)
    assert gamma == pytest.approx([math.atan(2**-0.5)], abs=5e-5) and beta == pytest.approx([math.pi / 8], abs=5e-5)


def test_published_angles_of_infinite_size_reach_the_known_energies():
    for layers, energy in enumerate(INFINITE[:6], 1):
        gamma, beta, _ = published_angles.table("infinite", layers)
        assert energy_of_spins(gamma, beta) == pytest.approx(energy, abs=6e-5)
    assert INFINITE[0] == pytest.approx(1 / math.sqrt(4 * math.e), abs=5e-5)


@pytest.mark.slow
def test_published_angles_of_many_layers_reach_the_known_values_and_more_than_with_fewer():
    shares = [cut_of_trees(*published_angles.table("regular_3", p)[:2], 3) for p in (7, 8, 9)]
    assert shares[1] == pytest.approx(GUARANTEED[7], abs=2e-5) and shares[0] < shares[1] < shares[2] < 0.88
    for layers in (7, 8):
        gamma, beta, _ = published_angles.table("infinite", layers)
        assert energy_of_spins(gamma, beta) == pytest.approx(INFINITE[layers - 1], abs=6e-5)


PETERSEN = [edge for q in range(5) for edge in ((q, (q + 1) % 5), (q, q + 5), (q + 5, (q + 2) % 5 + 5))]
HEAWOOD = [(q, (q + 1) % 14) for q in range(14)] + [(q, (q + 5) % 14) for q in range(0, 14, 2)]


@pytest.mark.parametrize("edges, layers", [(PETERSEN, 1), (HEAWOOD, 1), (HEAWOOD, 2)])
@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_the_engine_cuts_what_is_guaranteed_where_cycles_are_long(edges, layers, weight, tmp_path):
    """No cycle has less than 5 edges in Petersen's graph and 6 in Heawood's: exact for one and two layers."""
    file = tmp_path / "graph.txt"
    file.write_text("\n".join(f"{a} {b} {weight}" for a, b in edges))
    model = {"layers": layers, "start": "published"}
    summary = solve("maxcut", problem={"file": str(file)}, model=model, train={"steps": 0})
    share = summary["expected_cut"] / (weight * len(edges))
    assert share == pytest.approx(GUARANTEED[layers - 1], abs=1e-5)
    assert "2107.00677" in summary["start_source"]


def test_published_angles_of_other_graphs_are_exact_for_one_layer_without_triangles():
    """Of a cycle (degree 2), cos beta = pi/8 and tan gamma = 1/sqrt(d - 1) cut 3/4 (Wang et al., 2018)."""
    edges = [(q, (q + 1) % 8, 3.0) for q in range(8)]
    gamma, beta, source = published_angles.of_pairs(maxcut.minus_cut(edges), 1)
    model = qpr.Model(ansatz.qaoa(8, edges, 1), maxcut.minus_cut(edges))
    assert qpr.expectation(model, [*gamma, *beta]) == pytest.approx(-0.75 * 24, abs=1e-3) and "2110.14206" in source


def test_published_angles_are_near_the_energy_of_infinite_size_at_13_spins():
    """And far better than a ramp; finite sizes lie above."""
    found = []
    for seed in range(6):
        cost = sk.energy(sk.couplings(13, "gaussian", seed))
        gamma, beta, _ = published_angles.of_pairs(cost, 3)
        found.append(qpr.expectation(qpr.Model(ansatz.qaoa(13, cost, 3), cost), [*gamma, *beta]) / 13)
    assert np.mean(found) == pytest.approx(-INFINITE[2], abs=0.06)


# Probabilities of the best sequences at 10 and 12 spins, from the data of arXiv:2308.02342.
OF_10 = [0.10768, 0.16758, 0.19082, 0.22012, 0.25432, 0.27115, 0.28281, 0.28652, 0.27326, 0.24605]
OVERLAPS = {(10, p): overlap for p, overlap in enumerate(OF_10, 1)} | {(12, 5): 0.07135, (12, 10): 0.14391}


@pytest.mark.parametrize("n, layers", OVERLAPS)
def test_published_angles_of_labs_find_the_best_sequences_as_often_as_published(n, layers):
    cost = labs.energy(n)
    gamma, beta, _ = published_angles.of_sequences(n, layers)
    p = qpr.probabilities(qpr.Model(ansatz.qaoa(n, cost, layers), cost), [*gamma, *beta])
    best = combinatorial.costs(cost, every(n)) < labs.LOWEST[n] + 0.5
    assert p[best].sum() == pytest.approx(OVERLAPS[n, layers], rel=1e-3)


# -- training ----------------------------------------------------------------------------------------------------------


def test_every_sample_of_a_portfolio_is_a_choice_of_k():
    for mixer in ansatz.MIXERS:
        summary = solve("portfolio", problem={"n": 7, "k": 3}, model={"mixer": mixer, "layers": 3}, train={"steps": 30})
        assert summary["feasible_samples"] == 1.0 and summary["energy_error"] > -1e-9
        assert all(row["bits"].count("1") == 3 for row in summary["solutions"]) and len(summary["chosen"]) == 3
        best = summary["solutions"][0]
        assert best["cost"] == pytest.approx(summary["variance_of_return"] - summary["expected_return"]) and best[
            "cost"
        ] == pytest.approx(summary["reference_energy"])


def test_a_noisy_portfolio_says_how_many_samples_are_allowed():
    model = {"layers": 1, "mixer": "ring"}
    train = {"steps": 2, "noise": "superconducting"}
    summary = solve("portfolio", problem={"n": 4, "k": 2}, model=model, train=train)
    assert 0 < summary["feasible_samples"] < 1
    assert all(row["bits"].count("1") == 2 for row in summary["solutions"])


@pytest.mark.parametrize(
    "name, settings", [("labs", {"n": 7}), ("sk", {"n": 7}), ("sk", {"n": 7, "couplings": "signs", "instance": 4})]
)
def test_training_finds_the_best_string(name, settings):
    for start in ("ramp", "published", "random"):
        summary = solve(name, problem=settings, model={"layers": 4, "start": start}, train={"steps": 60})
        energies = [row["cost"] for row in summary["solutions"]]
        assert energies == sorted(energies) and energies[0] == summary["sampled_energy"]
        assert summary["sampled_energy"] == pytest.approx(summary["reference_energy"])
        ends = summary["reference_energy"], summary["highest_energy"]
        assert summary["approximation_ratio"] == pytest.approx((summary["energy"] - ends[1]) / (ends[0] - ends[1]))
        assert 0.6 < summary["approximation_ratio"] <= 1 and 0 < summary["optimal_samples"] <= 1
        assert sum(row["count"] for row in summary["solutions"]) <= summary["shots"]


def test_couplings_come_from_a_file_as_they_are(tmp_path):
    file = tmp_path / "glass.txt"
    file.write_text("a b 1\nb c 1\na c -1\nc d 2.5\n")
    summary = solve("sk", problem={"file": str(file)}, model={"layers": 2})
    assert summary["reference_energy"] == -3.5 and summary["n_qubits"] == 4  # the triangle is frustrated


def test_negative_weights_have_a_ratio_too(tmp_path):
    file = tmp_path / "graph.txt"
    file.write_text("a b -1\nb c -2\nc a 1\n")
    summary = solve("maxcut", problem={"file": str(file)}, model={"layers": 2})
    assert (summary["reference_energy"], summary["highest_energy"]) == (0.0, 3.0)  # the cuts are 0, 0, -1 and -3
    assert 0 <= summary["approximation_ratio"] <= 1


def test_a_graph_beyond_a_state_is_trained_and_says_that_it_has_no_samples(tmp_path):
    file = tmp_path / "graph.txt"
    file.write_text("\n".join(f"{a} {(a + 1) % 60}" for a in range(60)))
    model = {"layers": 1, "start": "published"}
    summary = solve("maxcut", problem={"file": str(file)}, model=model, train={"steps": 1})
    assert summary["expected_cut"] == pytest.approx(45, abs=0.1) and "60 qubits" in summary["no_samples"]
    assert "tried up to 26" in summary["reference_name"] and "approximation_ratio" not in summary


def test_shift_rules_of_integer_costs_are_exact():
    """The general rule, of over a hundred frequencies with gaps, against the adjoint method; it takes fewer runs."""
    cost, n = labs.energy(12), 12
    model = qpr.Model(ansatz.qaoa(n, cost, 1), cost)
    theta = [0.013, 0.4]
    exact = qpr.gradient(model, theta).value.ravel()
    found = np.zeros(2)
    angles = model.angle_table.evaluate(np.array([theta]), np.zeros((1, 0)))[0]
    open_ = qpr.params("a", model.n_rotations)
    free = qpr.Circuit(n, np.full((n, 2), 0.5**0.5), params=open_)
    for angle, r in zip(open_, model.rotations, strict=True):
        free.rotation(qpr.PauliString(r.x, r.z), angle)
    free = qpr.Model(free, cost)
    slopes = [r.angle.terms[0] for r in model.rotations]
    for shift in shifts_of(model, list(range(model.n_rotations))):
        for move, weight in zip(shift.shifts, shift.coefficients, strict=True):
            moved = angles.copy()
            moved[list(shift.rotations)] += move * shift.scales
            (mono, slope) = slopes[shift.rotations[0]]
            found[mono[0][1]] += slope * weight * qpr.expectation(free, moved).item()
    assert np.allclose(found, exact)
    runs = sum(len(s.shifts) for s in shifts_of(model, list(range(model.n_rotations))))
    assert runs < 2 * model.n_rotations


# -- on screen and on the page -----------------------------------------------------------------------------------------


def test_the_best_samples_are_shown(quprop, tmp_path):
    out, _ = quprop("train", "labs", "--set", "n=5,layers=2,steps=20", "--out", "labs")
    summary = json.loads((tmp_path / "labs/summary.json").read_text())
    for row in summary["solutions"]:
        assert f"{row['count']:8,}  {row['bits']}" in out
    assert "merit factor of the best sample: 6.25" in out and combinatorial.RATIO in out
    out, _ = quprop("train", "portfolio", "--set", "n=5,k=2,layers=2,steps=20", "--out", "portfolio")
    chosen = json.loads((tmp_path / "portfolio/summary.json").read_text())["chosen"]
    assert f"chosen: {', '.join(chosen)}" in out
    out, _ = quprop("train", "maxcut", "--set", "layers=1,steps=3", "--out", "cut")
    assert "on one side of the best cut: " in out and "best samples" in out


def test_the_best_samples_are_on_the_page(quprop, tmp_path):
    pytest.importorskip("jinja2", reason="the extra report")
    quprop("train", "portfolio", "--set", "n=5,k=2,layers=2,steps=20", "--out", "run", "--quiet")
    from quprop.report import bit_strings, render

    summary = json.loads((tmp_path / "run/summary.json").read_text())
    shown = render(collect([tmp_path / "run"]))
    assert "The best samples" in shown and f"Chosen by the best: {', '.join(summary['chosen'])}." in shown
    assert all(row["bits"] in shown for row in summary["solutions"])
    rows = dict(bit_strings.rows(Fields("summary.json", summary)))
    assert rows["best sampled energy"].raw == summary["sampled_energy"]


# -- bad input ---------------------------------------------------------------------------------------------------------

GOOD = "name,mu,a,b\na,0.1,0.04,0.01\nb,0.2,0.01,0.09\n"

BAD_ASSETS = {
    "columns": ("a,0.1,0.04\nb,0.2,0.01,0.09\n", "asset 1: with 2 assets a line has 4 values.*got 3"),
    "NaN": (GOOD.replace("0.09", "nan"), "asset 2: .*finite numbers, got 'nan'"),
    "word": (GOOD.replace("0.1,", "much,"), "asset 1: .*finite numbers, got 'much'"),
    "asymmetric": (GOOD.replace("b,0.2,0.01", "b,0.2,0.02"), "symmetric, got 0.01 for a b and 0.02 for b a"),
    "negative": (GOOD.replace("0.04", "-0.04"), "no negative eigenvalue, got -0.04"),
    "twice": (GOOD.replace("\nb,", "\na,"), "2 different ones.*got 1"),
    "one": ("a,0.1,0.04\n", "from 2 to 500 assets, got 1"),
    "empty": ("\n", "holds no asset"),
    "bytes": ("\x00" * 4, "asset 1|no text|holds no"),
}


@pytest.mark.parametrize("name", BAD_ASSETS)
def test_bad_assets_are_one_sentence(name, tmp_path):
    text, words = BAD_ASSETS[name]
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(QupropError, match=words) as caught:
        solve("portfolio", problem={"file": str(tmp_path / "a.csv"), "k": 1})
    assert "\n" not in str(caught.value)


def test_assets_are_read_from_both_kinds_of_files(tmp_path):
    (tmp_path / "a.csv").write_text(GOOD)
    np.savez(tmp_path / "a.npz", mu=[0.1, 0.2], covariance=[[0.04, 0.01], [0.01, 0.09]], names=["a", "b"])
    for file in ("a.csv", "a.npz"):
        names, mu, covariance = portfolio.read_assets(tmp_path / file)
        assert names == ["a", "b"] and mu.tolist() == [0.1, 0.2]
        assert covariance.tolist() == [[0.04, 0.01], [0.01, 0.09]]
    summary = solve("portfolio", problem={"file": str(tmp_path / "a.csv"), "k": 1, "q": 2.0}, model={"layers": 1})
    assert (
        summary["reference_energy"] == pytest.approx(min(2 * 0.04 - 0.1, 2 * 0.09 - 0.2)) and summary["n_qubits"] == 2
    )
    np.savez(tmp_path / "b.npz", mu=[0.1, 0.2], covariance=[[0.04, 0.01]])
    np.savez(tmp_path / "c.npz", mu=[0.1, 0.2])
    (tmp_path / "d.npz").write_bytes(b"no zip")
    for file, words in (
        ("b.npz", r"covariance of .*shape \(2, 2\), got \(1, 2\)"),
        ("c.npz", "'covariance' is missing"),
        ("d.npz", "no .npz file"),
        ("e.npz", "cannot be read"),
        ("a.txt", "cannot be read|from a .csv or .npz"),
    ):
        with pytest.raises(QupropError, match=words):
            portfolio.read_assets(tmp_path / file)


BAD = {
    "k": ("portfolio", {"problem": {"n": 4, "k": 5}}, "k must be at most 4, the number of assets, got 5"),
    "labs n": ("labs", {"problem": {"n": 2}}, "problem.n must be at least 3"),
    "sk n": ("sk", {"problem": {"n": 1}}, "problem.n must be at least 2"),
    "couplings": ("sk", {"problem": {"couplings": "gauss"}}, "did you mean 'gaussian'"),
    "mixer": ("portfolio", {"model": {"mixer": "rng"}}, "did you mean 'ring'"),
    "start": ("portfolio", {"model": {"start": "published"}}, "unknown model.start"),
    "layers of labs": ("labs", {"model": {"layers": 11, "start": "published"}}, "1 to 10 layers, got 11"),
    "layers of sk": ("sk", {"model": {"layers": 12, "start": "published"}}, "1 to 11 layers, got 12"),
    "ansatz": ("sk", {"model": {"ansatz": "hardware_efficient", "start": "random"}}, "set ansatz=qaoa without gates"),
    "gates": ("labs", {"model": {"gates": ["h(0)"], "start": "published"}}, "set ansatz=qaoa without gates"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_of_costs_are_one_sentence_before_any_string_is_tried(name, monkeypatch):
    problem, sections, words = BAD[name]
    monkeypatch.setattr(combinatorial, "extremes", lambda *_: pytest.fail("work was done"))
    with pytest.raises(QupropError, match=words) as caught:
        solve(problem, **sections)
    assert "\n" not in str(caught.value)


def test_a_scan_is_refused_before_its_first_point():
    with pytest.raises(QupropError, match="at k = 5: k must be at most 4"):
        problems.scan("portfolio", "k", [2, 5], {"problem": {"n": 4}})


def test_bad_circuits_of_costs_are_one_sentence():
    cost = qpr.PauliSum("Z0 Z1")
    for make, words in (
        (lambda: ansatz.qaoa(2, qpr.PauliSum("X0"), 1), "products of Z on qubits 0 to 1, got X0"),
        (lambda: ansatz.qaoa(1, cost, 1), "products of Z on qubits 0 to 0"),
        (lambda: ansatz.qaoa_xy(2, cost, 1, 3), "from 0 to 2 ones, got 3"),
        (lambda: ansatz.qaoa_xy(2, cost, 1, 1, "star"), "no XY mixer 'star'"),
        (lambda: ansatz.qaoa_xy(2, "Z0", 1, 1), "is a PauliSum"),
        (lambda: published_angles.of_pairs(labs.energy(4), 1), "pairs of spins"),
    ):
        with pytest.raises(QupropError, match=words) as caught:
            make()
        assert "\n" not in str(caught.value)
