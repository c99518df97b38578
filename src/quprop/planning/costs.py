"""The cost of one gradient of a `Shape` by every method, in closed form: no model is built and nothing is run.

The laws are those of each method's own docstring, with sums over circuits replaced by the shape's numbers; the method
itself has them (`GradientMethod.formula`).
"""

from __future__ import annotations

from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.gradients import COSTED
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
