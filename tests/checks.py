"""What it means that a gradient is right: laws that any engine with the protocol of `ReferenceEngine` must satisfy.

Each check raises AssertionError when the law is broken; `test_reference.py` also shows that they do.
Everything compared with is made from values only, through `oracle`, never from the gradient code under test.
"""

import numpy as np
from tolerances import assert_close, tolerance

import quprop as qpr
from quprop.simulate.state_vector.reference import ReferenceEngine

ORACLE = ReferenceEngine()


def rotation_level(model):
    """The same model with one parameter per rotation: theta'_m is the angle of rotation m."""
    angles = qpr.params("angle", model.n_rotations)
    rows = [(qpr.PauliString(r.x, r.z), a) for r, a in zip(model.rotations, angles, strict=True)]
    return qpr.Model.from_rotations(
        model.n_qubits, rows, model.observables, model.state, params=angles, inputs=qpr.inputs("x", model.n_inputs)
    )


def _polynomial(angle, theta, x):
    """An angle by its terms, without the angle table; also for complex arguments."""
    return sum(
        (c * np.prod([(x if v[0] else theta)[v[1]] for v in monomial]) for monomial, c in angle.terms), start=0.0
    )


def angle_jacobian(model, theta, x):
    """(M, P + D) by complex steps, which are exact to rounding for polynomials."""
    point = np.concatenate([theta, x])
    out = np.zeros((model.n_rotations, len(point)))
    for i in range(len(point)):
        moved = point.astype(complex)
        moved[i] += 1e-30j
        for m, r in enumerate(model.rotations):
            out[m, i] = np.imag(_polynomial(r.angle, moved[: len(theta)], moved[len(theta) :])) / 1e-30
    return out


def check_parameter_shift(engine, model, theta, x, weights, factor=2000, dtype=np.float64, oracle=ORACLE):
    """dF/da_m = (F(a_m + pi/2) - F(a_m - pi/2)) / 2 for each rotation, then the chain rule; encoded inputs left out.

    Schuld, Bergholm, Gogolin, Izaac, Killoran, Phys. Rev. A 99, 032331 (2019).
    """
    flat = rotation_level(model)
    angles = np.array([_polynomial(r.angle, theta, x) for r in model.rotations])
    shifts = np.pi / 2 * np.eye(len(angles))
    points = np.concatenate([angles + shifts, angles - shifts]) if len(angles) else np.zeros((0, 0))
    d_angles = np.zeros(0)
    if len(angles):
        f = oracle.values(flat, points, np.broadcast_to(x, (len(points), len(x)))) @ weights
        d_angles = (f[: len(angles)] - f[len(angles) :]) / 2
    expected = d_angles @ angle_jacobian(model, theta, x)
    _, pullback = engine.vjp(model, theta[None], x[None])
    d_theta, d_x = pullback(weights[None])
    keep = np.ones(len(x), bool)
    if model.state.kind == "encoded":
        keep[model.state.input_slice(model.n_qubits)] = False
    assert_close(d_theta[0], expected[: len(theta)], factor, dtype)
    assert_close(d_x[0, keep], expected[len(theta) :][keep], factor, dtype)


def check_differences(engine, model, theta, x, weights, relative=1e-7, oracle=ORACLE):
    """Gradients in theta and x (encoded amplitudes too) against fourth-order central differences of the values.

    Step 1e-3: truncation about step^4/30 and rounding about eps/step are both near 1e-13 times the size of F and of
    its fifth derivative, which products of angles make as large as 1e4; hence the looser tolerance.
    """
    point, step = np.concatenate([theta, x]), 1e-3
    if not len(point):
        return
    moves = step * np.eye(len(point))
    points = np.concatenate([point + k * moves for k in (-2, -1, 1, 2)])
    f = (oracle.values(model, points[:, : len(theta)], points[:, len(theta) :]) @ weights).reshape(4, -1)
    expected = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)
    _, pullback = engine.vjp(model, theta[None], x[None])
    d_theta, d_x = pullback(weights[None])
    actual = np.concatenate([d_theta[0], d_x[0]])
    error, scale = np.max(np.abs(actual - expected)), max(1.0, np.max(np.abs(expected)))
    assert error <= relative * scale, f"largest error {error:.3g} exceeds {relative * scale:.3g}"


def check_hvp(engine, model, theta, x, weights, v_theta, v_x, relative=1e-7, factor=2000, oracle=ORACLE):
    """Hessian-vector product against fourth-order central differences of the gradient along v; its own gradient too."""

    def gradient(t):
        _, pullback = oracle.vjp(model, theta + t * v_theta, x + t * v_x)
        return np.concatenate(pullback(weights), axis=1)

    step = 1e-3
    expected = (gradient(-2 * step) - 8 * gradient(-step) + 8 * gradient(step) - gradient(2 * step)) / (12 * step)
    d_theta, d_x, h_theta, h_x = engine.hvp(model, theta, x, weights, v_theta, v_x)
    assert_close(np.concatenate([d_theta, d_x], axis=1), gradient(0.0), factor)
    if expected.size:
        error = np.max(np.abs(np.concatenate([h_theta, h_x], axis=1) - expected))
        scale = max(1.0, np.max(np.abs(expected)))
        assert error <= relative * scale + tolerance(factor), f"largest error {error:.3g}"
