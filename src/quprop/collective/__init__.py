"""Many copies at once: threshold checks, the copy engines, hypothesis states.

event, check, check_circuit             what is asked of a batch, how often it triggers, how gentle it is, its gates
protocol, ledger, sweep                 what a batch of copies is, what it went through, events one by one
null, commuting, symmetric, product_sum, bosonic, gaussian, mean_field   engines that simulate a batch
engines, fallback                       COPY_ENGINES, all by name; `auto`, which one to take, and what comes after it
hypothesis/                             classical guesses at the state, learned from triggers
"""

from functools import partial

from quprop.lazy import submodule

__getattr__ = partial(submodule, __name__)
