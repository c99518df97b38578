"""Circuits with several times their gates, and gradients extrapolated from them to no noise."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from quprop.arrays import checked
from quprop.cost import Cost
from quprop.errors import QupropError, count_of, shown
from quprop.model.channels import refuse_channels
from quprop.model.circuit import Circuit, Operation
from quprop.model.input_state import InputState
from quprop.sampling.devices.device import DeviceCircuit, Folding, Work
from quprop.sampling.estimate import Estimate
from quprop.simulate.noise.mitigation import extrapolation


@dataclass(frozen=True)
class ZeroNoise:
    """Gradients extrapolated to no noise from those of folded circuits, U (U† U)^k, which have 2 k + 1 times the gates.

    The extrapolated gradient is sum_i c_i g_i, c_i of the polynomial of this degree that fits best at the scales, with
    the standard error sqrt(sum_i c_i^2 sigma_i^2): shots of different scales are independent. Everything between the
    input state and the measurement is folded, changes of basis included; the input state and the readout are not, so
    that their errors stay (`ReadoutInversion`). An angle is turned back by its own negative.

    scales: from 1. An odd whole number repeats every gate alike: noise of each gate's own qubits which commutes with
        it, as depolarising does, then has a first order in proportion to the scale, and a line leaves a bias of second
        order. Higher degrees leave less, and of second order the part that all scales share where the noise of
        different gates does not commute. Other scales fold the last gates once more, which tells nothing of the noise
        of the others, so that some of the first order stays. What is extrapolated from is the scale that a whole number
        of gates allows, `realised`.
    degree: of the polynomial, below the number of scales; None: one less, Richardson's, whose c_i are largest.

    (Temme, Bravyi, Gambetta 2017, arXiv:1612.02058; Giurgica-Tiron et al. 2020, arXiv:2005.10921.)

    Raises: QupropError for scales below 1 or that are not different, and a degree that they do not give.

    >>> zero = qpr.ZeroNoise(scales=(1, 3, 5), degree=1)
    >>> zero.coefficients.round(4), round(zero.variance_factor, 4)
    (array([ 1.0833,  0.3333, -0.4167]), 1.4583)
    """

    scales: tuple[float, ...] = (1.0, 3.0, 5.0)
    degree: int | None = 1

    def __post_init__(self) -> None:
        scales = checked("scales", self.scales, ("any number",))
        if scales.size and scales.min() < 1:
            raise QupropError(f"scales are from 1, the circuit as it is, got {scales.min():.6g}")
        extrapolation(scales.tolist(), self.degree)  # refuses what does not fit
        object.__setattr__(self, "scales", tuple(scales.tolist()))

    @property
    def coefficients(self) -> np.ndarray:
        """c (S,), where the scales are those asked for."""
        return extrapolation(self.scales, self.degree)

    @property
    def variance_factor(self) -> float:
        """sum_i c_i^2: the variance, as a multiple of that of each scale."""
        return float((self.coefficients**2).sum())

    def folded(self, circuit: DeviceCircuit, scale: float) -> DeviceCircuit:
        """The circuit with `scale` times its gates, or as nearly as whole gates allow.

        Barriers stand before and after each pass of U and U†: a compiler that looked across would take them all out.
        A device that compiles takes `folding` instead, so that every pass is the same gates on the same qubits. The
        scale 1 has barriers too, for its gates to be those of the others.
        """
        refuse_channels(circuit.circuit, "a folded circuit")
        if circuit.barriers:
            raise QupropError("a circuit that is folded already, or has barriers of its own, is not folded again")
        gates = circuit.circuit.operations
        k, last = _folds(len(gates), scale)
        parts = [gates, *[_turned_back(circuit.circuit, gates), gates] * k]
        if last:
            tail = gates[len(gates) - last :]
            parts += [_turned_back(circuit.circuit, tail), tail]
        ends = (0, len(gates) - last, len(gates)) if last else (0, len(gates))
        twin = circuit.circuit.copy()
        twin.steps = [step for part in parts for step in part]
        moving = sum(not all(a.is_constant for a in op.angles) for op in gates[len(gates) - last :])
        return replace(
            circuit,
            circuit=twin,
            rotations=(2 * k + 1) * circuit.rotations + 2 * moving,
            barriers=tuple(itertools.accumulate(map(len, parts), initial=0)),
            folding=Folding(replace(circuit, barriers=ends), k, bool(last)) if k or last else None,
        )

    def realised(self, work: Sequence[Work], scale: float) -> float:
        """The gates of all shots of this work when folded, as a multiple of those before."""
        gates = executed = 0
        for circuit, _, shots in work:
            count, n = len(circuit.circuit.operations), int(np.sum(shots))
            k, last = _folds(count, scale)
            gates += n * count
            executed += n * ((2 * k + 1) * count + 2 * last)
        return executed / gates if gates else float(scale)

    def combine(self, estimates: Sequence[Estimate], scales: Sequence[float] | None = None) -> Estimate:
        """sum_i c_i E_i. estimates: one of each scale, with the cost of the circuits before they were folded: here
        their rotations and depth are multiplied. scales: those realised, if not the ones asked for.

        Raises: QupropError for another number of estimates, or where two scales were realised alike.
        """
        at = self.scales if scales is None else tuple(float(s) for s in scales)
        if not len(at) == len(estimates) == len(self.scales):
            raise QupropError(
                f"an extrapolation of {count_of(len(self.scales), 'scale')} takes an estimate of each, got "
                f"{len(estimates)} and {count_of(len(at), 'scale')}"
            )
        if len(set(at)) < len(at):
            raise QupropError(
                f"these circuits have too few gates to be folded to the scales {_listed(self.scales)} apart, got "
                f"{_listed(at)}; take odd whole numbers"
            )
        c = extrapolation(at, self.degree)
        value = sum(a * e.value for a, e in zip(c, estimates, strict=True))
        variance = sum(a * a * e.stderr**2 for a, e in zip(c, estimates, strict=True))
        cost = sum((_repeated(e.cost, s) for e, s in zip(estimates, at, strict=True)), Cost())
        words = (
            f"scales {_listed(at)}, degree {len(at) - 1 if self.degree is None else self.degree}, coefficients "
            f"{_listed(c)}: {(c**2).sum():.3g} times the variance of one"
        )
        return Estimate(np.asarray(value), np.sqrt(variance), cost, {**estimates[0].info, "zero_noise": words})


def _folds(gates: int, scale: float) -> tuple[int, int]:
    """How often the whole circuit is folded, and how many of its last gates once more."""
    if isinstance(scale, bool) or not isinstance(scale, numbers.Real) or not 1 <= scale < math.inf:
        raise QupropError(f"a circuit is folded to a scale from 1, got {shown(scale)}")
    k = int((scale - 1) // 2)
    last = round((scale - 1 - 2 * k) * gates / 2)
    return (k, last) if last < gates or not gates else (k + 1, 0)


def _turned_back(circuit: Circuit, gates: Sequence[Operation]) -> list[Operation]:
    bare = circuit.copy()
    bare.state, bare.steps = InputState(), list(gates)
    found: list[Operation] = []
    for op, inverse in zip(reversed(gates), bare.inverse().operations, strict=True):
        if op.name == "iswap":  # ISWAP† = (Z Z) ISWAP, whose noise is that of the gate itself
            assert isinstance(op.target, tuple)
            found += [Operation("z", (), (q,)) for q in op.target] + [op]
        else:
            found.append(inverse)
    return found


def _repeated(cost: Cost, scale: float) -> Cost:
    return replace(cost, rotations=round(cost.rotations * scale), depth=round(cost.depth * scale))


def _listed(numbers_: Sequence[float] | np.ndarray) -> str:
    return ", ".join(f"{float(v):.3g}" for v in numbers_)
