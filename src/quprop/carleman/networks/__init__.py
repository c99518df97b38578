"""The networks that are trained, and their data."""

from functools import partial

from quprop.lazy import submodule

__getattr__ = partial(submodule, __name__)
