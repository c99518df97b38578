"""An ansatz that grows: the generator of a pool along which the energy falls fastest is appended, all angles are
trained again, until no generator of the pool has a slope left (ADAPT-VQE).

Grimsley, Economou, Barnes, Mayhall, Nat. Commun. 10, 3007 (2019), arXiv:1812.11173.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop import simulate
from quprop.errors import QupropError, whole
from quprop.model import Model
from quprop.model.angle import params
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliSum
from quprop.runs import RunFolder, versions
from quprop.runs.interrupt import Interrupt
from quprop.runs.progress import STEPS, Progress, plain_console
from quprop.simulate.measure import rotation_counts
from quprop.training.callbacks import Callback, TrainingStep, checked_callbacks, close, told
from quprop.training.optimise import LBFGS, Optimiser
from quprop.training.train import train
from quprop.training.trained import Trained

Pool = Mapping[str, Sequence[PauliSum]]
_EQUAL = 1e-6  # slopes that differ by a smaller fraction are one: the first of them is taken, whatever they round to


@dataclass(frozen=True, eq=False)
class Adapted:
    """What :func:`adapt` returns. ``operators``: the names chosen, in the order of the circuit. ``counts``: what was
    executed, all circuits and pools together (:func:`quprop.simulate.measure.rotation_counts`).

    ``trained.history`` has a line for the start and for each operator: "step" (operators so far), "loss" (the energy),
    "operator", and "pool_gradient", the Euclidean norm of the pool's slopes there. ``trained.status`` is "converged" if
    that fell below the tolerance.

    >>> found = qpr.adapt(qpr.PauliSum("Z0 + 0.5*X0"), {"Y0": [qpr.PauliSum("Y0")]}, qpr.Circuit(1, "1"))
    >>> found.operators, round(found.trained.loss, 6), found.trained.status
    (('Y0',), -1.118034, 'converged')
    """

    circuit: Circuit
    model: Model
    operators: tuple[str, ...]
    trained: Trained
    counts: dict[str, int]

    @property
    def theta(self) -> np.ndarray:
        return self.trained.theta

    @property
    def energies(self) -> np.ndarray:
        """(operators + 1,), that of the start first."""
        return np.array([line["loss"] for line in self.trained.history])


def with_pool(circuit: Circuit, pool: Pool) -> Circuit:
    """The circuit with every element of the pool appended, an angle each: its last len(pool) parameters."""
    grown = circuit.copy()
    angles = params("pool", len(pool))
    for angle, sums in zip(angles, pool.values(), strict=True):
        _append(grown, sums, angle)
    return grown


def pool_gradient(
    hamiltonian: PauliSum, pool: Pool, circuit: Circuit, theta: Any = (), **simulation: Any
) -> np.ndarray:
    """The slope of the energy along every element of a pool, (len(pool),), by one forward and one backward sweep.

    All elements are appended with angle 0, where they do nothing and where the derivative of the energy by the angle of
    G, of exp(-i angle/2 G), is that without the others: i/2 <psi| [G, H] |psi>. On hardware each is an observable to be
    measured; here they are the components of one gradient.

    circuit, theta: what makes psi. simulation: engine, precision, threads as in :func:`quprop.value_and_grad`.
    """
    return _slopes(hamiltonian, pool, circuit, np.asarray(theta, float), simulation)[2]


def adapt(
    hamiltonian: PauliSum,
    pool: Pool,
    start: Circuit,
    *,
    tolerance: float = 1e-3,
    operators: int = 100,
    steps: int = 200,
    optimiser: Optimiser | LBFGS | Any = None,
    out: str | os.PathLike[str] | RunFolder | None = None,
    resume: bool = False,
    progress: bool = False,
    callback: Callback | Sequence[Callback] | None = None,
    engine: Any = None,
    precision: str = "double",
    threads: int | None = None,
) -> Adapted:
    """ADAPT-VQE: grow a circuit for the ground state of a Hamiltonian out of a pool of generators.

    Each turn takes the slopes of the whole pool by one gradient (:func:`pool_gradient`), stops if their Euclidean norm
    is under ``tolerance``, else appends the steepest element with angle 0 and trains all angles from where they are.

    hamiltonian: a PauliSum. pool: name -> commuting sums G, applied one after the other as exp(-i theta/2 G) with one
        angle, such as :func:`quprop.ansatz.excitation_pool`. start: the circuit to grow from, without parameters, such
        as the Hartree-Fock state.
    operators: at most so many are appended. steps, optimiser: of each training; default ``LBFGS()``.
    out, resume: the run folder (:mod:`quprop.runs`); a run that was cut goes on with the operator it was at.
    callback: called with a :class:`quprop.training.callbacks.TrainingStep` after each operator; True stops.
    progress: a bar in the terminal. engine, precision, threads: what simulates.
    Returns: Adapted.
    Raises: QupropError for an empty pool, a start with parameters, a tolerance or a number of steps below its least.

    >>> molecule = qpr.chem.shipped("h2")
    >>> pool = qpr.ansatz.excitation_pool(molecule.n_qubits, molecule.n_electrons)
    >>> found = qpr.adapt(molecule.hamiltonian, pool, qpr.ansatz.hartree_fock(molecule.n_qubits, molecule.n_electrons))
    >>> round(found.trained.loss - molecule.fci_energy, 6), len(found.operators)  # Hartree
    (0.0, 1)
    """
    simulation = {"engine": engine, "precision": precision, "threads": threads}
    optimiser = LBFGS() if optimiser is None else optimiser
    most, steps = whole("operators", operators, 0), whole("steps", steps, 1)
    if not pool:
        raise QupropError("the pool is empty: an ansatz grows out of one generator at least")
    if start.n_params or start.n_inputs:
        raise QupropError("an ansatz grows from a circuit without parameters or inputs: put numbers for its angles")
    if not tolerance > 0:
        raise QupropError(f"tolerance is the norm of the pool's slopes to stop at, above 0, got {tolerance!r}")
    callbacks = checked_callbacks(callback)
    turn = _Growth(hamiltonian, dict(pool), start, {"tolerance": tolerance, "operators": most, "steps": steps})
    turn.open(out, resume, optimiser)
    try:
        with Interrupt() as interrupt, Progress(plain_console() if progress else None, STEPS, "operators") as bar:
            bar(len(turn.chosen), most, None)
            while True:
                energy, slopes = turn.slopes(simulation)
                norm = float(np.linalg.norm(slopes))
                turn.record(energy, slopes)
                bar(len(turn.chosen), most, f"energy {energy:.8f}  gradient {norm:.1e}")
                if told(callbacks, turn.step(energy, norm, most)):
                    return turn.result(energy, "stopped")
                if norm < tolerance or len(turn.chosen) == most:
                    return turn.result(energy, "converged" if norm < tolerance else "finished")
                sizes = np.abs(slopes)
                name = list(pool)[int(np.argmax(sizes >= (1 - _EQUAL) * sizes.max()))]
                done = not interrupt.hit and turn.train(name, steps, optimiser, simulation)
                if not done:
                    return turn.result(energy, "interrupted")
    finally:
        close(callbacks)
        if turn.folder is not None:
            turn.folder.close()


def _slopes(
    hamiltonian: PauliSum, pool: Pool, circuit: Circuit, theta: np.ndarray, simulation: dict[str, Any]
) -> tuple[Model, float, np.ndarray]:
    """What was run, the energy, and its slope along every element."""
    model = Model(with_pool(circuit, pool), hamiltonian)
    energy, gradient = simulate.value_and_grad(model, np.concatenate([theta, np.zeros(len(pool))]), **simulation)
    return model, float(energy), np.asarray(gradient)[len(theta) :]


def _append(circuit: Circuit, sums: Sequence[PauliSum], angle: Any) -> None:
    for total in sums:
        circuit.exp(total, angle)


class _Growth:
    """The operators so far, their angles, and what has been executed."""

    def __init__(self, hamiltonian: PauliSum, pool: dict[str, Any], start: Circuit, settings: dict[str, Any]) -> None:
        self.hamiltonian, self.pool, self.circuit, self.settings = hamiltonian, pool, start.copy(), settings
        self.chosen: list[str] = []
        self.theta = np.zeros(0)
        self.counts: Counter[str] = Counter()
        self.history: list[dict[str, Any]] = []
        self.folder: RunFolder | None = None
        self._known: tuple[float, np.ndarray] | None = None  # energy and slopes that the checkpoint holds
        self._spent, self._start = 0.0, time.monotonic()

    @property
    def model(self) -> Model:
        return Model(self.circuit, self.hamiltonian)

    def add(self, name: str) -> None:
        _append(self.circuit, self.pool[name], params(f"theta{len(self.chosen)}", 1)[0])
        self.chosen.append(name)

    def slopes(self, simulation: dict[str, Any]) -> tuple[float, np.ndarray]:
        """Energy and slopes of the pool."""
        if self._known is not None:
            known, self._known = self._known, None
            return known
        model, energy, gradient = _slopes(self.hamiltonian, self.pool, self.circuit, self.theta, simulation)
        self.counts.update(rotation_counts(model, 0, 1))
        return energy, gradient

    def train(self, name: str, steps: int, optimiser: Any, simulation: dict[str, Any]) -> bool:
        """One more operator, and all angles trained; False if that was interrupted."""
        before = self.circuit.copy()
        self.add(name)
        model = self.model
        trained = train(model, optimiser=optimiser, params=np.append(self.theta, 0.0), steps=steps, **simulation)
        if trained.status == "interrupted":
            self.circuit = before
            self.chosen.pop()
            return False
        self.theta = trained.theta
        self.counts.update(rotation_counts(model, trained.values, trained.gradients))
        return True

    def record(self, energy: float, slopes: np.ndarray) -> None:
        step = len(self.chosen)
        if len(self.history) > step:  # of the checkpoint
            return
        line = {"step": step, "epoch": step, "loss": energy, "operator": self.chosen[-1] if step else ""}
        line |= {"pool_gradient": float(np.linalg.norm(slopes)), "seconds": round(self.seconds(), 3)}
        self.history.append(line)
        if self.folder is not None:
            self.folder.append_metrics(line)
            meta = {"step": step, "operators": self.chosen, "counts": dict(self.counts), "seconds": self.seconds()}
            self.folder.write_checkpoint({"params/theta": self.theta, "slopes": slopes}, meta)

    def step(self, energy: float, norm: float, most: int) -> TrainingStep:
        at = len(self.chosen)
        return TrainingStep(
            at, most, at, True, energy, {"pool_gradient": norm}, {"theta": self.theta}, self.seconds(), self.history
        )

    def result(self, energy: float, status: str) -> Adapted:
        counts = dict(self.counts)
        values, gradients = counts.get("value_evaluations", 0), counts.get("gradient_evaluations", 0)
        steps, params = len(self.chosen), {"theta": self.theta}
        trained = Trained(params, energy, {}, steps, status, self.seconds(), values, gradients, self.history)
        return Adapted(self.circuit, self.model, tuple(self.chosen), trained, counts)

    def seconds(self) -> float:
        return self._spent + time.monotonic() - self._start

    def open(self, out: Any, resume: bool, optimiser: Any) -> None:
        """Make the run folder, or go back to what is in it."""
        if out is None:
            if resume:
                raise QupropError("`resume` needs the run folder: pass out=...")
            return
        if isinstance(out, RunFolder):
            self.folder = out
        else:
            definition = self._definition(optimiser)
            self.folder = RunFolder.open(out) if resume else RunFolder.create(out, definition)
            for section in ("model", "train"):
                self.folder.check_section(section, definition[section], "was not grown by adapt: start a new one")
        self.folder.lock()
        if (found := self.folder.read_checkpoint()) is None:
            self.folder.start_metrics(0)
            return
        arrays, meta = found
        try:
            self._spent, self.theta, names = float(meta["seconds"]), arrays["params/theta"], meta["operators"]
            self.counts = Counter({str(k): int(v) for k, v in meta["counts"].items()})
            slopes = arrays["slopes"]
            sizes = ((self.theta, len(names)), (slopes, len(self.pool)))
            if any(a.shape != (n,) or a.dtype != float or not np.isfinite(a).all() for a, n in sizes):
                raise ValueError
            for name in names:
                self.add(name)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self.folder.damaged() from None
        self.history = self.folder.start_metrics(meta["metrics_bytes"], meta.get("metrics_sha256"))
        if [line.get("step") for line in self.history] != list(range(len(names) + 1)):
            raise self.folder.damaged()
        self._known = self.history[-1]["loss"], slopes

    def _definition(self, optimiser: Any) -> dict[str, Any]:
        model = Model(with_pool(self.circuit, self.pool), self.hamiltonian)
        return {
            "model": {"sha256": hashlib.sha256(model.to_text().encode()).hexdigest(), "n_qubits": model.n_qubits},
            "train": {"loss": "adapt", "optimiser": repr(optimiser), **self.settings},
            "versions": versions(),
        }
