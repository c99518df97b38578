"""All that an engine says of a model, and that two say the same."""

import cases
import numpy as np
from tolerances import assert_close

import quprop as qpr
from quprop.simulate.state_vector.native import ISAS, NativeEngine, load_kernels


def _available(isa):
    try:
        load_kernels(isa)
    except qpr.QupropError:
        return False
    return True


HERE = [isa for isa in ISAS if _available(isa)]  # that were built and run on this processor


def arguments(model, batch, seed=0, shared_theta=False):
    """theta, x, cotangent and directions, as the public functions would hand them to an engine."""
    theta, x = cases.values_for(model, batch, seed)
    v_theta, v_x = cases.values_for(model, batch, seed + 1)
    cotangent = np.random.default_rng(seed + 2).normal(size=(batch, model.n_observables))
    if not model.n_inputs:
        x, v_x = x[:1], v_x[:1]
    if shared_theta and model.n_inputs:
        theta, v_theta = theta[:1], v_theta[:1]
    return theta, x, cotangent, v_theta / 3, v_x / 3


def results(eng, model, theta, x, cotangent, v_theta, v_x):
    """Everything an engine can say of a model, by name."""
    values, pullback = eng.vjp(model, theta, x)
    d_theta, d_x = pullback(cotangent)
    h = eng.hvp(model, theta, x, cotangent, v_theta, v_x)
    out = {"values": values, "d_theta": d_theta, "d_x": d_x, "forward only": eng.values(model, theta, x)}
    out |= dict(zip(("hvp d_theta", "hvp d_x", "h_theta", "h_x"), h, strict=True))
    if isinstance(eng, NativeEngine):
        out["d_theta summed"], d_x_again = pullback(cotangent, True)
        assert np.array_equal(d_x_again, d_x)
        value, grad = eng.value_and_grad(model, theta, x, cotangent)
    else:
        out["d_theta summed"], value, grad = d_theta.sum(axis=0), (values * cotangent).sum(axis=1), d_theta
    out |= {"weighted value": value, "gradient": grad, "states": eng.states(model, theta, x)}
    # Of what an engine says of states up to a phase: an overlap's gradient, and products of derivatives.
    target = np.linspace(1, 2, 2**model.n_qubits) * np.exp(1j * np.arange(2**model.n_qubits))
    states, pull = eng.state_vjp(model, theta, x)
    costates = (states @ target.conj())[:, None] * target / np.linalg.norm(target) ** 2
    out["overlap d_theta"], out["overlap d_x"] = pull(costates)
    psi, tangents = eng.tangents(model, theta[:1], x[:1], np.concatenate([v_theta, np.eye(1, model.n_params)]))
    flat = np.concatenate([psi[None], tangents])
    return out | {"products of derivatives": flat.conj() @ flat.T}


def assert_same(model, actual, expected, dtype=np.float64):
    """Roundings grow as the rotations passed and the terms summed; states are compared up to a global phase."""
    terms = sum(len(o) for o in model.observables)
    factor = 200 + 20 * (model.n_rotations + terms)
    overlap = np.sum(actual["states"].conj() * expected["states"], axis=1)
    assert_close(np.abs(overlap), np.ones(len(overlap)), factor, dtype)
    phased = actual["states"] * (overlap / np.abs(overlap))[:, None]
    assert_close(phased, expected["states"], factor, dtype)
    for key, wanted in expected.items():
        if key != "states":
            try:
                assert_close(actual[key], wanted, factor, dtype)
            except AssertionError as error:
                raise AssertionError(f"{key}: {error}") from None
