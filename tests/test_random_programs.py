"""Every public way to a value or a gradient, over random programs, against dense linear algebra.

`tools/hunt.py` goes on where these seeds end; those that failed there are kept in `kept_seeds.json`.
"""

import json
from functools import lru_cache
from pathlib import Path

import dense
import library_ways  # noqa: F401  adds its own to WAYS
import numpy as np
import pytest
from gradient_ways import OPTIONS, WAYS, near
from random_programs import Case, Exact

import quprop as qpr

KEPT = json.loads((Path(__file__).parent / "kept_seeds.json").read_text())
SEEDS, SLOW = 15, 200
FAST = {
    name: 8 if name.startswith("method_") else 3 for name in WAYS if name.startswith(("method_", "device_"))
} | {  # those that take longer get fewer
    "device_bell_sampling": 1,
    "device_classical_shadows": 1,
    "method_adjoint": 60,
    "method_classical_shadows": 3,
    "method_gentle_sweep": 4,
    "method_pair_state": 4,
    "method_quantum_backprop": 2,
    "cut": 8,
    "jax_function": 1,
    "pennylane_autograd": 2,
    "pennylane_jax": 1,
    "pennylane_jax_jit": 1,
    "pennylane_read": 4,
    "pennylane_torch": 4,
    "qasm_2": 6,
    "qasm_3": 6,
    "qiskit_network": 6,
    "qiskit_read": 6,
    "torch_layer": 3,
}


@lru_cache(maxsize=2 * SEEDS)
def drawn(seed, options):
    return Case(seed, **dict(options))


def first(name):
    """The first seed of a way: each has programs of its own, so that together they see more of them."""
    return 1000 * list(WAYS).index(name)


def ask(name, seeds):
    """Seeds at which the way is wrong, with what it says; how many times it answered."""
    answered, wrong = 0, {}
    for seed in seeds:
        try:
            answered += WAYS[name](drawn(seed, tuple(OPTIONS[name].items()))) is None
        except Exception as fault:
            wrong[seed] = f"{type(fault).__name__}: {fault}"
    return answered, wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
def test_every_way_is_right_or_refuses(name):
    seeds = FAST.get(name, SEEDS)
    answered, wrong = ask(name, range(first(name), first(name) + seeds))
    assert not wrong, f"{name} is wrong at the seeds {list(wrong)}: {wrong}"
    assert answered >= seeds / 4, f"{name} answers {answered} of {seeds} programs: too few for a test"


@pytest.mark.slow
@pytest.mark.parametrize("name", WAYS)
def test_every_way_is_right_or_refuses_at_many_programs(name):
    start = first(name) + FAST.get(name, SEEDS)
    _, wrong = ask(name, range(start, start + int(SLOW * FAST.get(name, SEEDS) / SEEDS)))
    assert not wrong, f"{name} is wrong at the seeds {list(wrong)}: {wrong}"


@pytest.mark.parametrize("name", KEPT)
def test_programs_that_were_answered_wrongly_once_are_no_more(name):
    _, wrong = ask(name, KEPT[name])
    assert not wrong, f"{name} is wrong at the seeds {list(wrong)}: {wrong}"


@pytest.mark.parametrize("seed", range(10))
def test_the_exact_results_are_those_of_dense_matrices_and_of_differences(seed):
    case = Case(seed)
    observables = [qpr.PauliSum(o) for o in case.program.observables]
    for (theta, x, _), exact in zip(case.rows, case.exact, strict=True):
        expected = dense.values(case.circuit, observables, theta, x)
        near("values", exact.values, expected, 1e-14 * exact.roundings * exact.sizes)
        point, h = np.concatenate([theta, x]), 1e-4

        def around(v, point=point, h=h):
            return [Exact(case.program, *np.split(point + s * h * v, [case.program.n_params])) for s in (-1, 1)]

        for i, v in enumerate(np.eye(len(point))):
            ends = around(v)
            reach = (1 + exact.absolute.sum(axis=0)[i]) ** 3
            near("slope", exact.jacobian[:, i], (ends[1].values - ends[0].values) / (2 * h), 1e-6 * reach * exact.sizes)
        ends = around(exact.v)
        reach = (1 + exact.absolute.sum(axis=0) @ np.abs(exact.v)) ** 4 + exact.bending.sum()
        second = (ends[1].jacobian - ends[0].jacobian) / (2 * h)
        near("curvature", exact.hessian_v, second, 1e-6 * reach * exact.sizes[:, None])


def test_a_gradient_that_is_wrong_by_a_millionth_is_noticed(monkeypatch):
    right = qpr.simulate.state_vector.native.NativeEngine.value_and_grad

    def wrong(self, *arguments):
        value, gradient = right(self, *arguments)
        return value, gradient * (1 + 1e-6)

    monkeypatch.setattr(qpr.simulate.state_vector.native.NativeEngine, "value_and_grad", wrong)
    assert len(ask("native", range(SEEDS))[1]) > SEEDS / 3
