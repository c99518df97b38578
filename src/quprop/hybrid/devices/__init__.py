"""Devices of other libraries as devices of plans: a file for each, imported when it is asked for."""

from quprop.lazy import lazy, listing

__all__ = ["braket", "pennylane", "qiskit"]

__getattr__, __dir__ = lazy(__name__), listing(__name__)
