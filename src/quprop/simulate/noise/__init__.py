"""Models with noise: their mixed state as a real vector over all Pauli strings."""

from functools import partial

from quprop.lazy import submodule

__getattr__ = partial(submodule, __name__)
