"""What is known beforehand of a model's derivatives: bounds that choose steps and say how large a bias can be.

|d^k F / da_m1 ... da_mk| <= B for Pauli rotations, with B the sum of the |coefficients| of weights . O, because each
derivative is half a commutator with a P of norm 1. So F as a function of one parameter that drives its rotations
linearly has |F'| <= B W, |F'''| <= B W^3, with W_i = sum_m |da_m/dtheta_i| (Bernstein).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quprop.model import Model
from quprop.model.angle_table import AngleTable
from quprop.sampling.linear import points, slope_bounds


def reaches(model: Model, at: Any) -> np.ndarray:
    """W_i = sum_m |da_m/dtheta_i| at most, (P,); at: see `slope_bounds`."""
    return np.asarray(slope_bounds(model, at).sum(axis=0)).ravel()


def is_affine(model: Model) -> bool:
    """Whether every angle is affine in theta, for given x."""
    return all(np.all((g.var < model.n_params).sum(axis=0) <= 1) for g in model.angle_table.groups)


def third_derivative(model: Model, at: Any, step: np.ndarray, bound: float) -> np.ndarray:
    """A bound (P,) on |d^3 F/dtheta_i^3| within step_i of theta_i: B (A1^3 + 3 A1 A2 + A3), with Ak >= sum_m |d^k a_m|.

    Faa di Bruno's formula; A2 and A3 vanish unless a parameter is multiplied by itself.
    """
    table = model.angle_table
    sizes = np.ones(table.n_params + table.n_inputs)
    if at is not None:
        thetas, xs = points(model, at)
        sizes = np.abs(np.concatenate([thetas, xs[:, : table.n_inputs]], axis=1)).max(axis=0)
    first, second, third = _along(table, sizes, step)
    return bound * (first**3 + 3 * first * second + third)


def _along(table: AngleTable, sizes: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, ...]:
    out = np.zeros((3, table.n_params))
    for g in table.groups:
        if len(g.var) == 1:
            mine = g.var[0] < table.n_params
            np.add.at(out[0], g.var[0][mine], np.abs(g.coef[mine]))
            continue
        for coefficient, variables in zip(np.abs(g.coef), g.var.T, strict=True):
            for i in set(variables[variables < table.n_params].tolist()):
                power = int(np.count_nonzero(variables == i))
                rest = coefficient * float(np.prod(sizes[variables[variables != i]]))
                far = sizes[i] + step[i]
                for k in range(min(power, 3)):
                    rest *= power - k
                    out[k, i] += rest * far ** (power - k - 1)
    return tuple(out)
