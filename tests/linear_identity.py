"""What a linear gradient method would say after infinitely many shots, from the states of the reference engine."""

import numpy as np

from quprop.sampling.linear import jacobian
from quprop.sampling.programs import read_by_programs
from quprop.simulate.state_vector.reference import ReferenceEngine


def exact_gradient(plan, theta, x, weights):
    """sum of factors * <Pauli> over all runs of a `LinearPlan`, pulled back to theta."""
    model, engine = plan.model, ReferenceEngine()
    a = model.angle_table.evaluate(theta[None], x[None])[0]
    u, g = plan.terms.coefficients(weights), np.zeros(model.n_rotations)
    for runs in plan.runs:
        program, w = runs.bare, runs.weights(u)
        read = read_by_programs(model, x)
        padded = np.zeros((1, program.n_inputs))
        padded[0, : len(read)] = read
        angles = runs.rows.angles(a, 0, len(runs))
        assert np.array_equal(np.count_nonzero(~np.isnan(angles), axis=1), runs.lengths)
        states = engine.states(program, np.nan_to_num(angles), padded)
        for r, psi in enumerate(states):
            strings = runs.paulis if runs.own is None else runs.own[r]
            assert runs.mixture or all(p.commutes(q) for p in strings for q in strings)
            for column, p in enumerate(strings):
                target = runs.targets[r, column] if runs.each else runs.targets[r]
                g[target] += w[r, column] * expected(p, psi)
    return jacobian(model.angle_table, theta, x).T @ g


def expected(pauli, psi):
    """<psi|P|psi>, from P|j> = i^phase (-1)^{|z & j|} |j xor x>."""
    j = np.arange(len(psi))
    image = np.empty_like(psi)
    image[j ^ pauli.x] = 1j**pauli.phase * (-1.0) ** np.bitwise_count(j & pauli.z) * psi
    return np.vdot(psi, image).real


def assert_spread(value, truth, stderr, limit=5.0):
    """Within `limit` standard errors, where there is one."""
    where = stderr > 1e-12
    assert np.all(np.abs(value - truth)[~where] < 1e-9)
    assert np.all(np.abs(value - truth)[where] < limit * stderr[where])
