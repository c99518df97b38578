"""Many copies at once: threshold checks, the copy engines, hypothesis states.

event, check                            what is asked of a batch, how often it triggers, how gentle it is
check_circuit, check_gates              the gates of checks and readings: counted, listed
protocol, ledger, sweep                 what a batch of copies is, what it went through, events one by one
null, commuting, symmetric, product_sum, bosonic, gaussian, mean_field   engines that simulate a batch
engines, fallback                       COPY_ENGINES, all by name; `auto`, which one to take, and what comes after it
hypothesis/                             classical guesses at the state, learned from triggers
"""

from quprop.lazy import lazy, listing

__getattr__, __dir__ = lazy(__name__), listing(__name__)
