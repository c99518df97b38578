"""Models of modules: composition and cutting."""

from quprop.lazy import lazy, listing

__getattr__, __dir__ = lazy(__name__), listing(__name__)
