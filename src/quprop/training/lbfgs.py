"""SciPy's L-BFGS as a loop that can be cut anywhere and continued bit for bit.

SciPy keeps the state of its iteration to itself. But it is a deterministic function of the losses and gradients it was
given: so those are what we keep. A resumed run goes through the recorded evaluations again, without computing them, and
arrives where it was cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from quprop.training.optimise import LBFGS

Params = dict[str, np.ndarray]
Evaluation = tuple[np.ndarray, float, np.ndarray]  # point, loss, slope, all parameters in one flat vector


class _Stopped(Exception):
    """Its argument is the status that the training ends with."""


class _Loss:
    """Loss and slope of a flat vector, as SciPy asks for them: from the record as long as it lasts, then computed and
    recorded; and the best point so far."""

    def __init__(
        self,
        loss_and_grad: Callable[[Params], tuple[float, Params]],
        params: Params,
        evaluations: list[Evaluation],
        save: Callable[[Params, int, bool], None],
        stop: Callable[[], bool],
    ) -> None:
        self._loss_and_grad, self._evaluations, self._save, self._stop = loss_and_grad, evaluations, save, stop
        self._keys, self._shapes = list(params), [value.shape for value in params.values()]
        self._cuts = np.cumsum([value.size for value in params.values()])[:-1]
        self._recorded, self._replay = len(evaluations), iter(evaluations[:])
        self.point, self.loss, self.iteration = flatten(params, self._keys), np.inf, 0

    def params(self, vector: np.ndarray) -> Params:
        parts = zip(self._keys, np.split(vector, self._cuts), self._shapes, strict=True)
        return {key: part.reshape(shape).copy() for key, part, shape in parts}

    def __call__(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        known = next(self._replay, None) if self._recorded else None
        if known is not None and np.array_equal(known[0], vector):
            self._note(vector, float(known[1]))
            return float(known[1]), known[2]
        if known is not None:  # another SciPy or machine than before: from here on the record is of no use
            del self._evaluations[len(self._evaluations) - self._recorded :]
            self._recorded = 0
        loss, slopes = self._loss_and_grad(self.params(vector))
        slope = flatten(slopes, self._keys)
        self._evaluations.append((vector.copy(), loss, slope))
        self._note(vector, loss)
        self._save(self.params(self.point), self.iteration, False)
        if self._stop():
            raise _Stopped("interrupted")
        return loss, slope

    def _note(self, vector: np.ndarray, loss: float) -> None:
        if loss < self.loss:
            self.point, self.loss = vector.copy(), loss


def run_lbfgs(
    loss_and_grad: Callable[[Params], tuple[float, Params]],
    params: Params,
    settings: LBFGS,
    iterations: int,
    *,
    evaluations: list[Evaluation],
    save: Callable[[Params, int, bool], None],
    line: Callable[[int, float, Params], bool],
    stop: Callable[[], bool],
) -> tuple[Params, int, str]:
    """Minimise from ``params``, or until ``line`` returns True; returns parameters, iterations and status.
    ``evaluations`` is replayed, then appended
    to."""
    if iterations == 0:
        return params, 0, "finished"
    import scipy.optimize  # a tenth of a second and more, which who only wants a gradient need not wait for

    loss = _Loss(loss_and_grad, params, evaluations, save, stop)

    def callback(intermediate_result: Any) -> None:
        loss.iteration += 1
        if line(loss.iteration, float(intermediate_result.fun), loss.params(intermediate_result.x)):
            raise _Stopped("stopped")

    options = {
        "maxiter": iterations,
        "maxfun": 100 * iterations,
        "maxcor": settings.memory,
        "gtol": settings.gradient_tolerance,
        "ftol": settings.loss_tolerance,
    }
    try:
        result = scipy.optimize.minimize(
            loss, loss.point, jac=True, method="L-BFGS-B", callback=callback, options=options
        )
    except _Stopped as stopped:
        return loss.params(loss.point), loss.iteration, str(stopped)
    return loss.params(np.asarray(result.x)), loss.iteration, "converged" if result.success else "finished"


def flatten(params: Params, keys: list[str]) -> np.ndarray:
    return np.concatenate([np.ravel(params[key]) for key in keys]).astype(float)
