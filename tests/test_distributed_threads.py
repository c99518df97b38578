"""One state over ranks, these being threads of this process: every part of it but MPI itself."""

import numpy as np
import pytest
import ranks_program
from cases import random_model, random_sum, values_for
from thread_ranks import together

import quprop as qpr
from quprop.simulate.distributed.engine import DistributedEngine
from quprop.simulate.distributed.settings import Distributed
from quprop.simulate.distributed.traffic import traffic


def on(size, job, precision="double", **settings):
    """The same call on each rank; what they give is equal to the last bit."""
    found = together(size, lambda ranks: job(DistributedEngine(Distributed(**settings), precision, 1, ranks)))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    return found[0]


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("seed", range(5))  # every kind of input state
def test_values_and_gradients_are_those_of_one_process(size, seed):
    model = ranks_program.model_of(seed)
    found = on(size, lambda engine: ranks_program.everything(model, seed, engine), chunk=4096)
    assert ranks_program.apart(found, ranks_program.everything(model, seed, "native")) < 1e-13


@pytest.mark.parametrize(("size", "per_state", "rows"), [(4, None, 3), (4, 2, 5), (8, 4, 1), (2, 1, 2), (8, None, 16)])
def test_groups_of_ranks_share_a_batch(size, per_state, rows):
    model = ranks_program.model_of(3)
    found = on(size, lambda e: ranks_program.everything(model, 1, e, batch=rows), ranks_per_state=per_state)
    assert ranks_program.apart(found, ranks_program.everything(model, 1, "native", batch=rows)) < 1e-13


def test_half_angles_beyond_a_quarter_turn_carry_their_strings_from_stretch_to_stretch():
    model = random_model(11, 12, 50)
    theta = 40 * values_for(model, None, 2)[0]
    w = np.ones(model.n_observables)
    found = on(4, lambda e: list(qpr.value_and_grad(model, theta, weights=w, engine=e)))
    expected = list(qpr.value_and_grad(model, theta, weights=w))
    assert ranks_program.apart(found, expected) < 1e-12


def test_what_a_rank_does_first_does_not_change_the_numbers(monkeypatch):
    from quprop.simulate.distributed import part

    model = ranks_program.circuits(14)["hardware-efficient"]
    theta, w = values_for(model, None, 1)[0], np.ones(model.n_observables)
    early, seen = part._early, []
    monkeypatch.setattr(part, "_early", lambda *masks: seen.append(early(*masks)) or seen[-1])
    found = on(4, lambda e: list(qpr.value_and_grad(model, theta, weights=w, engine=e)), chunk=4096)
    assert max(e.sum() for e in seen) >= part._WORTHWHILE, "no stretch has rotations that come first"
    monkeypatch.setattr(part, "_WORTHWHILE", 10**9)
    plain = on(4, lambda e: list(qpr.value_and_grad(model, theta, weights=w, engine=e)), chunk=4096)
    assert ranks_program.apart(found, plain) < 1e-14


@pytest.mark.parametrize("size", [2, 4])
def test_strings_that_no_layout_makes_local_read_other_ranks(size):
    model = random_model(5, 12, 30)
    rng = np.random.default_rng(2)
    model = model.with_observables([random_sum(rng, 12, 200), random_sum(rng, 12, 5), {"Z0": 1.0}])
    assert traffic(model, size).swaps == size
    found = on(size, lambda engine: ranks_program.everything(model, 5, engine), chunk=4096)
    assert ranks_program.apart(found, ranks_program.everything(model, 5, "native")) < 1e-13


def test_a_pullback_can_be_asked_again_and_after_other_calls():
    model = ranks_program.model_of(1)
    theta, x = values_for(model, None, 1)
    x = x if model.n_inputs else None
    w = np.arange(1.0, 1 + model.n_observables)

    def twice(engine):
        pullback = qpr.vjp(model, theta, x, engine=engine)[1]
        other = qpr.vjp(model, 2 * theta, x, engine=engine)[1]
        return [pullback(w)[0], other(w)[0], pullback(2 * w)[0]]

    a, b, c = on(2, twice)
    np.testing.assert_allclose(c, 2 * a, atol=1e-13)
    np.testing.assert_allclose(b, qpr.vjp(model, 2 * theta, x)[1](w)[0], atol=1e-13)


def test_large_and_small_weights_lose_nothing():
    model = ranks_program.model_of(1)
    theta, x = values_for(model, None, 1)
    x = x if model.n_inputs else None
    for size in (1e-290, 1e300):
        w = np.full(model.n_observables, size)
        found = on(2, lambda e, w=w: list(qpr.value_and_grad(model, theta, x, weights=w, engine=e)), "single")
        expected = qpr.value_and_grad(model, theta, x, weights=w)
        np.testing.assert_allclose(found[1] / size, expected[1] / size, atol=2e-5)
