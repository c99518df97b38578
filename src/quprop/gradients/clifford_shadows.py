"""Clifford shadows of the undisturbed pair state: all components from one set of copies, M rotations each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from quprop.cost import Cost
from quprop.gradients.classical_shadows import BATCHES, ClassicalShadows, averaging, variance_of_mean
from quprop.sampling.loads import Described, amplitudes, cost_of_load
from quprop.sampling.shape import Load, Shape, Wanted

if TYPE_CHECKING:
    from quprop.gradients.facts import ModelFacts


@dataclass(frozen=True, kw_only=True)
class CliffordShadows(ClassicalShadows):
    """`ClassicalShadows` with random Cliffords of the last frame: copies grow as 2^(n+1) ln(M) and no faster with M.

    Every component is the expectation of Y (x) W_m P_m W_m† on the undisturbed pair state (`PairState`), of squared
    shadow norm 2^(n+1) + 1 whatever the circuit. A copy costs M rotations and serves all components; for all within eps
    except with probability `failure`, P parameters of reach W and an observable of norm sum_t |u_t| = L take about

        N = 2 ln(2P/failure) ((L W)^2 + L W eps/3) (2^(n+1) + 1) / eps^2

    copies, of 4^n classical work each, and 4^n work a rotation to sweep their average through the circuit.

    The random Clifford that ends a copy has no rotations, and counts nothing here; on a machine it takes up to about
    (n+1)^2/2 two-qubit gates of its own.

    n + 1 qubits, 11 at most to run it here. Source: Huang, Kueng, Preskill, Nat. Phys. 16, 1050 (2020),
    arXiv:2002.08953; Remark 4 of Abbas et al., arXiv:2305.13362, on why its copies grow exponentially in n.

    ensemble, frames, groups: as in `ClassicalShadows`.
    Takes one budget (`quprop.sampling.budget.Budget`): shots, total_shots, precision, or max_error with `failure`.
    Raises: QupropError for another budget, and in `compile` for a model that it cannot serve.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> qpr.gradient(model, [np.pi / 6], method=qpr.CliffordShadows(total_shots=10_000), rng=0).value.round(2)
    array([-0.5])
    """

    name: ClassVar[str] = "clifford_shadows"
    checked_at: ClassVar[float] = 0.8
    ensemble: Literal["pauli", "clifford"] = "clifford"
    frames: Literal["each", "last"] = "last"

    @classmethod
    def load(cls, facts: ModelFacts) -> Load | None:
        return None

    @classmethod
    def described_load(cls, circuit: Described) -> Load | None:
        return None

    @classmethod
    def formula(cls, shape: Shape, wanted: Wanted) -> Cost:
        norm, M = 2.0 * amplitudes(shape) + 1, shape.rotations
        shots = norm * (shape.norm * shape.reach) ** 2
        if not shots:
            return Cost()
        variance = variance_of_mean(wanted, shape.parameters, 1 / (shape.norm * shape.reach))
        cost = cost_of_load(shape, Load(shape.terms, shots, shots * M, M, 0.0), variance, 1)
        batches = min(BATCHES, cost.measurements // shape.terms)
        return cost + averaging(shape.qubits, M, cost.measurements, batches, 1)
