"""What gradient methods share: programs and their runs, the sampler, budgets, plans, copies."""

from quprop.lazy import lazy, listing

__getattr__, __dir__ = lazy(__name__), listing(__name__)
