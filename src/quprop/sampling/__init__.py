"""What gradient methods share: programs and their runs, the sampler, budgets, plans, copies."""

from functools import partial

from quprop.lazy import submodule

__getattr__ = partial(submodule, __name__)
