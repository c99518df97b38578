"""Progress bars, tables, figures and the HTML page."""

from functools import partial

from quprop.lazy import submodule

__getattr__ = partial(submodule, __name__)
