"""Snapshots of a program's states, as the sampler draws them or a device measures them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from quprop.errors import QupropError
from quprop.model import Model
from quprop.model.pauli import PauliString
from quprop.sampling import snapshots as shadow
from quprop.sampling.copies import spent
from quprop.sampling.devices.device import Outcomes, Work
from quprop.sampling.devices.realise import letter_angles
from quprop.sampling.programs import absorbed
from quprop.sampling.requests import NO_INVERSION, Placed, Reader, Realiser, as_read, padded
from quprop.sampling.sampler import Sampler
from quprop.simulate.vectors import apply_gates, clifford_gates, prefix_states

Parts = Iterator[Iterator[Any]]  # of each run: (letters (S, n), outcomes (S, n)), or stabiliser states (S, 2^n)


class Snapshots(NamedTuple):
    """Snapshots of the states that R runs of a program end in, its residual Clifford included.

    angles (R, rotations of the program): NaN where a run has no such rotation; x: the inputs that programs read.
    shots (R,) of each run; at_once (R,): the most of them that a part of the result has; values (R,): what is computed
    from each of them, which counts as classical work.
    The result: for each run an iterator of parts, as `pauli_snapshots` or `clifford_snapshots` give them.

    A machine measures shots with the same letters, or the same group of stabilisers, as one setting; which of them has
    which outcome is drawn, so that every stretch of the shots is a sample.
    """

    program: Model
    angles: np.ndarray
    x: np.ndarray
    shots: np.ndarray
    ensemble: shadow.Ensemble
    at_once: np.ndarray
    values: np.ndarray

    def states(self) -> Iterator[np.ndarray]:
        """Of each run in turn; runs that get longer go on from one another."""
        gates = clifford_gates(self.program.clifford)
        for state in prefix_states(self.program, self.angles, padded(self.program, self.x)[None]):
            yield apply_gates(gates, state)

    def simulate(self, sampler: Sampler) -> Parts:
        take: Any = shadow.pauli_snapshots if self.ensemble == "pauli" else shadow.clifford_snapshots
        lengths = np.count_nonzero(~np.isnan(self.angles), axis=1).tolist()
        for r, state in enumerate(self.states()):
            n = int(self.shots[r])
            sampler.cost += spent(n, n, 1, lengths[r], self.program.n_qubits, n * int(self.values[r]))
            yield (take(sampler.rng, state, b - a) for a, b in self._stretches(r))

    def place(self, circuits: Realiser, rng: np.random.Generator) -> Placed:
        program, executed = self.program, ~np.isnan(self.angles)
        work: list[Work] = []
        drawn = []
        for r, count in enumerate(self.shots.tolist()):
            basis, order, rows, settings = self._drawn(rng, count)
            if self.ensemble == "pauli":  # one circuit, whose last gates choose the letters
                found = circuits(program, executed[r], None, self.x)
                same = np.tile(self.angles[r, found.columns], (len(settings), 1))
                values = np.concatenate([same, letter_angles(rows)], axis=1)
                work.append(Work(found.circuit, values, np.array(settings)))
                drawn.append((basis, order, [found] * len(settings)))
                continue
            reads = []
            for strings, times in zip(self._strings(rows), settings, strict=True):
                found = circuits(program, executed[r], strings, self.x)
                work.append(Work(found.circuit, self.angles[r : r + 1, found.columns], np.array([times])))
                reads.append(found)
            drawn.append((basis, order, reads))

        def read(outcomes: Sequence[Outcomes], reader: Reader) -> Parts:
            if reader is not as_read:
                raise QupropError(NO_INVERSION)
            seen, of_runs = iter(outcomes), []
            for basis, order, reads in drawn:
                bits = np.empty((len(order), program.n_qubits), np.int64)
                parts = [
                    np.repeat(reader(f.circuit, index, f.masks, f.signs) < 0, times, axis=0)
                    for f, (index, times) in zip(reads, seen, strict=False)
                ]
                bits[order] = np.concatenate(parts)
                of_runs.append((basis, bits))
            return (
                (self._made(basis, bits, slice(a, b)) for a, b in self._stretches(r))
                for r, (basis, bits) in enumerate(of_runs)
            )

        return Placed(work, read, int(self.shots @ self.values), plain=True)

    def _stretches(self, r: int) -> Iterator[tuple[int, int]]:
        shots, step = int(self.shots[r]), int(self.at_once[r])
        return ((start, min(start + step, shots)) for start in range(0, shots, step))

    def _drawn(
        self, rng: np.random.Generator, count: int
    ) -> tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray, list[int]]:
        """The basis of each shot, as letters (S, n) or masks x and z (S, n) of its stabilisers; the shots in the order
        in which the settings have them; the basis of each setting, (settings, n or 2n), and its shots."""
        n = self.program.n_qubits
        basis: tuple[np.ndarray, ...]
        if self.ensemble == "pauli":
            basis = (rng.integers(0, 3, (count, n)),)
        else:
            cliffords = shadow.random_cliffords(rng, n, count)
            basis = shadow.reduced(cliffords.x[:, :n], cliffords.z[:, :n])
        rows, which = np.unique(np.concatenate(basis, axis=1), axis=0, return_inverse=True)
        which, shuffled = which.reshape(-1), rng.permutation(count)
        order = shuffled[np.argsort(which[shuffled], kind="stable")]
        return basis, order, rows, np.bincount(which, minlength=len(rows)).tolist()

    def _strings(self, rows: np.ndarray) -> Iterator[list[PauliString]]:
        """The stabilisers as they act right after the program's rotations, of each setting."""
        n = self.program.n_qubits
        masks = np.stack([rows[:, :n], rows[:, n:]], axis=2)
        every = [tuple(m) for m in np.unique(masks.reshape(-1, 2), axis=0).tolist()]
        known = dict(zip(every, absorbed(self.program, [PauliString(x, z) for x, z in every]), strict=True))
        return ([known[x, z] for x, z in of_setting] for of_setting in masks.tolist())

    def _made(self, basis: tuple[np.ndarray, ...], bits: np.ndarray, part: slice) -> Any:
        if self.ensemble == "pauli":
            return basis[0][part], bits[part]
        return shadow.stabiliser_states(basis[0][part], basis[1][part], bits[part])
