"""Spectra of Hessians: whether and how long descent is dissipative."""

from functools import partial

from quprop.lazy import submodule

__getattr__ = partial(submodule, __name__)
