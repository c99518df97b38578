"""Many steps as one linear system, and the solvers of it."""

from functools import partial

from quprop.lazy import submodule

__getattr__ = partial(submodule, __name__)
