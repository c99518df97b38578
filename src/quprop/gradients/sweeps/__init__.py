"""Gradients from batches of copies that are swept through the circuit."""

from functools import partial

from quprop.lazy import submodule

__getattr__ = partial(submodule, __name__)
