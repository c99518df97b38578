"""The cost of one gradient of a `Shape` by every method, in closed form: no model is built and nothing is run.

The laws are those of each method's own docstring, with sums over circuits replaced by the shape's numbers; the method
itself has them (`GradientMethod.formula`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from quprop.cost import Cost, human_seconds, short
from quprop.errors import QupropError
from quprop.gradients import COSTED, PLAIN
from quprop.sampling.shape import Shape, Wanted


def cost_of(name: str, shape: Shape, wanted: Wanted) -> Cost:
    """One gradient by method `name`; QupropError where the method does not serve the shape."""
    why = shape.missing.get(name)
    if why:
        raise QupropError(why)
    if not shape.trained or not shape.reaches or not shape.norm:
        return Cost()
    try:
        return COSTED[name].formula(shape, wanted)
    except OverflowError:
        raise QupropError(f"{name} would take more than 1e308 runs here; loosen the precision") from None


def rivalry(costs: Mapping[str, Cost]) -> str:
    """One sentence: the cheapest method that runs on single copies, in rotations and Toffolis of one gradient, and how
    many more or fewer those take that hold many copies; "" without either."""
    run = {n: c.gates for n, c in costs.items() if c.gates and not COSTED[n].costed_only}
    single = [n for n in run if COSTED[n].copies == 1]
    held = sorted((n for n in run if COSTED[n].copies == "many"), key=lambda n: run[n])
    if not single or not held:
        return ""
    best = min(single, key=lambda n: (run[n], n != PLAIN))
    ratios = ", ".join(f"{n} {_plain(run[n] / run[best])} times" for n in held)
    return (
        f"In rotations and Toffolis the cheapest with single copies is {best}, {_plain(run[best])}; on copies held "
        f"together {ratios} as many."
    )


def people(seconds: float) -> str:
    """Seconds in units that people use."""
    return tidy(human_seconds(seconds)) if math.isfinite(seconds) else "∞"


def tidy(text: str) -> str:
    """1.5e+08 as 1.5e8."""
    return re.sub(r"e\+?(-?)0*(\d)", r"e\1\2", text)


def _plain(number: float) -> str:
    return tidy(short(number) if isinstance(number, int) else f"{number:.3g}")
