"""The numbers of a sweep of threshold checks on copies that outlive their triggers: what follows from an accuracy.

All in acceptance probabilities p = (1 + <Q>)/2 and in units of the accuracy E that is promised (`reach`); D components,
batches of k copies, each of them designed for T readings. With kappa = k E^2, checks of Gaussian noise c = s_c/(k E)
and readings by a pointer of noise r = s_r/(k E):

    w^2 = 1/(4 kappa) + (T/(16 kappa^2)) (1/r^2 + C/c^2)    variance of the fraction of copies that accept: counting,
                                                            and what checks and readings did to the copies before
    pass      z1 sqrt(w^2 + c^2) = 1 - eps      z1^2 = 2 ln(2 D/failure): a gap of 1 passes with probability
                                                failure/(2 D) at most
    quiet     z0 sqrt(w^2 + c^2) = eps          2 D Phi(-z0) = 1/2: so many checks trigger at gaps of 0, on average
    reading   z2 sqrt(w^2 + r^2) = 1            z2^2 = 2 ln(4 D/failure)

The back-action of a measurement on the copies is a collective rotation exp(i phi S) by a random angle of variance I/4,
I its Fisher information about the count S: 1/s_r^2 for a reading, E[f'^2/(f (1 - f))] for the bit of a check. A turn by
phi moves no other acceptance probability faster than at the rate 1/2, so that it moves by a random amount of variance
(sum of I)/16 at most (Poincare's inequality; `Ledger.information`). In the limit of many copies, where counts are
Gaussian, the mean of a later count given all that was seen is a martingale, so that choosing what to read by what was
seen changes nothing, as long as the sum of I stays within what was set beforehand. C is what all checks of a batch may
add up to, in units of T/s_c^2. One of trigger probability P tells i(P) = phi(z)^2/(P (1 - P)) of 1/s_c^2, Phi(-z) = P:
nothing far from its threshold, 0.64 at P = 1/2, about 2 P ln(1/P) where P is small. As i is concave, 2 D checks whose
probabilities add up to T tell 2 D i(T/(2 D)) at most. Hardly any checks are alike: C is two fifths of that, and 2 at
least; what it was in a run is the damage that results show.

Everything is found from E, D and T alone: u = w^2 is what is left to choose, and kappa is smallest near
u = c^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

from scipy import optimize, special

from quprop.collective.check_circuit import CheckCost, circuit_cost, reading_cost
from quprop.cost import Cost

QUIET = 0.5  # the mean number of triggers that nothing justifies
ALIKE, LEAST = 0.4, 2.0  # C: of what checks could tell if all were equally likely to trigger, and at least
COARSEST = 0.5  # accuracy of a probability at which a prediction of 1/2 is never wrong
MOST_COPIES = 10**12  # of a batch: beyond, binomial tails in double precision are no longer reliable
READINGS, READINGS_PER_QUBIT = 25, 1  # T: what a hypothesis of maximum entropy takes to learn a state, as measured


@dataclass(frozen=True)
class SweepDesign:
    """See the module. `qubits` N of one copy; `readings` T of a batch; `batches`: the most there are."""

    reach: float
    components: int
    qubits: int
    readings: int
    batches: int
    failure: float

    @cached_property
    def _solved(self) -> tuple[float, float, float, float]:
        """kappa, eps, c and r."""
        D, T = self.components, self.readings
        z0 = -float(special.ndtri(min(QUIET / (2 * D), 0.5)))
        z1, z2 = (math.sqrt(2 * math.log(a * D / self.failure)) for a in (2, 4))
        v = 1 / (z0 + z1)
        most, checks = min(v**2, 1 / z2**2), self.checks

        def kappa(u: float) -> float:
            information = T / 16 * (1 / (1 / z2**2 - u) + checks / (v**2 - u))
            return (0.25 + math.sqrt(0.0625 + 4 * u * information)) / (2 * u)

        u = float(optimize.minimize_scalar(kappa, bounds=(1e-3 * most, 0.999 * most), method="bounded").x)
        return kappa(u), z0 * v, math.sqrt(v**2 - u), math.sqrt(1 / z2**2 - u)

    @property
    def checks(self) -> float:
        """C."""
        sides, T = 2 * self.components, self.readings
        p = T / sides
        z = float(special.ndtri(p))
        return max(LEAST, ALIKE * math.exp(-(z**2)) / (2 * math.pi) / (p * (1 - p)) / p)

    @property
    def k(self) -> int:
        """Copies of a batch."""
        return math.ceil(self._solved[0] / self.reach**2)

    @property
    def eps(self) -> float:
        """Distance of the thresholds from a prediction."""
        return self._solved[1] * self.reach

    @property
    def noise(self) -> float:
        """s_c, in copies."""
        return self._solved[2] * self.reach * self.k

    @property
    def pointer(self) -> float:
        """s_r, in copies."""
        return self._solved[3] * self.reach * self.k

    @property
    def claimed(self) -> int:
        """Batches that there can be: no more than components need."""
        return min(self.batches, math.ceil(self.components / self.readings))

    @property
    def promised(self) -> int:
        """Readings that all batches together are designed for."""
        return min(self.components, self.readings * self.batches)

    @property
    def information(self) -> float:
        """What measurements of a batch may know of counts, per copy squared: T (1/s_r^2 + C/s_c^2)."""
        return self.readings * (1 / self.pointer**2 + self.checks / self.noise**2)

    @cached_property
    def check(self) -> CheckCost:
        """The gates of both sides of a check, on one count."""
        return circuit_cost(self.k, self.noise)

    @cached_property
    def reading(self) -> CheckCost:
        """The gates of a pointer on the count that a check holds, which is paid already."""
        whole, k = reading_cost(self.k, self.pointer), self.k
        return whole._replace(toffolis=whole.toffolis - k + k.bit_count(), depth=whole.depth - k.bit_length() + 1)

    @property
    def beside(self) -> int:
        """Qubits that counting takes beside the batch."""
        return max(self.check.qubits, self.reading.qubits)

    def spread(self, readings: int = 0) -> float:
        """w, the deviation of a fraction of copies, after so many readings or those the batch was designed for."""
        more = max(1.0, readings / self.readings)
        return math.sqrt(1 / (4 * self.k) + more * self.information / 16)

    def within(self, readings: int = 0) -> float:
        """The accuracy of a prediction that passes: `reach`, until there were more readings than T."""
        z1 = math.sqrt(2 * math.log(2 * self.components / self.failure))
        return self.eps + z1 * math.hypot(self.spread(readings), self.noise / self.k)

    def deviation(self, readings: int = 0) -> float:
        """Of the fraction that a pointer reads, at most."""
        return math.hypot(self.spread(readings), self.pointer / self.k)

    def cost(self, rotations: int, first: int, starts: list[int] | None = None, readings: int = 0) -> Cost:
        """The quantum cost of a sweep down to rotation `first`, with batches prepared at the places `starts` (all the
        batches there can be, at the places that cost most, by default) and so many readings.

        A copy at place p has cost M + (M - p) rotations; component m is read at p = m + 1. What a batch undoes while it
        is the one in use is counted once: M - 1 - first rotations a copy in all. Each component pays a count, coherent
        and undone, and two flags; a reading a pointer on that count, before it is undone.
        """
        D, k = self.components, self.k
        places = [rotations] + [first + 1] * (self.claimed - 1) if starts is None else starts
        check, reading = self.check, self.reading
        read = D if starts is None else readings
        lengths = sum(2 * rotations - p for p in places)
        return Cost(
            copies=k * len(places),
            rotations=k * (lengths + rotations - 1 - first) + D * check.rotations + read * reading.rotations,
            toffolis=D * check.toffolis + read * reading.toffolis,
            measurements=2 * D + read,
            depth=2 * rotations - 1 - first + D * check.depth + read * reading.depth,
            qubits=k * self.qubits + self.beside,
        )


def reach_of(k: int, design: SweepDesign) -> float:
    """The accuracy that batches of k copies reach: kappa does not depend on it."""
    return math.sqrt(replace(design, reach=1.0)._solved[0] / k)


def readings_for(qubits: int, components: int) -> int:
    """T, unless one is given."""
    return min(components, READINGS + READINGS_PER_QUBIT * qubits)
