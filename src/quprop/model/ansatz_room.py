"""How large a circuit made by name may be."""

from __future__ import annotations

from quprop.errors import QupropError, shown

_MOST_GATES = 10_000_000  # of a named circuit
_GATE_BYTES, _GATE_SECONDS = 800, 2e-5  # what a gate and its rotations take until there is a model


def require_room(what: str, count: int, each: int) -> None:
    """Refuse, before any work, a circuit of `count` times `each` gates that nobody waits for."""
    gates = min(count * each, 10**30)
    if gates > _MOST_GATES:
        memory, minutes = gates * _GATE_BYTES / 2**30, gates * _GATE_SECONDS / 60
        raise QupropError(
            f"{what}={shown(count)} makes {float(gates):.3g} gates, which take about {memory:,.3g} GiB and "
            f"{minutes:,.3g} minutes before the first value; take {what}={_MOST_GATES // each} at most"
        )
