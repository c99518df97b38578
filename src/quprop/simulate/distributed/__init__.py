"""One state over the ranks of MPI.

A rotation with mask x mixes amplitude j with j xor x only. So where the x masks of many rotations span no more
dimensions than the index bits that one rank holds, an index can be written in coordinates (`coordinates.py`) whose
upper bits, the rank's, none of them changes: these rotations are a *stretch*, each rank does them on its own
(`part.py`), and only from stretch to stretch the ranks exchange amplitudes (`exchange.py`). `stretches.py` cuts a model
into stretches, `traffic.py` counts what they move.
"""

from quprop.lazy import lazy, listing
from quprop.simulate.distributed.settings import Distributed

__all__ = ["Distributed"]

__getattr__, __dir__ = lazy(__name__), listing(__name__)
