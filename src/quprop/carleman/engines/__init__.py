"""The engines behind one protocol, `TOWERS` by name; `quprop.carleman.engines.lift` chooses among them.

Each follows the same truncated tower y_j ~ u⊗j, j = 1..N. They differ in what of it they hold.
"""

from quprop.carleman.engines.jets import JetTower
from quprop.carleman.engines.kronecker import KroneckerTower
from quprop.carleman.engines.low_rank import LowRankTower
from quprop.carleman.engines.state import LiftedState
from quprop.carleman.engines.symmetric import SymmetricTower
from quprop.carleman.engines.tensor_train import TensorTrainTower
from quprop.lazy import listing

TOWERS: dict[str, type[LiftedState]] = {
    "kronecker": KroneckerTower,
    "symmetric": SymmetricTower,
    "jets": JetTower,
    "low_rank": LowRankTower,
    "tensor_train": TensorTrainTower,
}

ENGINES = TOWERS

__all__ = [
    "ENGINES",
    "TOWERS",
    "JetTower",
    "KroneckerTower",
    "LiftedState",
    "LowRankTower",
    "SymmetricTower",
    "TensorTrainTower",
]

__dir__ = listing(__name__)
