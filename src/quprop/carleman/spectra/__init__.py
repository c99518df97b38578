"""Spectra of Hessians: whether and how long descent is dissipative."""

from quprop.lazy import lazy, listing

__getattr__, __dir__ = lazy(__name__), listing(__name__)
