"""One file per library: how a skilled user of it would get value and gradient of a workload.

Every module has the same face:
  DISTRIBUTIONS        what to report versions of
  variants(workload)   constructions worth trying, the likely best first; the fastest counts; none: not for this library
  build(workload, precision, variant, threads) -> Case
The number of threads is also in the environment (OMP_NUM_THREADS and friends) before the process starts: every case has its own.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    """Both take theta as a float64 NumPy array, (M,), and return Python floats and float64 NumPy arrays."""

    value: Callable[[np.ndarray], float]
    value_and_grad: Callable[[np.ndarray], tuple[float, np.ndarray]] | None  # None: the library has no gradient
    setup_s: float | None = None  # where set-up was timed on a share of the work: all of it


class Library(NamedTuple):
    module: str
    precisions: tuple[str, ...]
    special: bool = False  # uses knowledge of one family of circuits (fixed electron number); reported apart
    gradient: bool = True  # False: values only, for `diagonal.py`


BOTH = ("single", "double")
LIBRARIES = {
    "quprop": Library("libraries.quprop_native", BOTH),
    "lightning": Library("libraries.lightning", BOTH),
    "lightning-qnode": Library("libraries.lightning_qnode", BOTH),
    "mindquantum": Library("libraries.mindquantum_native", BOTH),
    "qulacs": Library("libraries.qulacs_backprop", ("double",)),
    "prism-q": Library("libraries.prism_q", ("double",)),
    "qokit": Library("libraries.qokit", ("double",), gradient=False),
    "qokit-O3": Library("libraries.qokit_optimised", ("double",), gradient=False),
    "tensorcircuit": Library("libraries.tensorcircuit_jax", BOTH),
    "mindquantum-chem": Library("libraries.mindquantum_chemistry", BOTH, special=True),
    "tensorcircuit-chem": Library("libraries.tensorcircuit_electrons", BOTH, special=True),
}
