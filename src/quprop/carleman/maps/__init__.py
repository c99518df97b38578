"""Gradient descent as a polynomial map."""

from functools import partial

from quprop.lazy import submodule

__getattr__ = partial(submodule, __name__)
