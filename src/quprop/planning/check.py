"""The formulas of `costs.py` against counted runs: circuits that are built, and shots that the sampler draws, at small
size.

Each method is run on a family of which a closed shape is known (`named.py`), and what its estimate counted is held
against the formula. Quantum backpropagation is planned at its worst case; here the triggers that the run had take the
place of the bound.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quprop.cost import Cost
from quprop.errors import QupropError, nearest
from quprop.gradients import FORMULAS, METHODS
from quprop.planning.costs import COSTS, backprop_cost, backprop_design, cost_of
from quprop.planning.measured.families import QUBITS, find
from quprop.planning.named import commuting_generator, hardware_efficient
from quprop.sampling.budget import Budget
from quprop.sampling.shape import Shape, Wanted

SIZES = (16, 32, 64)
# Random directions are counted at a coarse precision: each of their many shots is a circuit of its own.
_PRECISION = {
    "classical_shadows": 0.8,
    "forward_gradient": 2.0,
    "spsa": 1.0,
    "fully_gentle": 1.0,
    "quantum_backprop": 0.1,
}
_USUAL = 0.2
_COUNTED = ("copies", "rotations", "measurements")  # what a device counts; simulators: classical_ops


@dataclass(frozen=True)
class Checked:
    """counted / formula, the one farthest from 1 among copies, rotations and runs (multiply-adds of a simulator)."""

    method: str
    family: str
    parameters: int
    formula: Cost
    counted: Cost
    ratio: float


def check(methods: Iterable[str] | None = None, sizes: Iterable[int] = SIZES, seed: int = 0) -> list[Checked]:
    """One row for each method and size, on commuting generators and, where the method serves it and its shape is
    exact, on the hardware-efficient circuit."""
    names = [name for name in COSTS if name not in FORMULAS] if methods is None else list(methods)
    for name in names:
        if name not in METHODS:
            raise QupropError(f"unknown method {name!r}: {nearest(name, METHODS)}")
    out = []
    for name in names:
        for m in sizes:
            for family, shape in _shapes(m):
                wanted = Wanted("precision", _PRECISION.get(name, _USUAL))
                if name in shape.missing or (name == "classical_shadows" and family == "hardware_efficient"):
                    continue
                model, theta = find(family).build(m, 0)[0]
                out.append(check_one(name, family, shape, model, theta, wanted, seed))
    return out


def check_one(
    name: str, family: str, shape: Shape, model: Any, theta: np.ndarray, wanted: Wanted, seed: int
) -> Checked:
    """One estimate, counted, and the formula for the same shape."""
    x = np.zeros(0)
    method = method_of(name, wanted, shape.parameters)
    if name == "quantum_backprop":
        method = replace(method, explain=True)
    plan = method.compile(model, at=(theta, x))
    estimate = plan.estimate(theta, x, np.random.default_rng(seed))
    formula = cost_of(name, shape, wanted)
    if name == "quantum_backprop":
        where = [j for j, layer in enumerate(estimate.info["sweep"].layers) if layer.triggered]
        formula = backprop_cost(shape, backprop_design(shape, wanted), where)
    counted = estimate.cost
    fields = _COUNTED if counted.measurements else ("classical_ops",)
    ratios = [getattr(counted, f) / getattr(formula, f) for f in fields]
    return Checked(
        name, family, shape.parameters, formula, counted, max(ratios, key=lambda r: abs(np.log(max(r, 1e-300))))
    )


def method_of(name: str, wanted: Wanted, parameters: int) -> Any:
    """The method with the budget in the form that it takes."""
    kind = METHODS[name]
    if kind.copies == 0 and not issubclass(kind, Budget):
        return kind()
    try:
        return kind(**{wanted.kind: wanted.value}, failure=wanted.failure)
    except QupropError:
        return kind(max_error=wanted.max_error(parameters), failure=wanted.failure)


def _shapes(m: int) -> list[tuple[str, Shape]]:
    return [
        ("commuting_generator", commuting_generator(m.bit_length(), m)),
        ("hardware_efficient", hardware_efficient(QUBITS, m // (2 * QUBITS))),
    ]
