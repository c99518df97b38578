"""Upload and download, and their queries."""

from functools import partial

from quprop.lazy import submodule

__getattr__ = partial(submodule, __name__)
