"""Values and gradients at sizes where no state fits: observables propagated backwards as sums of Pauli strings.

A rotation exp(-i a P/2) turns a string Q that anticommutes with P into cos(a) Q + sin(a) iPQ, so the sum grows; what
is small is dropped, and what that can do to the value and to each derivative is bounded (`certificate.py`). The
derivatives come from going back through the kept strings (`native/pauli/graph.hpp`).
"""

from quprop.lazy import lazy, listing

__getattr__, __dir__ = lazy(__name__), listing(__name__)
