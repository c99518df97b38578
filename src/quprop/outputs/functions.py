"""The functions of outputs: values and exact vector-Jacobian products, each of one sweep forwards and one back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from quprop import simulate
from quprop.arrays import checked
from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.channels import refuse_channels
from quprop.model.pauli import PauliString, PauliSum
from quprop.outputs.clifford import clifford_of
from quprop.outputs.output import Entropy, Output, Probabilities, Purity, ReducedState
from quprop.outputs.registers import register, split
from quprop.simulate import AutoEngine, Call, in_range, memory, quiet
from quprop.simulate.engine import Arrays, made
from quprop.simulate.state_vector.native import NativeEngine

MIXED_QUBITS = 6  # of a register of a noisy model, read from its 4^k Pauli strings
_ONE_MODEL = "build one with qpr.Model(circuit, observables)"


def _checked(model: Any, output: Output, batch: int = 1) -> None:
    if not isinstance(model, Model):
        raise QupropError(f"outputs of states are those of a quprop Model, got {type(model).__name__}; {_ONE_MODEL}")
    if not isinstance(output, Output):
        raise QupropError(f"output is one of qpr.outputs, such as qpr.outputs.Purity([0]), got {output!r}")
    output.check(model.n_qubits, batch)


class StateSweep:
    """The states of one call, behind the residual Clifford, and the sweep back from costates there."""

    def __init__(self, model: Model, theta: Any, x: Any, engine: Any, precision: str, threads: int | None) -> None:
        refuse_channels(model, "a derivative of an output of the state")
        self.call = Call(model, theta, x, engine, precision, threads, "state_vjp")
        if not hasattr(self.call.engine, "state_vjp"):
            raise QupropError(f"this takes an engine that holds states (native, reference), got {self.call.engine!r}")
        self.model, self.clifford = model, clifford_of(model)
        states, self._pull = self.call.engine.state_vjp(model, self.call.theta, self.call.x)
        self.states = normal(self.clifford.apply(states), precision)

    def pull(self, costates: np.ndarray, sum_theta: bool = False) -> Arrays:
        call, model = self.call, self.model
        with quiet():
            d_theta, d_x = self._pull(self.clifford.adjoint(costates), sum_theta)
        in_range("the gradient", "double", d_theta, d_x)
        if not sum_theta:
            d_theta = d_theta.reshape(*call.shape, model.n_params)
        return d_theta, d_x.reshape(*call.shape, model.n_inputs)


def normal(states: np.ndarray, precision: str) -> np.ndarray:
    """Of norm 1 as far as doubles go, where single precision left 1e-7."""
    if precision == "single":
        states = states / np.linalg.norm(states, axis=-1, keepdims=True)
    return states


def jet_engine(engine: Any, precision: str, threads: int | None) -> Any:
    """What has states along a direction: the engine, or that of the whole state for the one that chooses."""
    if hasattr(engine, "state_jet"):
        return engine
    if isinstance(engine, AutoEngine):
        return made(NativeEngine, precision, threads)
    raise QupropError(f"second derivatives of outputs take the native or the reference engine, got {engine!r}")


def output_vjp(
    model: Model,
    output: Output,
    theta: Any,
    x: Any = None,
    *,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> tuple[np.ndarray, Callable[..., Arrays]]:
    """An output's value (..., *shape), and pullback(cotangent) -> (d_theta, d_x), the exact gradients of
    Re sum conj(cotangent) output, sample by sample; of d_theta the sum with `sum_theta=True`.

        Re sum conj(C) d f(psi) = Re <c|d psi>,    and c goes back through the circuit

    output: one of `qpr.outputs`: `Probabilities`, `ReducedState`, `Purity`, `Entropy`, `Amplitudes`, `StateOverlap`.
    theta, x, engine, precision, threads: as in `qpr.state`.
    Returns: an array, and a function of a cotangent of its shape. Method: Jones & Gacon 2020, arXiv:2009.02823, with
    lambda = c/2.
    Raises: QupropError as `qpr.state`, for registers that do not fit, and where a derivative does not exist.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    >>> p, pullback = qpr.output_vjp(model, qpr.outputs.Probabilities(), [np.pi / 2])
    >>> p.round(6), pullback([0.0, 1.0])[0].round(6)  # sin(theta/2)^2
    (array([0.5, 0.5]), array([0.5]))
    """
    _checked(model, output)
    sweep = StateSweep(model, theta, x, engine, precision, threads)
    n, lead = model.n_qubits, sweep.call.shape
    output.check(n, sweep.call.batch)
    shape = (*lead, *output.shape(n))

    def pullback(cotangent: Any, *, sum_theta: bool = False) -> Arrays:
        c = checked("cotangent", cotangent, None, complex if output.complex else float)
        try:
            c = np.ascontiguousarray(np.broadcast_to(c, shape))
        except ValueError:
            raise QupropError(f"cotangent must have shape {shape}, got {c.shape}") from None
        rows = (c.view(float) if output.complex and c.ndim else c).reshape(sweep.call.batch, output.size(n))
        return sweep.pull(output.costates(sweep.states, rows), sum_theta)

    return presented(output, output.value(sweep.states), lead, n), pullback


def presented(output: Output, rows: np.ndarray, lead: tuple[int, ...], n: int) -> np.ndarray:
    """Rows (B, K) of an output as (*lead, *shape), complex where it is."""
    if output.complex:
        rows = np.ascontiguousarray(rows).view(complex)
    found = rows.reshape((*lead, *output.shape(n)))
    return found if found.ndim else found[()]


def _value(
    model: Model,
    output: Output,
    theta: Any,
    x: Any,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> np.ndarray:
    _checked(model, output)
    n = model.n_qubits
    if model.channels:
        qubits: Any = getattr(output, "qubits", None)
        if qubits is None:
            refuse_channels(model, type(output).__name__)
        rho = _mixed(model, qubits, theta, x, engine, precision, threads)
        rows = output.of_reduced(rho.reshape(-1, *rho.shape[-2:]))
        return presented(output, rows, rho.shape[:-2], n)
    states = simulate.state(model, theta, x, engine=engine, precision=precision, threads=threads)
    lead = states.shape[:-1]
    states = states.reshape(-1, states.shape[-1])
    output.check(n, len(states))
    return presented(output, output.value(normal(states, precision)), lead, n)


def _mixed(
    model: Model, qubits: tuple[int, ...], theta: Any, x: Any, engine: Any, precision: str, threads: int | None
) -> np.ndarray:
    """rho = 2^-k sum_P <P> P of a register, whatever engine gives the expectation values."""
    k = len(qubits)
    if k > MIXED_QUBITS:
        raise QupropError(
            f"a reduced state of a model with noise is read from 4^k Pauli strings, for {MIXED_QUBITS} qubits at most, "
            f"got {k}; name fewer"
        )
    masks = list(itertools.product(range(1 << k), repeat=2))[1:]
    spread = [sum(1 << q for i, q in enumerate(qubits) if m >> i & 1) for m in range(1 << k)]
    strings = [PauliSum({PauliString(spread[a], spread[b]): 1.0}) for a, b in masks]
    values = simulate.expectation(
        model.with_observables(strings), theta, x, engine=engine, precision=precision, threads=threads
    )
    rho = np.zeros((*values.shape[:-1], 1 << k, 1 << k), complex)
    rho += np.eye(1 << k)
    for (a, b), value in zip(masks, np.moveaxis(values, -1, 0), strict=True):
        rho += value[..., None, None] * PauliString(a, b).matrix(k)
    return rho / (1 << k)


def probabilities(model: Model, theta: Any, x: Any = None, *, qubits: Any = None, **options: Any) -> np.ndarray:
    """|amplitude|^2 of the final state, or the diagonal of a mixed one: (..., 2^n), summing to 1; of a register
    `qubits` its marginals (..., 2^k), the first listed qubit being the lowest bit of the index.

    theta, x and options (engine, precision, threads): as in `expectation`. Gradients: `qpr.output_vjp` of
    `qpr.outputs.Probabilities`.
    Returns: float array (..., 2^n), or (..., 2^k).
    Raises: QupropError as `expectation`, and for registers that are empty, repeat a qubit or name one not there.

    >>> model = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), "Z0")
    >>> qpr.probabilities(model, []).round(6), qpr.probabilities(model, [], qubits=[1]).round(6)
    (array([0.5, 0. , 0. , 0.5]), array([0.5, 0.5]))
    """
    if qubits is None:
        return simulate.probabilities(model, theta, x, **options)
    _checked(model, Probabilities(qubits))
    if (found := simulate.register_probabilities(model, theta, x, register(qubits), **options)) is not None:
        return found
    p = simulate.probabilities(model, theta, x, **options)
    marginal = split(model.n_qubits, register(qubits)).marginal(p.reshape(-1, p.shape[-1]))
    return marginal.reshape(*p.shape[:-1], -1)


def reduced_state(model: Model, theta: Any, x: Any = None, qubits: Any = (), **options: Any) -> np.ndarray:
    """The reduced density matrix of `qubits`, complex (..., 2^k, 2^k), the first listed qubit being the lowest bit.

        rho = tr_rest |psi><psi|

    theta, x and options (engine, precision, threads): as in `expectation`. Models with noise: up to 6 qubits, from
    expectation values of Pauli strings. Gradients: `qpr.output_vjp` of `qpr.outputs.ReducedState`.
    Returns: complex array (..., 2^k, 2^k).
    Raises: QupropError as `expectation`, for registers that do not fit, and where no memory holds it.

    >>> model = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), "Z0")
    >>> qpr.reduced_state(model, [], qubits=[0]).real.round(6)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    return _value(model, ReducedState(qubits), theta, x, **options)


def purity(model: Model, theta: Any, x: Any = None, qubits: Any = (), **options: Any) -> np.ndarray:
    """tr rho^2 of the reduced state of `qubits`: (...).

    theta, x and options: as in `reduced_state`. Gradients: `qpr.output_vjp` of `qpr.outputs.Purity`.
    Returns: float array (...). Raises: QupropError as `reduced_state`.

    >>> model = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), "Z0")
    >>> qpr.purity(model, [], qubits=[0]).round(6)
    np.float64(0.5)
    """
    return _value(model, Purity(qubits), theta, x, **options)


def entropy(
    model: Model,
    theta: Any,
    x: Any = None,
    qubits: Any = (),
    *,
    order: float = 1,
    base: float | None = None,
    **options: Any,
) -> np.ndarray:
    """The entropy of the reduced state of `qubits`, (...): von Neumann's for order 1, Renyi's for others above 0.

        S_1 = -tr rho log rho,    S_a = log(tr rho^a) / (1 - a)

    base: of the logarithm; None: e (nats), 2: bits. theta, x and options: as in `reduced_state`. Gradients:
    `qpr.output_vjp` of `qpr.outputs.Entropy`.
    Returns: float array (...). Raises: QupropError as `reduced_state`, and for orders that are not above 0.

    >>> model = qpr.Model(qpr.Circuit(2).h(0).cx(0, 1), "Z0")
    >>> qpr.entropy(model, [], qubits=[0], base=2).round(6)
    np.float64(1.0)
    """
    return _value(model, Entropy(qubits, order, base), theta, x, **options)


def overlap_vjp(
    a: Model,
    theta_a: Any,
    b: Model,
    theta_b: Any,
    *,
    x_a: Any = None,
    x_b: Any = None,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> tuple[np.ndarray, Callable[[Any], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]]:
    """F = |<a|b>|^2 of the states of two models (which may be one), and pullback(cotangent) -> (d_theta_a, d_x_a,
    d_theta_b, d_x_b), the exact gradients of sum cotangent F, each sample by sample of its own batch.

    a, theta_a, x_a: one model and its point; b, theta_b, x_b: the other; batches broadcast against one another.
    engine, precision, threads: as in `qpr.state`.
    Returns: float array (...), and a function of a cotangent of its shape. Method: as `output_vjp`, twice.
    Raises: QupropError as `qpr.state`, and for models of different numbers of qubits.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    >>> F, pullback = qpr.overlap_vjp(model, [0.0], model, [np.pi / 2])  # cos((a - b)/2)^2
    >>> F.round(6), pullback(1.0)[0].round(6), pullback(1.0)[2].round(6)
    (np.float64(0.5), array([0.5]), array([-0.5]))
    """
    for given in (a, b):
        _checked(given, Probabilities())
    if a.n_qubits != b.n_qubits:
        raise QupropError(f"states of {a.n_qubits} and {b.n_qubits} qubits have no overlap; take models of one size")
    options = (engine, precision, threads)
    sweeps = StateSweep(a, theta_a, x_a, *options), StateSweep(b, theta_b, x_b, *options)
    first, second = (s.states.reshape(*s.call.shape, -1) for s in sweeps)
    try:
        shape = np.broadcast_shapes(first.shape[:-1], second.shape[:-1])
    except ValueError:
        raise QupropError(
            f"the batch axes of the two states, {first.shape[:-1]} and {second.shape[:-1]}, must be equal or broadcast"
        ) from None
    inner = np.sum(first.conj() * second, axis=-1)  # <a|b>

    def pullback(cotangent: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        c = checked("cotangent", cotangent, None)
        if np.broadcast_shapes(c.shape, shape) != shape:
            raise QupropError(f"cotangent must have shape {shape}, got {c.shape}")
        weight = 2 * np.broadcast_to(c, shape)[..., None]
        of_a, of_b = weight * inner.conj()[..., None] * second, weight * inner[..., None] * first
        pairs = [
            s.pull(_sum_to(of, (*s.call.shape, of.shape[-1])).reshape(s.call.batch, -1))
            for s, of in zip(sweeps, (of_a, of_b), strict=True)
        ]
        return *pairs[0], *pairs[1]

    return (inner.real**2 + inner.imag**2)[()], pullback


def _sum_to(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The sum over the axes that broadcasting from `shape` added."""
    array = array.sum(axis=tuple(range(array.ndim - len(shape))))
    return array.sum(axis=tuple(i for i, s in enumerate(shape) if s == 1 and array.shape[i] != 1), keepdims=True)


def overlap(
    a: Model, theta_a: Any, b: Model, theta_b: Any, *, x_a: Any = None, x_b: Any = None, **options: Any
) -> np.ndarray:
    """F = |<a|b>|^2 of the states of two models, or of one at two points: (...).

    a, theta_a, x_a, b, theta_b, x_b and options (engine, precision, threads): as in `overlap_vjp`, which has gradients.
    Returns: float array (...). Raises: QupropError as `overlap_vjp`.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")
    >>> qpr.overlap(model, [0.0], model, [np.pi / 2]).round(6)
    np.float64(0.5)
    """
    return overlap_vjp(a, theta_a, b, theta_b, x_a=x_a, x_b=x_b, **options)[0]


def kernel_vjp(
    model: Model,
    theta: Any,
    x: Any,
    y: Any = None,
    *,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> tuple[np.ndarray, Callable[[Any], tuple[np.ndarray, ...]]]:
    """The fidelity kernel K_ij = |<psi(x_i)|psi(y_j)>|^2, (N, M), and pullback(cotangent (N, M)) -> (d_theta, d_x),
    and d_y where y is given: d_theta (n_params,), d_x (N, n_inputs), d_y (M, n_inputs).

    theta: (n_params,). x: (N, n_inputs); y: (M, n_inputs), None: x. One sweep a row and one matrix product.
    engine, precision, threads: as in `qpr.state`.
    Returns: float array (N, M), and a function. Source: Havlicek et al., Nature 567, 209 (2019).
    Raises: QupropError as `qpr.state`, and for a batch of theta or inputs that are no matrix.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("t", 1)[0] * qpr.inputs("x", 1)[0], 0), "Z0")
    >>> K, pullback = qpr.kernel_vjp(model, [1.0], [[0.0], [np.pi / 2]])
    >>> K.round(6), pullback([[0, 1], [0, 0]])[0].round(6)  # cos(t (x - y)/2)^2
    (array([[1. , 0.5],
           [0.5, 1. ]]), array([-0.785398]))
    """
    _checked(model, Probabilities())
    theta = checked("theta", theta, (model.n_params,))
    x = checked("x", x, ("N", model.n_inputs))
    options = (engine, precision, threads)
    rows = StateSweep(model, theta, x, *options)
    if y is None:
        columns = rows
    else:
        columns = StateSweep(model, theta, checked("y", y, ("M", model.n_inputs)), *options)
    memory.require(
        48 * rows.call.batch * columns.call.batch, "the kernel matrix", "take fewer rows, or the matrix in blocks"
    )
    A = rows.states @ columns.states.conj().T  # <y_j|x_i>

    def pullback(cotangent: Any) -> tuple[np.ndarray, ...]:
        weight = 2 * checked("cotangent", cotangent, A.shape) * A
        of_x, of_y = weight @ columns.states, weight.conj().T @ rows.states
        if y is None:
            return rows.pull(of_x + of_y, True)
        (d_theta, d_x), (d_theta_y, d_y) = rows.pull(of_x, True), columns.pull(of_y, True)
        return d_theta + d_theta_y, d_x, d_y

    return A.real**2 + A.imag**2, pullback


def kernel(model: Model, theta: Any, x: Any, y: Any = None, **options: Any) -> np.ndarray:
    """The fidelity kernel matrix K_ij = |<psi(x_i)|psi(y_j)>|^2: (N, M), or (N, N) of x alone.

    theta, x, y and options (engine, precision, threads): as in `kernel_vjp`, which has gradients.
    Returns: float array (N, M). Source: Havlicek et al., Nature 567, 209 (2019). Raises: QupropError as `kernel_vjp`.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("t", 1)[0] * qpr.inputs("x", 1)[0], 0), "Z0")
    >>> qpr.kernel(model, [1.0], [[0.0], [np.pi / 2]], [[0.0]]).round(6)
    array([[1. ],
           [0.5]])
    """
    return kernel_vjp(model, theta, x, y, **options)[0]
