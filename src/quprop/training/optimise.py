"""Optimisers: pairs (init, update) in optax's convention, so that an optax transformation can take their place as it
is.

    state = optimiser.init(params)
    updates, state = optimiser.update(gradients, state, params)
    params = params + updates                                  # applied by addition

``params`` is an array or a dictionary of arrays, such as ``{"theta": ..., "scale": ..., "bias": ...}``. States are
tuples of arrays, so that a checkpoint can hold them. :class:`LBFGS` is not such a pair: SciPy drives the loop there,
and :func:`quprop.train` hands it the loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError, whole

Tree = Any  # an ndarray, or dict / tuple / list of trees
Schedule = float | Callable[[int], float]


class Optimiser(NamedTuple):
    """``init(params) -> state`` and ``update(gradients, state, params) -> (updates, state)``."""

    init: Callable[[Tree], Tree]
    update: Callable[..., tuple[Tree, Tree]]


class Controller(Protocol):
    """An optimiser that estimates the gradient by itself and allots what every step may cost.

    ``compile(model, weights)`` gives the plan of its estimates, ``plan.prepare(state)`` tells the plan the next step's
    shots, and ``update(gradients, state, params, estimate)`` reads their measured variances. All it knows is in
    ``state``, so that a checkpoint holds it.
    """

    def init(self, params: Tree) -> Tree: ...

    def update(self, gradients: Tree, state: Tree, params: Tree, estimate: Any) -> tuple[Tree, Tree]: ...

    def compile(self, model: Any, weights: Any = None, *, at: Any = None) -> Any: ...


def adapts(optimiser: Any) -> bool:
    """Whether an optimiser is a `Controller`."""
    return hasattr(optimiser, "init") and hasattr(optimiser, "update") and hasattr(optimiser, "compile")


def tree_map(function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
    """Apply ``function`` leaf by leaf to trees of one shape."""
    if isinstance(tree, dict):
        return {key: tree_map(function, tree[key], *(o[key] for o in others)) for key in tree}
    if isinstance(tree, tuple | list):
        parts = [tree_map(function, *leaves) for leaves in zip(tree, *others, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return None if tree is None else function(tree, *others)


def tree_leaves(tree: Tree) -> list[Any]:
    """The leaves of a tree in a fixed order (dictionaries by key)."""
    if tree is None:
        return []
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in tree_leaves(tree[key])]
    if isinstance(tree, tuple | list):
        return [leaf for part in tree for leaf in tree_leaves(part)]
    return [tree]


def tree_fill(tree: Tree, leaves: list[Any]) -> Tree:
    """A tree shaped like ``tree`` whose leaves are taken, in order, from the front of ``leaves`` (which is emptied)."""
    if tree is None:
        return None
    if isinstance(tree, dict):
        filled = {key: tree_fill(tree[key], leaves) for key in sorted(tree)}
        return {key: filled[key] for key in tree}
    if isinstance(tree, tuple | list):
        parts = [tree_fill(part, leaves) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return leaves.pop(0)


def apply_updates(params: Tree, updates: Tree) -> Tree:
    """params + updates, in the precision of ``params`` (optax under JAX's default returns float32 updates)."""
    return tree_map(lambda p, u: p + np.asarray(u).astype(p.dtype), params, updates)


CUTOFF = 1e-8  # of the metric's largest eigenvalue: what is below is rounding, or a direction that moves no state
MOST_RATE = 1e4  # of all optimisers; where gradients are tiny, plain descent takes large ones

# -- learning rates ---------------------------------------------------------------------------------------------------


def cosine(peak: float, steps: int, *, final: float = 0.0) -> Callable[[int], float]:
    """From ``peak`` at step 0 to ``final`` at ``steps`` along half a cosine (Loshchilov and Hutter,
    arXiv:1608.03983).

    Returns: function of the step, a learning rate.
    Raises: QupropError for a peak that is not positive, a final rate below 0, or steps that are no whole number from 0.

    >>> rate = qpr.cosine(0.1, 100)
    >>> round(rate(0), 6), round(rate(50), 6), round(rate(100), 6)
    (0.1, 0.05, 0.0)
    """

    whole("steps", steps, 0)
    if not (math.isfinite(peak) and peak > 0 and 0 <= final < math.inf):
        raise QupropError(f"cosine falls from a positive peak to a final rate from 0, got {peak!r} and {final!r}")

    def rate(step: int) -> float:
        done = min(step / max(steps, 1), 1.0)
        return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * done))

    return rate


def power_decay(first: float, *, alpha: float = 0.602, offset: float = 0.0) -> Callable[[int], float]:
    """a / (offset + k + 1)^alpha at step k, from 0 on: the rates of stochastic approximation. With an offset of about a
    tenth of the steps the first ones do not overshoot (Spall, IEEE Trans. Aerosp. Electron. Syst. 34, 817 (1998)).

    first: the rate a_0 = a / (offset + 1)^alpha of step 0. alpha: in (1/2, 1] for convergence. offset: 0 or more.
    Returns: function of the step, a learning rate.
    Raises: QupropError for a first rate or alpha that is not positive, or an offset below 0.

    >>> rate = qpr.power_decay(0.2, offset=10)
    >>> round(rate(0), 6), round(rate(100), 6)
    (0.2, 0.049735)
    """
    if not (math.isfinite(first) and first > 0 and math.isfinite(alpha) and alpha > 0 and 0 <= offset < math.inf):
        raise QupropError(
            f"power_decay takes a positive first rate and alpha and an offset from 0 on, got {first!r}, alpha={alpha!r}"
            f" and offset={offset!r}"
        )
    return lambda step: first * ((offset + 1) / (offset + step + 1)) ** alpha


def _rate(learning_rate: Schedule, step: int) -> float:
    return float(learning_rate(step)) if callable(learning_rate) else float(learning_rate)


def check_rate(learning_rate: Schedule) -> None:
    """Refuse what no training can use; of a function of the step, where it begins."""
    rate = learning_rate(0) if callable(learning_rate) else learning_rate
    if not (math.isfinite(rate) and (rate > 0 or callable(learning_rate))):
        raise QupropError(f"`learning_rate` must be a positive number or a function of the step, got {learning_rate!r}")
    if rate > MOST_RATE:
        raise QupropError(
            f"`learning_rate` is {MOST_RATE:g} at most, got {rate:g}: parameters are angles, a step of many turns ends "
            "anywhere; take 0.001 to 1"
        )


# -- pairs ------------------------------------------------------------------------------------------------------------


class SGDState(NamedTuple):
    step: np.ndarray
    velocity: Tree


def sgd(learning_rate: Schedule = 0.1, *, momentum: float = 0.0) -> Optimiser:
    """Gradient descent, with momentum: v <- momentum v + g, update -rate v (Polyak's heavy ball).

    learning_rate: a positive number, or a function of the step such as `cosine`.
    Returns: Optimiser, a pair (init, update).
    Raises: QupropError for a rate that is not positive, momentum outside [0, 1).

    >>> optimiser = qpr.sgd(0.1)
    >>> params = {"theta": np.array([1.0, 2.0])}
    >>> updates, state = optimiser.update({"theta": np.array([0.5, -3.0])}, optimiser.init(params), params)
    >>> updates["theta"].round(6)
    array([-0.05,  0.3 ])
    """
    check_rate(learning_rate)
    if not 0 <= momentum < 1:
        raise QupropError(f"`momentum` must lie in [0, 1), got {momentum!r}")

    def init(params: Tree) -> SGDState:
        return SGDState(np.zeros((), np.int64), tree_map(np.zeros_like, params))

    def update(gradients: Tree, state: SGDState, params: Tree = None) -> tuple[Tree, SGDState]:
        rate = _rate(learning_rate, int(state.step))
        velocity = tree_map(lambda v, g: momentum * v + g, state.velocity, gradients)
        return tree_map(lambda v: -rate * v, velocity), SGDState(state.step + 1, velocity)

    return Optimiser(init, update)


class AdamState(NamedTuple):
    step: np.ndarray
    mean: Tree
    square: Tree


def adam(learning_rate: Schedule = 0.01, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimiser:
    """Adam (Kingma and Ba, arXiv:1412.6980, algorithm 1), bias correction included.

    learning_rate: a positive number, or a function of the step such as `cosine`. b1, b2: decay of the means of
    gradients and of their squares; eps: added to the root of the latter.
    Returns: Optimiser, a pair (init, update), for `train` or a loop of one's own.
    Raises: QupropError for a rate that is not positive, b1 or b2 outside [0, 1).

    >>> optimiser = qpr.adam(0.1)
    >>> params = {"theta": np.array([1.0, 2.0])}
    >>> updates, state = optimiser.update({"theta": np.array([0.5, -3.0])}, optimiser.init(params), params)
    >>> updates["theta"].round(6)
    array([-0.1,  0.1])
    """
    check_rate(learning_rate)
    if not (0 <= b1 < 1 and 0 <= b2 < 1):
        raise QupropError(f"`b1` and `b2` must lie in [0, 1), got {b1!r} and {b2!r}")

    def init(params: Tree) -> AdamState:
        return AdamState(np.zeros((), np.int64), tree_map(np.zeros_like, params), tree_map(np.zeros_like, params))

    def update(gradients: Tree, state: AdamState, params: Tree = None) -> tuple[Tree, AdamState]:
        step = int(state.step) + 1
        rate = _rate(learning_rate, step - 1)
        mean = tree_map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, gradients)
        square = tree_map(lambda s, g: b2 * s + (1 - b2) * g * g, state.square, gradients)
        c1, c2 = 1 - b1**step, 1 - b2**step
        updates = tree_map(lambda m, s: -rate * (m / c1) / (np.sqrt(s / c2) + eps), mean, square)
        return updates, AdamState(state.step + 1, mean, square)

    return Optimiser(init, update)


class NaturalGradientState(NamedTuple):
    step: np.ndarray


def natural_gradient(
    metric: Callable[[np.ndarray], np.ndarray], learning_rate: Schedule = 0.1, *, damping: float = 1e-3
) -> Optimiser:
    """Quantum natural gradient: update -rate (G + damping I)^-1 g with G the Fubini-Study metric at theta.

    ``metric(theta)`` returns G, (n_params, n_params): ``lambda theta: qpr.metric(model, theta, x)``. Entries of
    ``params`` other than ``theta`` (scale and bias of a head) have no place in the state space and take a plain
    gradient step. Reference: Stokes, Izaac, Killoran and Carleo, "Quantum natural gradient", Quantum 4, 269 (2020),
    equation 9.

    learning_rate: a positive number, or a function of the step.
    Returns: Optimiser, a pair (init, update).
    Raises: QupropError for a rate or damping that is not positive, and where G is no (n_params, n_params) array.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> optimiser = qpr.natural_gradient(lambda theta: qpr.metric(model, theta), 0.05)
    >>> result = qpr.train(model, optimiser=optimiser, params=[1.0], steps=60)
    >>> round(result.loss, 3)
    -1.0
    """
    check_rate(learning_rate)
    if not (math.isfinite(damping) and damping > 0):
        raise QupropError(
            f"`damping` must be a positive number (the metric is singular for redundant parameters), got {damping!r}"
        )

    def init(params: Tree) -> NaturalGradientState:
        return NaturalGradientState(np.zeros((), np.int64))

    def update(gradients: Tree, state: NaturalGradientState, params: Tree = None) -> tuple[Tree, NaturalGradientState]:
        if params is None:
            raise QupropError("natural_gradient needs the parameters: call update(gradients, state, params)")
        rate = _rate(learning_rate, int(state.step))
        theta, slope = (params["theta"], gradients["theta"]) if isinstance(params, dict) else (params, gradients)
        tensor = checked("what metric(theta) returns", metric(theta), (np.size(theta), np.size(theta)))
        step = -rate * np.linalg.solve(tensor + damping * np.eye(len(tensor)), slope)
        updates = {**tree_map(lambda g: -rate * g, gradients), "theta": step} if isinstance(params, dict) else step
        return updates, NaturalGradientState(state.step + 1)

    return Optimiser(init, update)


def imaginary_time(
    metric: Callable[[np.ndarray], np.ndarray], step: Schedule = 0.1, *, cutoff: float = CUTOFF
) -> Optimiser:
    """Variational imaginary time: update theta by step * v, where G v = -g/2 with G the Fubini-Study metric at theta.

    By McLachlan's principle v is the velocity for which the state moves as exp(-H tau) takes it, as well as the ansatz
    can; ``step`` is the imaginary time of a step, and the loss the energy <H>. The system is solved by least squares,
    without the directions in which G is below ``cutoff`` times its largest eigenvalue; `natural_gradient` has a damping
    instead. Entries of ``params`` other than ``theta`` take a plain step of -step g/2.
    :func:`quprop.variational_evolution` does the same and tells how far the ansatz falls behind.

    metric: a function of theta that returns G, (n_params, n_params): ``lambda theta: qpr.metric(model, theta)``.
    Returns: Optimiser, a pair (init, update). Sources: McArdle et al., npj Quantum Inf. 5, 75 (2019); Yuan et al.,
    Quantum 3, 191 (2019), arXiv:1812.08767.
    Raises: QupropError for a step that is not positive, a cutoff outside [0, 1), and where G is no (n_params, n_params)
    array.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> optimiser = qpr.imaginary_time(lambda theta: qpr.metric(model, theta), 0.1)
    >>> result = qpr.train(model, optimiser=optimiser, params=[1.0], steps=60)
    >>> round(result.loss, 3)
    -1.0
    """
    check_rate(step)
    check_cutoff(cutoff)

    def init(params: Tree) -> NaturalGradientState:
        return NaturalGradientState(np.zeros((), np.int64))

    def update(gradients: Tree, state: NaturalGradientState, params: Tree = None) -> tuple[Tree, NaturalGradientState]:
        if params is None:
            raise QupropError("imaginary_time needs the parameters: call update(gradients, state, params)")
        rate = _rate(step, int(state.step)) / 2
        theta, slope = (params["theta"], gradients["theta"]) if isinstance(params, dict) else (params, gradients)
        tensor = checked("what metric(theta) returns", metric(theta), (np.size(theta), np.size(theta)))
        move = -rate * solve_truncated(tensor, slope, cutoff)
        updates = {**tree_map(lambda g: -rate * g, gradients), "theta": move} if isinstance(params, dict) else move
        return updates, NaturalGradientState(state.step + 1)

    return Optimiser(init, update)


def solve_truncated(tensor: np.ndarray, right: np.ndarray, cutoff: float, damping: float = 0.0) -> np.ndarray:
    """The shortest least-squares solution v of (G + damping) v = right, G symmetric and not negative, without the
    eigenvectors whose eigenvalue is below ``cutoff`` times the largest."""
    values, vectors = np.linalg.eigh(tensor)
    kept = values > cutoff * max(float(values.max(initial=0.0)), 0.0)
    solved: np.ndarray = vectors[:, kept] @ ((vectors[:, kept].T @ right) / (values[kept] + damping))
    return solved


def check_cutoff(cutoff: float) -> None:
    if not 0 <= cutoff < 1:
        raise QupropError(f"`cutoff` is a fraction of the metric's largest eigenvalue, in [0, 1), got {cutoff!r}")


@dataclass(frozen=True)
class LBFGS:
    """SciPy's L-BFGS-B on the full batch, for exact gradients only (its line search trusts every digit).

    Stops when the largest gradient entry is under ``gradient_tolerance``, or the loss improves by less than
    ``loss_tolerance`` relative. Reference: Liu and Nocedal, Mathematical Programming 45, 503 (1989).

    memory: pairs of steps and gradients it keeps.
    Raises: QupropError for memory below 1 or tolerances below 0, and in `train` for batches, sampled losses or a
    gradient method.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> result = qpr.train(model, optimiser=qpr.LBFGS(), params=[1.0], steps=50)
    >>> round(result.loss, 6), result.status
    (-1.0, 'converged')
    """

    memory: int = 20
    gradient_tolerance: float = 1e-7
    loss_tolerance: float = 1e-13

    def __post_init__(self) -> None:
        if self.memory < 1 or self.gradient_tolerance < 0 or self.loss_tolerance < 0:
            raise QupropError(
                "LBFGS needs memory >= 1 and tolerances >= 0, got "
                f"memory={self.memory}, gradient_tolerance={self.gradient_tolerance}, "
                f"loss_tolerance={self.loss_tolerance}"
            )


OPTIMISERS = {
    "adam": adam,
    "sgd": sgd,
    "natural_gradient": natural_gradient,
    "imaginary_time": imaginary_time,
    "lbfgs": LBFGS,
}
OF_STATES = ("natural_gradient", "imaginary_time")  # those that ask for the metric of one model
