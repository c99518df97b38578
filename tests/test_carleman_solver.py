"""Linear-system solvers: the polynomials, the states they make, the queries they take, and two as whole circuits."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse

from quprop.carleman.system.adiabatic import CONSTANTS, schedule, walk
from quprop.carleman.system.circuits import hhl_circuit, qsvt_circuit
from quprop.carleman.system.inverse_polynomial import InversePolynomial, cks_inverse, cks_sizes, optimal_inverse
from quprop.carleman.system.kernel_filter import apply_filter, filter_terms, filter_value
from quprop.carleman.system.linear_system import relative_error
from quprop.carleman.system.qsp_phases import qsp_phases, qsp_response
from quprop.carleman.system.solver import (
    SOLVERS,
    ChildsKothariSomma,
    DiscreteAdiabatic,
    KernelReflection,
    LinearSystem,
    OptimalInverse,
)
from quprop.errors import QupropError


def rotation(rng, n, complex_=False):
    m = rng.normal(size=(n, n)) + (1j * rng.normal(size=(n, n)) if complex_ else 0)
    return np.linalg.qr(m)[0]


def random_system(seed, n, kappa, complex_=False):
    """A, b with singular values spread geometrically over a factor kappa, and the true state."""
    rng = np.random.default_rng(seed)
    values = 3.7 * np.geomspace(1 / kappa, 1, n)
    a = rotation(rng, n, complex_) * values @ rotation(rng, n, complex_)
    b = rng.normal(size=n) + (1j * rng.normal(size=n) if complex_ else 0)
    x = np.linalg.solve(a, b)
    return a, b, x


# --- polynomials


@pytest.mark.parametrize(
    ("kappa", "eps", "cks", "optimal", "reflection", "adiabatic"),
    [(10, 1e-2, 189, 53, 56, 71), (100, 1e-6, 4489, 1451, 1486, 1635), (1000, 1e-6, 51545, 14509, 14855, 16349)],
)
def test_queries_are_the_published_counts(kappa, eps, cks, optimal, reflection, adiabatic):
    assert ChildsKothariSomma().queries(kappa, eps) == cks
    assert OptimalInverse().queries(kappa, eps) == optimal
    # the formulas kappa ln(2 sqrt(2)/eps) and 1.84 kappa + kappa ln(2/eps) are met by whole pairs of queries
    assert abs(KernelReflection(1.0).queries(kappa, eps) - reflection) <= 2
    assert abs(DiscreteAdiabatic().queries(kappa, eps) - adiabatic) <= 3
    assert KernelReflection().queries(kappa, eps) == math.ceil(56 * kappa + 1.05 * kappa * math.log(1 / eps))
    assert DiscreteAdiabatic("bound").queries(kappa, eps) > 2305 * kappa


@pytest.mark.parametrize(("kappa", "eps"), [(3.0, 1e-1), (20.0, 1e-4), (60.0, 1e-8)])
def test_optimal_inverse_meets_its_closed_form_and_equioscillates(kappa, eps):
    p = optimal_inverse(kappa, eps)
    t = len(p.coefficients)
    x = np.cos(np.linspace(0, math.acos(1 / kappa), 50 * t))
    y = (1 + kappa**-2 - 2 * x**2) / (1 - kappa**-2)
    ratio = np.cos(t * np.arccos(np.clip(y, -1, 1))) / np.cosh(t * np.arccosh((1 + kappa**-2) / (1 - kappa**-2)))
    assert np.allclose(x * p(x), 1 - ratio, atol=1e-11)
    assert p.error <= eps * (1 + 1e-4)
    # t + 1 alternations of |x p - 1| with t coefficients: no polynomial of this degree does better (Chebyshev)
    error = x * p(x) - 1
    extremes = error[np.abs(error) > 0.95 * np.abs(error).max()]
    assert 1 + np.count_nonzero(np.diff(np.sign(extremes))) == t + 1


@pytest.mark.parametrize(("kappa", "eps"), [(3.0, 1e-1), (20.0, 1e-4), (100.0, 1e-6)])
def test_cks_is_the_power_formula_cut_off(kappa, eps):
    p, (b, _) = cks_inverse(kappa, eps), cks_sizes(kappa, eps)
    x = np.geomspace(1e-3 / kappa, 1, 200)
    assert np.abs(p(x) - (1 - (1 - x**2) ** b) / x).max() < eps
    assert p.error <= eps
    assert p.peak <= p.weight


@pytest.mark.parametrize("eps", [0.3, 1e-1, 1e-3, 1e-8])
@pytest.mark.parametrize("kappa", [1.0, 1 + 1e-12, 1 + 1e-6, *np.linspace(1.01, 2, 12)])
@pytest.mark.parametrize("make", [optimal_inverse, cks_inverse])
def test_no_value_lies_above_the_peak_and_one_reaches_it(make, kappa, eps):
    p = make(float(kappa), eps)
    x = np.cos(np.linspace(0, np.pi / 2, 400 * (p.degree + 1)))  # 1 is the first
    highest = np.abs(p(x)).max()
    assert highest <= p.peak <= highest * (1 + 2e-5)
    inside = np.append(x[x >= 1 / kappa], 1 / kappa)
    assert np.abs(inside * p(inside) - 1).max() <= eps * (1 + 1e-9) + 1e-13


@pytest.mark.parametrize(
    ("matrix", "rhs", "eps"),
    [
        ([[-0.5, 0], [0, -0.5]], [1, 1], 1e-3),
        ([[0, -0.5], [-0.5, 0]], [1, 1], 1e-3),
        (np.eye(2), [1, 0], 1e-3),
        (np.diag([1, 1 / 1.05]), [1, 0.0], 0.1),
        (np.diag([3.0, -3.0, 3.0 / 1.001]), [1, 2, -1], 1e-2),
        (np.array([[0.6, 0.8], [-0.8, 0.6]]), [0.0, 1], 0.3),
    ],
)
def test_well_conditioned_systems_are_solved(matrix, rhs, eps):
    matrix, rhs = np.asarray(matrix, float), np.asarray(rhs, float)
    right = np.linalg.solve(matrix, rhs)
    for solver in (OptimalInverse(), ChildsKothariSomma()):
        found = solver.solve(LinearSystem.from_matrix(matrix, rhs), eps)
        assert np.linalg.norm(found.state - right / np.linalg.norm(right)) <= eps
        assert np.linalg.norm(found.vector - right) <= eps * np.linalg.norm(right) * 1.1
        assert 0 < found.success <= 1


@pytest.mark.parametrize("make", [optimal_inverse, cks_inverse])
@pytest.mark.parametrize("complex_", [False, True])
def test_products_apply_the_polynomial_to_singular_values(make, complex_):
    a, b, _ = random_system(3, 7, 12.0, complex_)
    system, p = LinearSystem.from_matrix(a, b, norm=4.5), make(15.0, 1e-3)
    encoding = system.scaled()
    applied = p.apply(encoding, b)
    w, s, vh = np.linalg.svd(a / 4.5)
    assert np.allclose(applied, vh.conj().T @ (p(s) * (w.conj().T @ b)), atol=1e-11)
    assert encoding.queries == p.degree


def test_the_filter_keeps_the_kernel_and_damps_the_rest():
    kappa, leak = 8.0, 1e-3
    terms = filter_terms(kappa, leak)
    x = np.linspace(1 / kappa, 1, 4001)
    assert filter_value(np.zeros(1), kappa, terms)[0] == pytest.approx(1, abs=1e-12)
    assert 0.9 * leak / 10 < np.abs(filter_value(x, kappa, terms)).max() <= leak
    assert np.abs(filter_value(x, kappa, terms - 1)).max() > leak
    rng = np.random.default_rng(0)
    values = np.array([0.0, 0.0, 0.13, 0.4, 1.0])
    left, right = rotation(rng, 5), rotation(rng, 5)
    g, v = left * values @ right, rng.normal(size=5)
    filtered = apply_filter(lambda u: g @ u, lambda u: g.T @ u, v, kappa, terms)
    assert np.allclose(filtered, right.T @ (filter_value(values, kappa, terms) * (right @ v)), atol=1e-12)


# --- states


@pytest.mark.slow
@pytest.mark.parametrize(("kappa", "eps", "n"), [(10, 1e-2, 12), (100, 1e-6, 24), (1000, 1e-6, 24), (50, 1e-9, 8)])
@pytest.mark.parametrize("name", SOLVERS)
def test_states_are_within_eps_and_queries_are_the_degree(name, kappa, eps, n):
    a, b, x = random_system(kappa, n, kappa)
    system = LinearSystem.from_matrix(a, b)
    solver = KernelReflection(float(np.linalg.norm(x))) if name == "kernel_reflection" else SOLVERS[name]()
    solution = solver.solve(system, eps)
    assert np.linalg.norm(solution.state - x / np.linalg.norm(x)) <= eps
    assert solution.norm == pytest.approx(np.linalg.norm(x), rel=eps if name in ("optimal", "cks") else 0.01)
    assert 0 < solution.success <= 1
    if name == "adiabatic":  # its filter is longer where less than half of the walk ended in the kernel
        assert solution.queries == solution.info["steps"] + solution.info["degree"]
        assert 0 <= solution.queries - solver.queries(system.kappa, eps) <= 2 * system.kappa
    else:
        assert solution.queries == solution.info["degree"] == solver.queries(system.kappa, eps)


@pytest.mark.parametrize("name", SOLVERS)
def test_complex_systems_and_larger_norms(name):
    a, b, x = random_system(5, 9, 6.0, complex_=True)
    solution = SOLVERS[name]().solve(LinearSystem.from_matrix(scipy.sparse.csr_array(a), b, norm=5.0), 1e-5)
    assert np.linalg.norm(solution.state - x / np.linalg.norm(x)) <= 1e-5
    assert np.linalg.norm(solution.vector - x) <= 0.01 * np.linalg.norm(x)


def test_a_reflection_about_a_wrong_norm_succeeds_less_often():
    a, b, x = random_system(6, 8, 20.0)
    true = float(np.linalg.norm(x))
    for r in (0.5, 1.0, 1.7):
        solution = KernelReflection(r * true).solve(LinearSystem.from_matrix(a, b), 1e-8)
        assert solution.success == pytest.approx(4 * r**2 / (1 + r**2) ** 2, abs=1e-6)
        assert np.linalg.norm(solution.state - x / true) <= 1e-8 * math.sqrt((1 + r**-2) / 2)


def test_the_walk_is_the_qubitised_one():
    rng = np.random.default_rng(1)
    n, f = 3, 0.6
    a, b = random_system(2, n, 5.0)[0] / 3.7, rng.normal(size=n)
    b /= np.linalg.norm(b)
    k = np.block([[(1 - f) * np.eye(n), f * a], [f * a.T, -(1 - f) * np.eye(n)]])
    q = np.eye(2 * n)
    q[:n, :n] -= np.outer(b, b)
    zero = np.zeros((2 * n, 2 * n))
    h = np.block([[zero, k @ q], [q @ k, zero]])
    r = scipy.linalg.sqrtm(np.eye(4 * n) - h @ h).real
    w = np.block([[h, r], [-r, h]])
    assert np.allclose(w @ w.T, np.eye(8 * n), atol=1e-7)
    start = np.zeros(8 * n)
    start[:n] = b
    for steps in (2, 4, 6):
        wanted = np.linalg.matrix_power(w, steps) @ start
        assert np.allclose(walk(a, b, np.full(steps, f)), wanted[: 2 * n], atol=1e-7)


def test_the_adiabatic_error_falls_as_kappa_over_steps():
    kappa = 10.0
    a, b, x = random_system(4, 4, kappa)
    b, kernel = b / np.linalg.norm(b), np.concatenate([np.zeros(4), x / np.linalg.norm(x)])

    def error(steps):
        walked = walk(a / 3.7, b, schedule(np.arange(steps) / steps, kappa))
        return math.sqrt(1 - np.vdot(kernel, walked) ** 2)

    errors = [np.sqrt(np.mean([error(s + extra) ** 2 for extra in range(0, 20, 2)])) for s in (100, 200, 400)]
    slope = np.polyfit(np.log([100, 200, 400]), np.log(errors), 1)[0]
    assert -1.3 < slope < -0.7
    assert error(400) < 0.1


def test_the_observed_constant_leaves_about_half_in_the_kernel():
    overlaps = []
    for seed in range(12):
        a, b, _ = random_system(seed, 8, 30.0)
        overlaps.append(DiscreteAdiabatic().solve(LinearSystem.from_matrix(a, b), 1e-2).info["overlap"] ** 2)
    assert CONSTANTS["observed"] == 1.84
    assert 0.3 < np.mean(overlaps) < 0.9


def test_the_history_of_a_lifted_map_of_two_levels():
    """20 steps and 20 idle copies of y' = M y, M = [[G1, G2], [0, G1 x G1]] with ||M|| near 0.95, three unknowns."""
    rng = np.random.default_rng(0)
    turn = rotation(rng, 3)
    g1, g2 = turn @ np.diag([0.95, 0.9, 0.8]) @ turn.T, 0.002 * rng.normal(size=(3, 9))
    m = np.block([[g1, g2], [np.zeros((9, 3)), np.kron(g1, g1)]])
    times, idle = 20, 20
    blocks = times + idle + 1
    below = [scipy.sparse.csr_array(m)] * times + [scipy.sparse.eye_array(12, format="csr")] * idle
    history = scipy.sparse.eye_array(12 * blocks, format="lil")
    for t, block in enumerate(below):
        history[12 * (t + 1) : 12 * (t + 2), 12 * t : 12 * (t + 1)] = -block.toarray()
    history = scipy.sparse.csr_array(history)
    u = np.array([0.5, -0.2, 0.4])
    y = np.concatenate([u, np.kron(u, u)])
    rhs = np.zeros(12 * blocks)
    rhs[:12] = y
    system = LinearSystem.from_matrix(history, rhs)
    assert system.kappa == pytest.approx(38.7, abs=0.5)
    marched = [y]
    for _ in range(times):
        marched.append(m @ marched[-1])
    exact = np.concatenate([*marched, *[marched[-1]] * idle])
    exact /= np.linalg.norm(exact)
    for eps in (1e-2, 1e-4, 1e-8):
        for solver in (OptimalInverse(), ChildsKothariSomma()):
            assert np.linalg.norm(solver.solve(system, eps).state - exact) <= eps
    assert [OptimalInverse().queries(38.7, eps) for eps in (1e-2, 1e-4, 1e-8)] == [205, 383, 739]
    counts = [ChildsKothariSomma().queries(38.7, eps) for eps in (1e-2, 1e-4, 1e-8)]
    assert np.abs(np.subtract(counts, [875, 1259, 2001])).max() <= 2  # read at a rounded 38.7


def test_states_are_eps_apart_where_vectors_are_relative_error_apart():
    for eps in (1e-3, 0.1, 0.9):
        angle = math.asin(relative_error(eps))
        assert 2 * math.sin(angle / 2) == pytest.approx(eps)


# --- circuits


@pytest.mark.parametrize(
    "coefficients", [[0, 0.5], [0.2, 0, 0.3, 0, -0.25], [0, 0.4, 0, -0.3, 0, 0.2], [0.0, 0.0, 0.9], [0, 0, 0, 0.95]]
)
def test_phases_answer_with_the_polynomial(coefficients):
    x = np.linspace(-1, 1, 101)
    phases = qsp_phases(coefficients)
    assert np.allclose(phases, phases[::-1])
    assert np.allclose(qsp_response(phases, x).real, np.polynomial.chebyshev.chebval(x, coefficients), atol=1e-11)


# Phases of pyqsp 0.2.0, `sym_qsp_opt.newton_solver(coefficients of one parity, parity)[3].full_phases`
PYQSP = {
    (0, 0.4, 0, -0.3, 0, 0.2): [
        0.1083607046824141,
        -0.16645868494033625,
        0.21044430726562094,
        0.21044430726562094,
        -0.16645868494033625,
        0.1083607046824141,
    ],
    (0.2, 0, 0.3, 0, -0.25): [
        -0.1324410587246828,
        0.15256283969689727,
        0.21243669319764968,
        0.15256283969689727,
        -0.1324410587246828,
    ],
}


def of_pyqsp(theirs):
    """Their phases have the polynomial as imaginary part, ours as real part."""
    out = -np.asarray(theirs)
    out[[0, -1]] += np.pi / 4
    return out


@pytest.mark.parametrize("coefficients", PYQSP)
def test_phases_are_those_of_pyqsp(coefficients):
    assert np.allclose(qsp_phases(coefficients), of_pyqsp(PYQSP[coefficients]), atol=1e-12)


def test_phases_of_an_inverse_are_those_of_pyqsp():
    newton_solver = pytest.importorskip("pyqsp.sym_qsp_opt").newton_solver
    p = optimal_inverse(4.0, 1e-3)
    full = np.zeros(p.degree + 1)
    full[1::2] = 0.9 / p.peak * p.coefficients
    theirs = newton_solver(full[1::2], 1)[3].full_phases
    assert np.allclose(qsp_phases(full), of_pyqsp(theirs), atol=1e-11)


def test_phases_of_a_long_inverse():
    p = optimal_inverse(20.0, 1e-6)
    full = np.zeros(p.degree + 1)
    full[1::2] = 0.9 / p.peak * p.coefficients
    x = np.linspace(-1, 1, 301)
    assert np.allclose(qsp_response(qsp_phases(full), x).real, 0.9 / p.peak * p(x), atol=1e-11)


@pytest.mark.parametrize("rows", [2, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_transformation_circuit_outputs_what_is_emulated(rows, seed):
    rng = np.random.default_rng(seed)
    a, b, eps = rng.normal(size=(rows, rows)), rng.normal(size=rows), 1e-3
    x = np.linalg.solve(a, b)
    built = qsvt_circuit(a, b, eps)
    outcome = built.run()
    emulated = OptimalInverse().solve(LinearSystem.from_matrix(a, b), eps)
    assert np.linalg.norm(outcome.state - emulated.state) < 1e-11
    assert np.linalg.norm(outcome.state - x / np.linalg.norm(x)) <= eps
    assert outcome.success == pytest.approx(emulated.success * 0.9**2, rel=1e-9)
    assert built.queries == emulated.queries
    assert math.sqrt(outcome.success) / built.scale == pytest.approx(np.linalg.norm(x), rel=eps)


def test_hhl_is_exact_where_the_clock_is():
    outcome = hhl_circuit([[1.5, 0.5], [0.5, 1.5]], [1.0, 0.0], clock=3, unit=1.0).run()
    assert np.allclose(outcome.state, [3 / math.sqrt(10), -1 / math.sqrt(10)], atol=1e-12)
    assert outcome.success == pytest.approx(5 / 8, abs=1e-12)  # |(3/4, -1/4)|^2
    turn, b = rotation(np.random.default_rng(3), 4), np.array([0.3, -1.0, 0.0, 2.0])
    a = turn * np.array([1.0, -2, 3, -4]) @ turn.T
    x = np.linalg.solve(a, b)
    built = hhl_circuit(a, b, clock=4, unit=1.0)
    assert np.allclose(built.run().state, x / np.linalg.norm(x), atol=1e-12)
    assert math.sqrt(built.run().success) / built.scale == pytest.approx(np.linalg.norm(x), rel=1e-12)


def test_hhl_comes_closer_with_every_clock_qubit():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 4)), rng.normal(size=4)
    a += a.T
    x = np.linalg.solve(a, b)
    errors = [np.linalg.norm(hhl_circuit(a, b, clock=c).run().state - x / np.linalg.norm(x)) for c in range(3, 11)]
    slope = np.polyfit(range(3, 11), np.log2(errors), 1)[0]
    assert errors[-1] < 0.01
    assert -1.5 < slope < -0.7


# --- the tests can fail, and mistakes are told


def test_a_wrong_sign_is_seen():
    a, b, x = random_system(8, 6, 10.0)
    system, p = LinearSystem.from_matrix(a, b), optimal_inverse(10.0, 1e-4)
    flipped = p.coefficients.copy()
    flipped[3] *= -1
    wrong = InversePolynomial(flipped, p.kappa, p.eps)
    y = wrong.apply(system.scaled(), b)
    assert wrong.error > 1e-2
    assert np.linalg.norm(y / np.linalg.norm(y) - x / np.linalg.norm(x)) > 1e-2
    phases = qsp_phases([0, 0.4, 0, -0.3])
    phases[1] *= -1
    xs = np.linspace(-1, 1, 11)
    assert np.abs(qsp_response(phases, xs).real - np.polynomial.chebyshev.chebval(xs, [0, 0.4, 0, -0.3])).max() > 1e-2


def test_bad_systems_get_one_sentence():
    a, b, _ = random_system(9, 4, 5.0)
    good = LinearSystem.from_matrix(a, b)

    def fields(**change):
        names = ("matvec", "rmatvec", "rhs", "shape", "norm", "kappa")
        return {**{name: getattr(good, name) for name in names}, **change}

    for change, word in [
        ({"matvec": a}, "function"),
        ({"shape": (4, 3)}, "square"),
        ({"rhs": np.zeros(4)}, "zero"),
        ({"rhs": np.ones(3)}, "shape"),
        ({"norm": 0.0}, "norm"),
        ({"kappa": 0.5}, "kappa"),
    ]:
        with pytest.raises(QupropError, match=word):
            LinearSystem(**fields(**change))
    with pytest.raises(QupropError, match="adjoint"):
        OptimalInverse().solve(LinearSystem(**fields(rmatvec=good.matvec)), 1e-3)
    for solver in (OptimalInverse(), ChildsKothariSomma(), KernelReflection()):
        with pytest.raises(QupropError, match="norm"):
            solver.solve(LinearSystem(**fields(norm=good.norm / 3)), 1e-3)
    with pytest.raises(QupropError, match="kappa"):
        OptimalInverse().solve(LinearSystem(**fields(kappa=1.5)), 1e-4)
    with pytest.raises(QupropError, match="invertible"):
        LinearSystem.from_matrix(np.ones((2, 2)), [1.0, 0.0])
    with pytest.raises(QupropError, match="at least"):
        LinearSystem.from_matrix(np.eye(2), [1.0, 0.0], norm=0.5)


def test_bad_settings_get_one_sentence():
    for eps in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(QupropError, match="eps"):
            OptimalInverse().queries(10.0, eps)
    for name in SOLVERS:
        with pytest.raises(QupropError, match="kappa"):
            SOLVERS[name]().queries(0.5, 1e-3)
    with pytest.raises(QupropError, match="did you mean 'observed'"):
        DiscreteAdiabatic("observd")
    a, b, _ = random_system(9, 4, 5.0)
    with pytest.raises(QupropError, match="solution_norm"):
        KernelReflection(1e9).solve(LinearSystem.from_matrix(a, b), 1e-3)
    with pytest.raises(QupropError, match="degree"):
        cks_inverse(1e7, 1e-3)
    with pytest.raises(QupropError, match="emulated"):
        DiscreteAdiabatic("rigorous").solve(LinearSystem.from_matrix(a, b), 1e-3)
    for coefficients, word in [([0.1, 0.2], "odd or even"), ([0, 1.2], "below 1"), ([0.3], "degree")]:
        with pytest.raises(QupropError, match=word):
            qsp_phases(coefficients)
    for matrix, rhs, word in [
        (np.eye(3), np.ones(3), "rows"),
        (np.eye(2), np.ones(3), "shape"),
        (np.ones((2, 2)), np.ones(2), "invertible"),
    ]:
        with pytest.raises(QupropError, match=word):
            qsvt_circuit(matrix, rhs, 1e-2)
    with pytest.raises(QupropError, match="symmetric"):
        hhl_circuit([[1, 2], [3, 4]], [1, 0])
    with pytest.raises(QupropError, match="unit"):
        hhl_circuit([[1, 0], [0, 4]], [1, 0], clock=3, unit=1.0)
