"""What closed formulas read off a model that exists: its rotations and observables, nothing compiled or run."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from quprop.errors import QupropError
from quprop.gradients.adjoint import Adjoint
from quprop.gradients.fixed_state import Fixed, output_state, quarter_turns
from quprop.gradients.pair_state import Frame, find_frames
from quprop.model import Model
from quprop.sampling.grouping import group
from quprop.sampling.linear import driven, points, slope_bounds
from quprop.sampling.loads import gathered, needed, own_circuits
from quprop.sampling.plan import settle
from quprop.sampling.shape import Load
from quprop.sampling.terms import Terms
from quprop.simulate import MAX_QUBITS, get_engine


class ModelFacts:
    """Of F = weights . <O>. weights and at: as a gradient method's `compile` has them; at is also where multiples of
    pi/2 are looked for.

    u (T,): |coefficients| of the terms, norm their sum; ranges b_g and reads of the groups they are read in; trained
    (D,): rotations that theta drives; slopes (M, P): |da_m/dtheta_p| at most, reach (P,) their sums over m.
    """

    most_rotations: ClassVar[int] = 5_000  # up to which it is looked which commute, which takes time as their square
    most_pairs: ClassVar[int] = 50_000  # rotations times terms up to which one state is looked for

    def __init__(self, model: Model, weights: Any = None, *, at: Any = None) -> None:
        w = settle(model, weights, Adjoint)
        self.model = model
        self.terms = Terms.of(model)
        self.u = self.terms.sizes(w)
        self.norm = float(self.u.sum())
        grouping = group(self.terms.total(w), clifford=model.clifford)
        self.ranges = tuple(float(sum(abs(c) for _, c in members)) for members in grouping.groups)
        self.reads = tuple(1.0 if grouping.scheme == "sampled" else float(len(members)) for members in grouping.groups)
        self.trained = driven(model)
        self.slopes = slope_bounds(model, at)
        self.reach = np.asarray(self.slopes.sum(axis=0)).ravel()
        self._at = at

    @property
    def looked(self) -> bool:
        """Whether it is looked which rotations commute; the worst is assumed where it is not."""
        return len(self.trained) <= self.most_rotations

    @cached_property
    def frames(self) -> list[Frame]:
        return find_frames(self.model) if self.looked else self.alone

    @property
    def alone(self) -> list[Frame]:
        """A frame for every rotation."""
        return [Frame(m + 1, (m,)) for m in reversed(self.trained.tolist())]

    @property
    def one_state_looked(self) -> bool:
        return self.model.n_rotations * len(self.terms.strings) <= self.most_pairs

    @cached_property
    def strings(self) -> tuple[int, float]:
        """The different Pauli strings on the circuit's own state that all components are, 0 where they are not, and
        what an error of theirs counts in a component at worst."""
        model = self.model
        if not self.one_state_looked or model.channels:
            return 0, 1.0
        angles = None if self._at is None else model.angle_table.evaluate(*points(model, self._at))
        found = output_state(model, self.terms, quarter_turns(angles, model.n_rotations))
        if not isinstance(found, Fixed):
            return 0, 1.0
        of_angle = np.zeros(model.n_rotations)
        for r in found.reads:
            of_angle[r.target] += abs(self.u[r.term])
        return len({r.pauli for r in found.reads}), float((self.slopes.T @ of_angle).max(initial=0.0))

    @property
    def cones(self) -> tuple[int, int] | None:
        """Of a model that is wider than any state: qubits of its widest light cone, and the amplitudes of a sweep."""
        if self.model.n_qubits <= MAX_QUBITS:
            return None
        try:
            found = get_engine("lightcone").cones(self.model)
        except QupropError:
            return None
        return found.qubits, found.updates

    def own_circuits(self, runs: float, needs: float) -> Load:
        return own_circuits(self.model.n_rotations, runs, needs, self.ranges, self.reads)

    def in_frames(self, frames: list[Frame], sizes: np.ndarray, farthest: np.ndarray | None = None) -> Load:
        """A pair state for every frame and term, an outcome of trained component m within ±sizes[m], or of variance
        sizes[m]^2 and within ±farthest[m]."""
        M = self.model.n_rotations
        read = gathered([f.members for f in frames], M)
        need = needed(read @ self._weighed(sizes))
        shots = self.norm**2 * need
        far = 0.0
        if farthest is not None:
            most = (read @ self._weighed(farthest)).max(axis=1).toarray().ravel()
            far = float((most[need > 0] / need[need > 0]).max(initial=0.0)) / self.norm
        lengths = np.array([2 * M - f.place for f in frames])
        members = np.array([len(f.members) for f in frames])
        return Load(
            len(frames) * len(self.terms.strings),
            float(shots.sum()),
            float(shots @ lengths),
            float(lengths.max()),
            float(shots @ members),
            bound=not self.looked,
            in_sets=True,
            largest=far,
        )

    def _weighed(self, sizes: np.ndarray) -> sp.csr_matrix:
        """slopes times sizes (D,) of the trained components, (M, P)."""
        M = self.model.n_rotations
        return sp.csr_matrix((sizes, (self.trained, self.trained)), (M, M)) @ self.slopes
