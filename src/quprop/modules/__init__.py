"""Models of modules: composition and cutting."""

from functools import partial

from quprop.lazy import submodule

__getattr__ = partial(submodule, __name__)
