"""All engines by name, and which one to take."""

from __future__ import annotations

import math

from quprop.collective.check import KINDS
from quprop.collective.engines.bosonic import BosonicEngine
from quprop.collective.engines.commuting import CommutingEngine
from quprop.collective.engines.fallback import FallbackEngine
from quprop.collective.engines.gaussian import GaussianEngine
from quprop.collective.engines.mean_field import MeanFieldEngine
from quprop.collective.engines.null import NullEngine
from quprop.collective.engines.product_sum import ProductSumEngine
from quprop.collective.engines.symmetric import SymmetricEngine
from quprop.collective.engines.symmetric_space import dimension
from quprop.collective.protocol import CopyEngine
from quprop.errors import QupropError, count_of
from quprop.lazy import listing
from quprop.simulate import memory

__all__ = ["COPY_ENGINES", "ENGINES", "auto"]

__dir__ = listing(__name__)

COPY_ENGINES: dict[str, type[CopyEngine]] = {
    "null": NullEngine,
    "commuting": CommutingEngine,
    "symmetric": SymmetricEngine,
    "product_sum": ProductSumEngine,
    "bosonic": BosonicEngine,
    "gaussian": GaussianEngine,
    "mean_field": MeanFieldEngine,
}
ENGINES = COPY_ENGINES  # the name that programs written for earlier versions ask for

_EXACT_UP_TO = 1 << 20  # amplitudes of the symmetric space with which a check takes under half a second
_INVISIBLE = 0.01  # damage that no trajectory shows
_EXPANDS = 0.3  # damage up to which second order in it is a small correction


def auto(n: int, k: int, expected_damage: float, kind: str = "exponential") -> tuple[CopyEngine, str]:
    """The engine for k copies of n qubits, and why: by size, then by damage.

    `expected_damage` is what a ledger's `trace_bound` will have reached before a batch is replaced; `kind` is the noise
    of the checks. A batch may be damaged more than was expected: an engine that finds itself beyond its tolerance hands
    over to the next of those that fit, and the last is undisturbed copies, with the damage as their error. Commuting
    families have an exact engine at any size, which must be asked for, as only the caller knows that they commute.
    """
    if isinstance(n, bool) or not isinstance(n, int) or isinstance(k, bool) or not isinstance(k, int) or n < 1 or k < 1:
        raise QupropError(f"`n` and `k` are whole numbers, 1 or more, got {n!r} and {k!r}")
    if not (math.isfinite(expected_damage) and expected_damage >= 0):
        raise QupropError(f"`expected_damage` is a sum of trace distances, 0 or more, got {expected_damage}")
    if kind not in KINDS:
        raise QupropError(f"`kind` must be 'exponential' or 'gaussian', got {kind!r}")
    if (size := dimension(k, 2**n) if n <= 6 else _EXACT_UP_TO + 1) <= _EXACT_UP_TO:
        return SymmetricEngine(), f"the symmetric space of {count_of(k, 'copy')} has {size:,} amplitudes: exact"
    if expected_damage <= _INVISIBLE:
        return NullEngine(), f"expected damage {expected_damage:.2g}, the most trajectories are off in total variation"
    engines: list[CopyEngine] = [NullEngine()]
    free = memory.available_bytes()
    why = f"only one vector of {count_of(n, 'qubit')} fits: expect errors up to the damage, {expected_damage:.2g}"
    if BosonicEngine().required_bytes(n, k) <= free:
        engines.insert(0, BosonicEngine())
        why = f"damage {expected_damage:.2g} needs fluctuations beyond second order: error near the damage/sqrt(k)"
    if kind == "exponential" and expected_damage <= _EXPANDS and ProductSumEngine().required_bytes(n, k) <= free:
        engines.insert(0, ProductSumEngine())
        why = f"damage {expected_damage:.2g} is small enough for an expansion in it"
    return (FallbackEngine(tuple(engines)) if len(engines) > 1 else engines[0]), why
