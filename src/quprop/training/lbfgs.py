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
    pass


def run_lbfgs(
    loss_and_grad: Callable[[Params], tuple[float, Params]],
    params: Params,
    settings: LBFGS,
    iterations: int,
    *,
    evaluations: list[Evaluation],
    save: Callable[[Params, int, bool], None],
    line: Callable[[int, float, Params], None],
    stop: Callable[[], bool],
) -> tuple[Params, int, str]:
    """Minimise from ``params``; returns parameters, iterations and status. ``evaluations`` is replayed, then appended
    to."""
    keys, shapes = list(params), {key: value.shape for key, value in params.items()}
    cuts = np.cumsum([params[key].size for key in keys])[:-1]
    recorded = len(evaluations)
    replay = iter(evaluations[:])
    best: dict[str, Any] = {"point": flatten(params, keys), "loss": np.inf, "iteration": 0}

    def unflatten(vector: np.ndarray) -> Params:
        return {key: part.reshape(shapes[key]).copy() for key, part in zip(keys, np.split(vector, cuts), strict=True)}

    def note(vector: np.ndarray, loss: float) -> None:
        if loss < best["loss"]:
            best.update(point=vector.copy(), loss=loss)

    def function(vector: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal recorded
        known = next(replay, None) if recorded else None
        if known is not None and np.array_equal(known[0], vector):
            note(vector, float(known[1]))
            return float(known[1]), known[2]
        if known is not None:  # another SciPy or machine than before: from here on the record is of no use
            del evaluations[len(evaluations) - recorded :]
            recorded = 0
        loss, slopes = loss_and_grad(unflatten(vector))
        slope = flatten(slopes, keys)
        evaluations.append((vector.copy(), loss, slope))
        note(vector, loss)
        save(unflatten(best["point"]), best["iteration"], False)
        if stop():
            raise _Stopped
        return loss, slope

    def callback(intermediate_result: Any) -> None:
        best["iteration"] += 1
        line(best["iteration"], float(intermediate_result.fun), unflatten(intermediate_result.x))

    if iterations == 0:
        return params, 0, "finished"
    import scipy.optimize  # a tenth of a second and more, which who only wants a gradient need not wait for

    options = {
        "maxiter": iterations,
        "maxfun": 100 * iterations,
        "maxcor": settings.memory,
        "gtol": settings.gradient_tolerance,
        "ftol": settings.loss_tolerance,
    }
    try:
        result = scipy.optimize.minimize(
            function, best["point"], jac=True, method="L-BFGS-B", callback=callback, options=options
        )
    except _Stopped:
        return unflatten(best["point"]), best["iteration"], "interrupted"
    return unflatten(np.asarray(result.x)), best["iteration"], "converged" if result.success else "finished"


def flatten(params: Params, keys: list[str]) -> np.ndarray:
    return np.concatenate([np.ravel(params[key]) for key in keys]).astype(float)
