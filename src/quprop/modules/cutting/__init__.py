"""Large circuits from modules of few qubits: gates and wires cut, values and gradients joined again.

steps.py       the circuit as the cutter sees it
find.py        where to cut: the least overhead for fragments of at most k qubits
fragments.py   each fragment as a model, every setting an observable of it
contract.py    joining the fragments' tensors, and back
plan.py        `CutPlan`: exact values and gradients through the cuts
cutter.py      `cut`: by search or by hand, and what is refused
sample.py      shots by quasi-probability, with standard errors
"""

from quprop.lazy import lazy, listing
from quprop.modules.cutting.cutter import cut
from quprop.modules.cutting.plan import CutPlan

__all__ = ["CutPlan", "cut"]
__getattr__ = lazy(__name__)
__dir__ = listing(__name__)
