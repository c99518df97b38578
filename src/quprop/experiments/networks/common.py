"""What the experiments of this folder share: their source, and figures drawn from the panels of a result."""

from __future__ import annotations

from collections.abc import Callable

from quprop.carleman.figure import draw_curves
from quprop.experiments.experiment import Result

LIU = "Liu et al., Nat. Commun. 15, 434 (2024)"
PNAS = "Liu et al., PNAS 118, e2026805118 (2021)"


def drawn(title: str) -> Callable[[Result], bytes]:
    """The PNG of result["panels"], see `draw_curves`."""
    return lambda result: draw_curves(result["panels"], title)
