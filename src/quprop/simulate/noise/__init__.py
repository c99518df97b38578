"""Models with noise: their mixed state as a real vector over all Pauli strings."""

from quprop.lazy import lazy, listing

__getattr__, __dir__ = lazy(__name__), listing(__name__)
