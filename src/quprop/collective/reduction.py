"""Theorem 12 of Abbas et al. (arXiv:2305.13362), run in both directions.

Forwards: a gradient algorithm is a shadow tomography algorithm. Events E_i = C_i† |1><1|_0 C_i, C_i a circuit and 0 the
first qubit, are what any poly-time two-outcome measurement looks like. A model with one more qubit in |+>, layers
C_i† exp(-i theta_i Z_0 Z_anc / 2) C_i, observable Y_anc and theta = 0 has

    dF/dtheta_i = <C_i† Z_0 C_i> = 1 - 2 tr(E_i rho),

so that all M probabilities cost one gradient, and a gradient at the price of polylog(M) values, classical work
included, would be the efficient shadow tomography that nobody knows. (The fact's exp(-i theta P) has twice that.)

Backwards: shadow tomography is a gradient algorithm, Theorem 9, which is :class:`quprop.gradients.QuantumBackprop`; the
same loop (`sweep.py`) reads its stream of events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.angle import params
from quprop.model.channels import refuse_channels
from quprop.model.circuit import Circuit
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.estimate import Estimate

if TYPE_CHECKING:
    from quprop.gradients.method import Method


def gradient_model(circuits: Sequence[Circuit], state: Circuit) -> Model:
    """The model whose gradient at theta = 0 is <C_i† Z_0 C_i> on the state of a circuit, i = 0..M-1.

    `circuits` and `state` have no parameters or inputs left and start from |0...0>. A circuit is brought to the form
    (Clifford)(rotations); its Clifford vanishes in the string that Z_0 becomes, and r rotations become 2 r fixed ones.
    """
    n = _fixed(state, "state").n_qubits
    if not circuits:
        raise QupropError("gradient_model needs one circuit at least, got an empty list")
    theta, ancilla = params("theta", len(circuits)), PauliString(0, 1 << n)
    circuit = Circuit(n + 1, params=theta).h(n).append(state)
    for angle, given in zip(theta, circuits, strict=True):
        layer = Model(_fixed(given, "circuits", n), ["Z0"])
        ((string, sign),) = layer.observables[0].terms
        turns = [(PauliString(r.x, r.z), r.angle.constant) for r in layer.rotations]
        for pauli, turn in turns:
            circuit.rotation(pauli, turn)
        circuit.rotation(string * ancilla, sign * angle)
        for pauli, turn in reversed(turns):
            circuit.rotation(pauli, -turn)
    return Model(circuit, [PauliSum(PauliString(1 << n, 1 << n))])


def shadow_tomography_by_gradient(
    circuits: Sequence[Circuit], state: Circuit, method: Method, rng: Any
) -> tuple[np.ndarray, Estimate]:
    """tr(E_i rho) of all events E_i = C_i† |1><1|_0 C_i, float64 (M,), and the gradient it was read from.

    An error e of the gradient is one of e/2 here. rho is |psi><psi| of the circuit `state`; `method` any of METHODS.
    """
    model = gradient_model(circuits, state)
    found = method.compile(model, at=(np.zeros(model.n_params), np.zeros(0))).estimate(
        np.zeros(model.n_params), rng=rng
    )
    return (1 - found.value) / 2, found


def _fixed(circuit: Any, name: str, n: int | None = None) -> Circuit:
    if not isinstance(circuit, Circuit) or circuit.n_params or circuit.n_inputs or circuit.state != InputState():
        raise QupropError(f"`{name}` takes Circuits from |0...0> without parameters or inputs; put numbers for angles")
    refuse_channels(circuit, "a reduction to gradients")
    if n is not None and circuit.n_qubits != n:
        raise QupropError(f"`{name}` must be on the {n} qubits of the state, got one on {circuit.n_qubits}")
    return circuit
