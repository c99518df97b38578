"""Theorem 12 of Abbas et al. (arXiv:2305.13362), run in both directions.

Forwards: a gradient algorithm is a shadow tomography algorithm. Events E_i = C_i† |1><1|_0 C_i, C_i a circuit and 0 the
first qubit, are what any poly-time two-outcome measurement looks like. A model with one more qubit in |+>, layers
C_i† exp(-i theta_i Z_0 Z_anc / 2) C_i, observable Y_anc and theta = 0 has

    dF/dtheta_i = <C_i† Z_0 C_i> = 1 - 2 tr(E_i rho),

so that all M probabilities cost one gradient, and a gradient at the price of polylog(M) values, classical work
included, would be the efficient shadow tomography that nobody knows. (The fact's exp(-i theta P) has twice that.)

Backwards: shadow tomography is a gradient algorithm. On the pair state of a Pauli term O the derivative by angle m is
1 - 2 <E_m>, E_m = (1 + Y_anc P_m)/2 in the frame right after rotation m, and the stream of events and inverse gates
from the last to the first rotation is read by online shadow tomography: Theorem 9.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from quprop.collective.event import Event
from quprop.collective.shadow_tomography import ShadowResult, ShadowTomography, Turn
from quprop.cost import Cost
from quprop.errors import QupropError, generator_of
from quprop.model import Model
from quprop.model.angle import params
from quprop.model.circuit import Circuit
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.estimate import Estimate
from quprop.sampling.linear import driven, jacobian
from quprop.sampling.plan import Terms, settle
from quprop.simulate import Call
from quprop.simulate.vectors import apply, rotate
from quprop.structure.commutation import generators

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


def events_of(circuits: Sequence[Circuit], n: int) -> list[Event]:
    """The same events for :class:`ShadowTomography`: Pauli ones where C_i is a Clifford, else dense (2^n, 2^n)."""
    found = []
    for given in circuits:
        layer = Model(_fixed(given, "circuits", n), ["Z0"])
        ((string, sign),) = layer.observables[0].terms
        string = string if sign > 0 else -string
        if not layer.rotations:
            found.append(Event(-string))
            continue
        rows = Event(-string).apply(_turned(layer, np.eye(2**n, dtype=complex)))  # row j: E C|j>
        back = [(PauliString(r.x, r.z), -r.angle.constant) for r in reversed(layer.rotations)]
        for pauli, turn in back:
            rows = rotate(pauli, turn, rows)
        matrix = rows.T
        found.append(Event.dense((matrix + matrix.conj().T) / 2))
    return found


def gradient_by_shadow_tomography(
    model: Model,
    theta: Any,
    x: Any = None,
    *,
    max_error: float,
    failure: float = 0.01,
    weights: Any = None,
    rng: Any,
    **settings: Any,
) -> Estimate:
    """dF/dtheta of F = weights . <O> by online shadow tomography of the pair state, undone gate by gate.

    Every derivative by an angle is within max_error, except with probability `failure` (and as far as batches are
    undisturbed, `ShadowResult.damage`); those by parameters follow by da/dtheta. A sum of terms O = sum_t u_t O_t takes
    a sweep for each, of accuracy max_error / (2 sum |u_t|) in <E>. `settings` go to :class:`ShadowTomography`.

    The estimate's cost: copies, and M rotations to prepare each besides those of the sweep; its stderr is the accuracy
    promised, not a deviation. info["sweeps"] has the `ShadowResult` of every term, info["damage"] the largest damage.
    """
    if not (math.isfinite(max_error) and max_error > 0):
        raise QupropError(f"`max_error` must be a positive number, got {max_error}")
    w, terms = settle(model, weights, rows=False), Terms.of(model)
    call = Call(model, theta, x, None, "double", None, "values")
    if call.shape:
        raise QupropError(f"gradient_by_shadow_tomography takes one theta and one x, got a batch of {call.batch}")
    point, data = call.theta.reshape(-1), call.x.reshape(-1)
    u = terms.coefficients(w)
    used = np.flatnonzero(u)
    components = driven(model)
    angles = model.angle_table.evaluate(point[None], data[None])[0]
    slopes = jacobian(model.angle_table, point, data)
    g, cost, sweeps = np.zeros(model.n_rotations), Cost(), []
    generator = generator_of(rng)
    for t in used if len(components) else ():
        eps = min(0.5, max_error / (2 * float(np.abs(u).sum())))
        tomography = ShadowTomography(eps=eps, failure=failure / len(used), **settings)
        state = pair_state(model, terms.strings[t], angles, data)
        found = tomography.run(state, undoing(model, angles), generator, events=len(components))
        g[components[::-1]] += u[t] * (1 - 2 * found.estimates)
        sweeps.append(found)
        cost += _cost(found, model)
    error = np.where(np.isin(np.arange(model.n_rotations), components), max_error, 0.0)
    info = {
        "sweeps": sweeps,
        "terms": len(used),
        "bound on copies": sum(s.budget.copies for s in sweeps),
        "damage": max((s.damage for s in sweeps), default=0.0),
    }
    return Estimate(slopes.T @ g, abs(slopes).T @ error, cost, info)


def pair_state(model: Model, term: PauliString, angles: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(|0> U|phi> + |1> O U|phi>)/sqrt(2), complex (2^(n+1),), the ancilla being the last qubit."""
    psi = np.asarray(model.state.vector(model.n_qubits, x)).reshape(-1).astype(complex)
    for pauli, angle in zip(generators(model), angles, strict=True):
        psi = rotate(pauli, float(angle), psi)
    return np.concatenate([psi, apply(term, psi)]) / math.sqrt(2)


def undoing(model: Model, angles: np.ndarray) -> Iterator[Event | Turn]:
    """From the last rotation to the first: its event (1 + Y_anc P_m)/2 where theta drives it, then its inverse."""
    strings = generators(model)
    ancilla = PauliString(1 << model.n_qubits, 1 << model.n_qubits)
    asked = set(driven(model).tolist())
    for m in reversed(range(model.n_rotations)):
        if m in asked:
            yield Event(ancilla * strings[m])
        yield Turn(strings[m], -float(angles[m]))


def _cost(found: ShadowResult, model: Model) -> Cost:
    counter = found.held.bit_length()
    checks = 2 * len(found.estimates) + len(found.triggers) * found.budget.fresh
    return Cost(
        copies=found.copies,
        rotations=found.copies * model.n_rotations + found.turns,
        measurements=checks,
        depth=2 * model.n_rotations,
        qubits=found.held * (model.n_qubits + 1) + counter + 1,
        classical_ops=found.hypothesis.classical_ops,
        classical_bytes=found.hypothesis.classical_bytes,
    )


def _turned(layer: Model, vectors: np.ndarray) -> np.ndarray:
    for r in layer.rotations:
        vectors = rotate(PauliString(r.x, r.z), r.angle.constant, vectors)
    return vectors


def _fixed(circuit: Any, name: str, n: int | None = None) -> Circuit:
    if not isinstance(circuit, Circuit) or circuit.n_params or circuit.n_inputs or circuit.state != InputState():
        raise QupropError(f"`{name}` takes Circuits from |0...0> without parameters or inputs; put numbers for angles")
    if n is not None and circuit.n_qubits != n:
        raise QupropError(f"`{name}` must be on the {n} qubits of the state, got one on {circuit.n_qubits}")
    return circuit
