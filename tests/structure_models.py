"""Small models for the tests of commuting structure."""

import quprop as qpr
from quprop import Model, PauliString


def rotations_model(strings, observables, n=None, params=None):
    """One parameter for each string; a leading `~` makes it a rotation by data, `=` one by a constant."""
    n = n or max(PauliString.parse(s.lstrip("~=")).n_qubits for s in strings)
    theta, x = qpr.params("theta", len(strings)), qpr.inputs("x", len(strings))
    circuit = qpr.Circuit(n, params=theta, inputs=x)
    for k, s in enumerate(strings):
        circuit.rotation(s.lstrip("~="), x[k] if s[0] == "~" else 0.3 + k if s[0] == "=" else theta[k])
    return Model(circuit, observables)


def random_strings(rng, n, count):
    return ["".join(rng.choice(list("IXYZ"), n)) for _ in range(count)]
