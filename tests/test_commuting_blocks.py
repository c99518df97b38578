"""Commuting blocks: one circuit a block and term reads all components of the block."""

import numpy as np
import pytest
from cases import CASES, values_for
from linear_identity import assert_spread, exact_gradient
from tolerances import assert_close

import quprop as qpr
from quprop import QupropError
from quprop.gradients import CommutingBlocks, PairState, ParameterShift, gradient
from quprop.model import ansatz
from quprop.structure.blocks import find_blocks


def _two_blocks(observable):
    """Three commuting generators, then three that anticommute with each of them."""
    theta = qpr.params("theta", 6)
    circuit = qpr.Circuit(4).ry(0.3, 1).rx(1.1, 3)
    for k, p in enumerate(["X0", "X0 X1", "X0 Z3", "Z0", "Z0 X1", "Z0 Z3"]):
        circuit.rotation(p, theta[k])
    return qpr.Model(circuit, observable)


MODELS = {name: case.model for name, case in CASES.items() if find_blocks(case.model).why_not is None} | {
    "two_blocks": _two_blocks("Y0 Y1 + 0.5*Z3 X0 - 0.3*Z0 Z1 Z2")
}


@pytest.mark.parametrize("name", MODELS)
def test_the_strings_read_have_the_gradient_as_their_expectations(name):
    model = MODELS[name]
    theta, x = values_for(model, seed=5)
    w = np.arange(1, model.n_observables + 1) / 2
    plan = CommutingBlocks(shots=1).compile(model, w)
    assert_close(exact_gradient(plan, theta, x, w), gradient(model, theta, x, weights=w).value, 4000)


@pytest.mark.parametrize("name", MODELS)
def test_estimates_are_near_and_cost_what_was_claimed(name):
    model = MODELS[name]
    theta, x = values_for(model, seed=5)
    w = np.arange(1, model.n_observables + 1) / 2
    plan = CommutingBlocks(shots=3000).compile(model, w, at=(theta, x))
    found = plan.estimate(theta, x, 2)
    assert found.cost == plan.cost
    assert_spread(found.value, gradient(model, theta, x, weights=w).value, found.stderr)


def test_a_term_takes_one_circuit_a_block():
    model = _two_blocks("Y0 Y1")
    blocks = find_blocks(model)
    plan = CommutingBlocks(shots=10).compile(model)
    assert blocks.n_blocks == 2 and len(plan.runs) == 2
    assert "2 commuting blocks of 6 trained rotations" in str(plan)
    assert plan.cost.measurements == 20


def test_components_of_a_block_are_free():
    """Ten times the generators, the same number of runs: where parameter shift takes 2M."""
    runs = {}
    for n in (3, 10):
        model = qpr.Model(ansatz.commuting_generator(n), "Z0")
        runs[n] = CommutingBlocks(precision=0.1).compile(model).cost.measurements
        assert runs[n] == 100
    shift = ParameterShift(precision=0.1).compile(model).cost.measurements
    assert shift == model.n_rotations * 100
    assert PairState(precision=0.1).compile(model).cost.measurements == 100


def test_a_model_without_blocks_is_refused_with_the_reason():
    model = CASES["hardware_efficient"].model
    with pytest.raises(
        QupropError, match=r"commuting_blocks does not serve this model, .*anticommutes with"
    ) as refused:
        CommutingBlocks(shots=10).compile(model)
    assert "pair_state serve any model" in str(refused.value)
