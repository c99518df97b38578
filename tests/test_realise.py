"""Circuits for machines: the same expectations as the programs that they are made of, in the user's own gates."""

import time

import numpy as np
import pytest

import quprop as qpr
from cases import CASES, random_circuit, random_sum, values_for
from quprop.errors import QupropError
from quprop.gradients.pair_state import pair_program
from quprop.model import ansatz
from quprop.model.noise import two_qubit_gates
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.devices.realise import realise
from quprop.sampling.programs import free, read_by_programs

METHODS = {
    "parameter_shift": qpr.ParameterShift(shots=1),
    "direct": qpr.HadamardTest(shots=1),
    "reversed": qpr.HadamardTest(shots=1, mode="reversed"),
    "pair_state": qpr.PairState(shots=1),
    "commuting_blocks": qpr.CommutingBlocks(shots=1),
}
_MOST = 6  # runs of each program that a test looks at


def gates(circuit):
    """Two-qubit gates that a machine runs for a circuit."""
    return sum(map(two_qubit_gates, circuit.operations))


def expectations(program, angles, strings, x):
    """<P_l> right after a program's rotations, (L,), those of NaN left out."""
    padded = np.zeros(program.n_inputs)
    padded[: len(x)] = x
    return qpr.expectation(program._replace(observables=tuple(map(PauliSum, strings))), np.nan_to_num(angles), padded)


def read_out(real, angles):
    """The same from the circuit's outcomes."""
    circuit, measured = real.circuit.circuit, real.circuit.measured
    strings = [
        PauliString(0, sum(1 << q for b, q in enumerate(measured) if int(mask) >> b & 1)) for mask in real.masks
    ]
    model = qpr.Model(circuit, [PauliSum(p) for p in strings])
    return real.signs * qpr.expectation(model, angles[real.columns])


def cases_of_plan(plan, model, theta, x, most=_MOST):
    """(program, angles, strings) of runs of a plan, spread over all of them."""
    a = model.angle_table.evaluate(theta[None], x[None])[0]
    for runs in plan.runs:
        for i in np.unique(np.linspace(0, len(runs) - 1, most).astype(int)).tolist():
            yield runs.program, runs.rows.angles(a, i, i + 1)[0], (runs.own[i] if runs.own else runs.paulis), runs


def check(model, method, seed=0, most=_MOST):
    theta, x = values_for(model, seed=seed)
    try:
        plan = method.compile(model)
    except QupropError:
        return 0
    at, count = read_by_programs(model, x), 0
    for program, angles, strings, runs in cases_of_plan(plan, model, theta, x, most):
        groups = [[p] for p in strings] if runs.mixture else [strings]
        for group in groups:
            real = realise(program, ~np.isnan(angles), group, timeline=model, x=at)
            np.testing.assert_allclose(
                read_out(real, angles), expectations(program, angles, group, at), atol=1e-12, rtol=0
            )
            count += 1
    return count


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_a_circuit_has_the_expectations_of_its_program(name, method):
    check(CASES[name].model, METHODS[method], most=3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(6))
def test_a_circuit_of_random_gates_has_the_expectations_of_its_program(seed, method):
    rng = np.random.default_rng(seed)
    n = 2 + seed % 3
    model = qpr.Model(random_circuit(seed, n, 25), [random_sum(rng, n, 3)])
    check(model, METHODS[method], seed, most=3)
