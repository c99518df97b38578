"""Engines that hold the whole state vector: the native kernels and the reference."""

from functools import partial

from quprop.lazy import submodule

__getattr__ = partial(submodule, __name__)
