"""The methods' formulas against counted runs: circuits that are built, and shots that the sampler draws, at small size.

Each method is run on a family of which a closed shape is known (`named.py`), and what its estimate counted is held
against the formula. Quantum backpropagation is planned at its worst case; here the triggers that the run had take the
place of the bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError, nearest
from quprop.gradients import METHODS
from quprop.planning.costs import cost_of
from quprop.planning.measured.families import QUBITS, find
from quprop.planning.named import commuting_generator, hardware_efficient
from quprop.sampling.shape import Shape, Wanted

SIZES = (16, 32, 64)
_COUNTED = ("copies", "rotations", "measurements", "toffolis")  # what a device counts; simulators: classical_ops


@dataclass(frozen=True)
class Checked:
    """counted / formula, the one farthest from 1 among copies, rotations, runs, Toffolis (simulated: multiply-adds)."""

    method: str
    family: str
    parameters: int
    formula: Cost
    counted: Cost
    ratio: float


def check(methods: Iterable[str] | None = None, sizes: Iterable[int] = SIZES, seed: int = 0) -> list[Checked]:
    """One row for each method and size, on commuting generators and, where the method serves it and its shape is
    exact, on the hardware-efficient circuit."""
    names = list(METHODS) if methods is None else list(methods)
    for name in names:
        if name not in METHODS:
            raise QupropError(f"unknown method {name!r}: {nearest(name, METHODS)}")
    out = []
    for name in names:
        for m in sizes:
            for family, shape in _shapes(m):
                wanted = Wanted("precision", METHODS[name].checked_at)
                if name in shape.missing or name in shape.bounds:
                    continue
                model, theta = find(family).build(m, 0)[0]
                out.append(check_one(name, family, shape, model, theta, wanted, seed))
    return out


def check_one(
    name: str, family: str, shape: Shape, model: Any, theta: np.ndarray, wanted: Wanted, seed: int
) -> Checked:
    """One estimate, counted, and the formula for the same shape."""
    x = np.zeros(0)
    plan = METHODS[name].checked(wanted, shape.parameters).compile(model, at=(theta, x))
    estimate = plan.estimate(theta, x, np.random.default_rng(seed))
    cost_of(name, shape, wanted)  # refuses what the method does not serve
    formula = METHODS[name].formula_of_run(shape, wanted, estimate)
    counted = estimate.cost
    fields = _COUNTED if counted.measurements else ("classical_ops",)
    used = [f for f in fields if getattr(counted, f) or getattr(formula, f)]
    ratios = [getattr(counted, f) / max(getattr(formula, f), 1) for f in used]
    return Checked(
        name, family, shape.parameters, formula, counted, max(ratios, key=lambda r: abs(np.log(max(r, 1e-300))))
    )


def _shapes(m: int) -> list[tuple[str, Shape]]:
    return [
        ("commuting_generator", commuting_generator(m.bit_length(), m)),
        ("hardware_efficient", hardware_efficient(QUBITS, m // (2 * QUBITS))),
    ]
