"""Two plans that others have published, with the assumptions that give their numbers.

figure2   Abbas et al. (NeurIPS 2023, arXiv:2305.13362), figure 2: parameters that a gradient may have in a given time
talk      the first author's talk on that paper: 10^9 parameters, "31 years" without backpropagation against "5 minutes"
"""

from __future__ import annotations

import math
from typing import Any

from quprop.hardware_models import PRESETS as MACHINES
from quprop.planning.measured.figure2 import LAWS, T_Q, TIMES, TWO, Constants, reach, table
from quprop.planning.named import summary
from quprop.planning.training import changes_of
from quprop.sampling.shape import Wanted

YEAR = 365.25 * 86400
TALK_PARAMETERS = 10**9
TALK_FORWARD = 60.0  # seconds of a value
TALK_OMEGA = 4.0  # a gradient besides its value, in values; the talk says 2 to 4


def figure2(
    qubits: int = 100, max_error: float = 0.1, failure: float = 0.01, *, with_constants: bool = True
) -> dict[str, Any]:
    """The figure's table; the same with constants and powers of the error for `qubits` and `max_error`; and where
    quprop's own counts put the break-even, classical side left out as the paper leaves it out. Without constants: the
    table alone."""
    constants = Constants(qubits, max_error, failure) if with_constants else None
    found: dict[str, Any] = {
        "kind": "figure2",
        "source": "Abbas et al., NeurIPS 2023, arXiv:2305.13362, Figure 2",
        "by": "formula",
        "assumptions": [
            "n = 100 qubits, 10 us an operation, a primitive of 100 operations: T_q = 1 ms a rotation",
            "accuracy of order one, no constants, readout, reset and the classical hypothesis for free",
            "parameter shift M^2 T_q; quantum backpropagation M polylog(M) T_q (which power is not said: three)",
        ],
        "seconds_per_primitive": T_Q,
        "parameters": table(constants),
        "laws": list(LAWS),
        "ten_thousand_parameters": {name: law(1e4) * T_Q for name, law in LAWS.items()},
    }
    if constants is None:
        return found
    changes = changes_of(
        summary(constants.qubits, 1000),
        Wanted("max_error", constants.error, constants.failure),
        MACHINES["figure2"],
        ("parameter_shift", "quantum_backprop"),
        math.inf,
    )
    own = next((c.parameters for c in changes if c.method == "quantum_backprop" and c.parameters > 2), None)
    return found | {
        "constants": vars(constants),
        "break_even": constants.break_even(),
        "break_even_of_two_batches": constants.break_even(TWO),
        "with_constants": {
            "qubits": constants.qubits,
            "max_error": constants.error,
            "failure": constants.failure,
            "parameters": {
                time: {name: reach(seconds, law) for name, law in constants.laws.items()}
                for time, seconds in TIMES.items()
            },
            "break_even": constants.break_even(),
            "break_even_of_two_batches": constants.break_even(TWO),
            "break_even_of_quprop": own,
        },
    }


def talk() -> dict[str, Any]:
    """Rows (what, seconds, assumption)."""
    M, forward = TALK_PARAMETERS, TALK_FORWARD
    shift, sweep = LAWS["M²"](M) * T_Q, LAWS["M ln² M"](M) * T_Q
    return {
        "kind": "plan",
        "source": "talk on Abbas et al., arXiv:2305.13362: 10^9 parameters, 31 years against 5 minutes",
        "by": "formula",
        "rows": [
            {
                "what": "reverse mode",
                "seconds": forward * (1 + TALK_OMEGA),
                "assumption": f"a value takes {forward:g} s and its gradient {TALK_OMEGA:g} times as long again, the "
                "upper end of the talk's 2 to 4",
            },
            {
                "what": "a value for each parameter, 1 s",
                "seconds": float(M),
                "assumption": "10^9 values of 1 s each: the talk's 31 years take a value to last 1 s, not 60",
            },
            {
                "what": "a value for each parameter, 60 s",
                "seconds": M * forward,
                "assumption": "what 60 s a value would give; twice that by central differences",
            },
            {
                "what": "parameter shift, figure 2",
                "seconds": shift,
                "assumption": "quantum, 10^18 rotations of 1 ms, accuracy of order one",
            },
            {
                "what": "quantum backpropagation, figure 2",
                "seconds": sweep,
                "assumption": "quantum, M ln^2 M rotations of 1 ms, accuracy of order one, classical side for free",
            },
        ],
        "years": M / YEAR,
        "minutes": forward * (1 + TALK_OMEGA) / 60,
    }
