"""Qiskit's V2 primitives on quprop's engine (extra ``qiskit``): an existing script changes one line.

    estimator = QupropEstimator()                      # exact, where it said StatevectorEstimator()
    network = EstimatorQNN(estimator=estimator, ...)   # asks for precision=1/64: shots; default_precision=0.0 is exact
    sampler = QupropSampler(seed=1)

A PUB's whole broadcast is one batched call of the engine. Circuits need not be transpiled: `from_qiskit` reads them.
With a `noise_model` of Aer they are run as on that device, and are transpiled to its gates; qubits that nothing acts on
take no memory then.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from quprop.arrays import checked
from quprop.errors import QupropError, generator_of
from quprop.hybrid.noise import Misreading, misread, moved, on_qubits, read_out, support
from quprop.hybrid.qiskit import Imported, from_sparse_pauli_op, read_qiskit
from quprop.lazy import missing
from quprop.model import Model
from quprop.model.angle import PARAM
from quprop.model.circuit import Circuit, Operation
from quprop.model.input_state import InputState
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.grouping import group
from quprop.sampling.joint import diagonalise
from quprop.sampling.sampler import draw_bits
from quprop.simulate import expectation, probabilities, state

try:
    from qiskit.primitives import (
        BaseEstimatorV2,
        BaseSamplerV2,
        BitArray,
        DataBin,
        PrimitiveJob,
        PrimitiveResult,
        PubResult,
        SamplerPubResult,
    )
    from qiskit.primitives.containers.estimator_pub import EstimatorPub
    from qiskit.primitives.containers.sampler_pub import SamplerPub
    from qiskit.quantum_info import SparseObservable
except ImportError:
    raise missing("quprop.hybrid.qiskit_primitives needs Qiskit 2", "qiskit") from None

_CHUNK_AMPLITUDES = 1 << 22  # of all states held at once
_X_BITS, _Z_BITS = str.maketrans("IXYZ", "0110"), str.maketrans("IXYZ", "0011")
_MOST_SHOTS = 1 << 62
_ROUNDING = 1e-7  # standard deviations below this fraction of the largest outcome are rounding: sqrt(epsilon) and more


class QupropEstimator(BaseEstimatorV2):
    """Expectation values of PUBs (circuit, observables, parameter values, precision), exact or with shot noise.

    default_precision: the standard error to aim at where neither the PUB nor `run` says one. 0 (the default) is exact:
        `stds` are 0. At precision eps > 0 the observable's terms are read in qubit-wise commuting groups, each as often
        as brings the standard error to eps with the fewest shots (shots of a group in proportion to its standard
        deviation), outcomes are drawn from the exact distributions, and `stds` are the true standard errors,
        sqrt(sum_g Var_g / shots_g) <= eps. A value without variance, such as a stabiliser's, stays exact. The shots
        that were spent are in the result's metadata["shots"], an array of the PUB's shape.
    seed: a seed or numpy Generator that shots are drawn with where precision > 0; draws go on from one run to the next.
        None: precision > 0 is refused.
    noise_model: a `qiskit_aer.noise.NoiseModel`, as in `from_qiskit`: every string is read in its own basis, with the
        errors of readout.
    engine, precision, threads of the engine: as in `quprop.expectation` ("native", "double", all).
    """

    def __init__(
        self,
        *,
        default_precision: float = 0.0,
        seed: Any = 0,
        noise_model: Any = None,
        engine: Any = None,
        engine_precision: str = "double",
        threads: int | None = None,
    ) -> None:
        self._default_precision = _checked_precision(default_precision)
        self._rng = None if seed is None else generator_of(seed)
        self._noise_model = noise_model
        self._options = {"engine": engine, "precision": engine_precision, "threads": threads}

    @property
    def default_precision(self) -> float:
        return self._default_precision

    @property
    def noise_model(self) -> Any:
        """Of Aer, or None."""
        return self._noise_model

    def run(self, pubs: Iterable[Any], *, precision: float | None = None) -> Any:
        """A job whose result holds, for every PUB, data.evs and data.stds of the broadcast shape."""
        wanted = self._default_precision if precision is None else _checked_precision(precision)
        tasks = []
        readings: dict[int, Imported] = {}
        for pub in [EstimatorPub.coerce(p, wanted) for p in pubs]:
            if pub.precision and self._rng is None:
                raise QupropError(
                    f"precision={pub.precision} draws shots, which needs a seed: QupropEstimator(seed=1); "
                    "precision=0 is exact"
                )
            tasks.append((pub, _prepare(pub, readings, self._noise_model)))
        job = PrimitiveJob(lambda: PrimitiveResult([self._one(*t) for t in tasks], metadata={"version": 2}))
        job._submit()
        return job

    def _one(self, pub: Any, task: _Task) -> Any:
        metadata: dict[str, Any] = {"target_precision": pub.precision, "circuit_metadata": pub.circuit.metadata}
        if pub.precision:
            assert self._rng is not None
            evs, stds, shots = _noisy(task, pub.precision, self._rng, self._options)
            metadata["shots"] = shots.reshape(task.shape)
        else:
            values = expectation(task.model, task.theta, **self._options)
            evs = values[task.rows, task.columns]
            stds = np.zeros_like(evs)
        shape = task.shape
        return PubResult(DataBin(evs=evs.reshape(shape), stds=stds.reshape(shape), shape=shape), metadata=metadata)


class QupropSampler(BaseSamplerV2):
    """Samples of PUBs (circuit, parameter values, shots), drawn from the exact distribution.

    seed: a seed or numpy Generator; draws go on from one run to the next.
    noise_model: a `qiskit_aer.noise.NoiseModel`, as in `from_qiskit`.
    The result's data has one BitArray for each classical register, under its name; bits that nothing is measured into
    are 0. Circuits must end in measurements: `circuit.measure_all()`.
    """

    def __init__(
        self,
        *,
        seed: Any,
        default_shots: int = 1024,
        noise_model: Any = None,
        engine: Any = None,
        engine_precision: str = "double",
        threads: int | None = None,
    ) -> None:
        if seed is None:
            raise QupropError("sampling needs a seed or a numpy Generator, got None: QupropSampler(seed=1)")
        self._default_shots = _checked_shots(default_shots)
        self._rng = generator_of(seed)
        self._noise_model = noise_model
        self._options = {"engine": engine, "precision": engine_precision, "threads": threads}

    @property
    def default_shots(self) -> int:
        return self._default_shots

    def run(self, pubs: Iterable[Any], *, shots: int | None = None) -> Any:
        """A job whose result holds, for every PUB, one BitArray per classical register."""
        wanted = self._default_shots if shots is None else _checked_shots(shots)
        tasks = []
        for pub in [SamplerPub.coerce(p, wanted) for p in pubs]:
            imported = read_qiskit(pub.circuit, noise_model=self._noise_model)
            if not imported.measured:
                raise QupropError(
                    f"the circuit {pub.circuit.name!r} measures nothing, so it has no samples; add "
                    "circuit.measure_all()"
                )
            program = ReadProgram.of(imported, (PauliSum({}),))
            tasks.append((pub, program, _theta(imported, pub), imported.measured))
        job = PrimitiveJob(lambda: PrimitiveResult([self._one(*t) for t in tasks], metadata={"version": 2}))
        job._submit()
        return job

    def _one(self, pub: Any, program: ReadProgram, theta: np.ndarray, measured: dict[int, int]) -> Any:
        rows = []
        model = program.model()
        step = max(1, _CHUNK_AMPLITUDES >> model.n_qubits)
        for start in range(0, len(theta), step):
            for p in probabilities(model, theta[start : start + step], **self._options):
                steps = np.cumsum(p)
                drawn = np.searchsorted(steps, self._rng.random(pub.shots) * steps[-1], side="right")
                rows.append(np.minimum(drawn, len(steps) - 1))
        outcomes = np.array(rows).reshape(*pub.shape, pub.shots)
        places = {bit: k for k, bit in enumerate(pub.circuit.clbits)}
        data = {}
        for register in pub.circuit.cregs:
            bits = np.zeros((*outcomes.shape, register.size), bool)
            for k, bit in enumerate(register):
                qubit = measured.get(places[bit])
                if qubit is not None:
                    bits[..., register.size - 1 - k] = self._read(program, qubit, outcomes)
            data[register.name] = BitArray.from_bool_array(bits)
        metadata = {"shots": pub.shots, "circuit_metadata": pub.circuit.metadata}
        return SamplerPubResult(DataBin(**data, shape=pub.shape), metadata=metadata)

    def _read(self, program: ReadProgram, qubit: int, outcomes: np.ndarray) -> np.ndarray:
        """A qubit's bit in each shot, as it is read."""
        place = program.place.get(qubit)
        bits = np.zeros(outcomes.shape, bool) if place is None else (outcomes >> place & 1).astype(bool)
        for p10, p01 in program.misreadings.get(qubit, ()):
            bits ^= self._rng.random(bits.shape) < np.where(bits, p01, p10)
        return bits


class _Task(NamedTuple):
    """Value i of the broadcast, flat, is observable columns[i] of the model at theta[rows[i]]."""

    program: ReadProgram
    model: Model
    theta: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    shape: tuple[int, ...]


class ReadProgram(NamedTuple):
    """A circuit without the errors of readout at its end, on those qubits that are in use, observables on the same
    qubits, and where they stand (`place`); errors of readout of all qubits, by their numbers in the user's circuit."""

    circuit: Circuit
    observables: tuple[PauliSum, ...]
    place: dict[int, int]
    misreadings: dict[int, list[Misreading]]

    @classmethod
    def of(cls, imported: Imported, observables: Sequence[PauliSum]) -> ReadProgram:
        circuit, misreadings = read_out(imported.circuit)
        chosen = _busy(circuit, (q for total in observables for p, _ in total.items() for q in p.qubits))
        place = {q: k for k, q in enumerate(chosen)}
        sums = tuple(moved(total, place) for total in observables)
        return cls(on_qubits(circuit, chosen), sums, place, misreadings)

    def model(self) -> Model:
        """Of what is read in place of the observables."""
        misreadings = {self.place[q]: errors for q, errors in self.misreadings.items() if q in self.place}
        return model_of(self.circuit, tuple(misread(total, misreadings) for total in self.observables))


def _busy(circuit: Circuit, others: Iterable[int]) -> list[int]:
    """The qubits that a noisy circuit acts on, and others; all of one without noise, which has use for no fewer."""
    if not circuit.channels or circuit.state != InputState():
        return list(range(circuit.n_qubits))
    used = set(others).union(*(support(op) for op in circuit.operations))
    return sorted(used) or [0]


def _prepare(pub: Any, readings: dict[int, Imported], noise_model: Any) -> _Task:
    imported = readings.get(id(pub.circuit))
    if imported is None:
        imported = read_qiskit(pub.circuit, noise_model=noise_model, all_measured=True)
        readings[id(pub.circuit)] = imported
    observables: dict[tuple[Any, ...], int] = {}
    sums: list[PauliSum] = []
    columns = np.empty(pub.observables.shape, np.int64)
    for index in np.ndindex(*pub.observables.shape):
        terms = pub.observables[index]
        key = tuple(sorted(terms.items()))
        if key not in observables:
            observables[key] = len(sums)
            sums.append(_sum_of(key, pub.circuit.num_qubits))
        columns[index] = observables[key]
    theta = _theta(imported, pub)
    rows = np.arange(len(theta)).reshape(pub.parameter_values.shape)
    rows, columns = np.broadcast_arrays(rows, columns)
    program = ReadProgram.of(imported, sums)
    return _Task(program, program.model(), theta, rows.ravel(), columns.ravel(), rows.shape)


@lru_cache(maxsize=256)
def _sum_of(terms: tuple[tuple[str, float], ...], n: int) -> PauliSum:
    """The sum of labels such as "IXZ", qubit 0 on the right, or of Qiskit's larger alphabet with projectors."""
    if any(set(label) - set("IXYZ") for label, _ in terms):
        return from_sparse_pauli_op(SparseObservable.from_list(list(terms), num_qubits=n))
    return PauliSum(
        {PauliString(int(label.translate(_X_BITS), 2), int(label.translate(_Z_BITS), 2)): c for label, c in terms}
    )


def _theta(imported: Imported, pub: Any) -> np.ndarray:
    """The parameter values of a PUB as rows of theta, (B, P); unused entries of vectors are 0."""
    parameters = list(pub.circuit.parameters)
    shape = pub.parameter_values.shape
    theta = np.zeros((math.prod(shape), imported.circuit.n_params + imported.circuit.n_inputs))
    if parameters:
        values = checked("the PUB's parameter values", pub.parameter_values.as_array(parameters))
        theta[:, columns_of(imported)] = values.reshape(len(theta), len(parameters))
    return theta


def columns_of(imported: Imported) -> np.ndarray:
    """The place of each of Qiskit's parameters in (theta, x), one after the other."""
    offset = imported.circuit.n_params
    return np.array([k if kind == PARAM else offset + k for kind, k in imported.columns], np.int64)


def model_of(circuit: Circuit, observables: tuple[PauliSum, ...]) -> Model:
    """The circuit's model with all its variables as parameters, inputs after the others: Qiskit's values come in one
    row. A circuit that comes again keeps its model, and so the engine's plan."""
    vectors = tuple(circuit.vectors.items())
    return _model(circuit.n_qubits, tuple(circuit.operations), circuit.state, vectors, observables)


@lru_cache(maxsize=32)
def _model(
    n: int,
    operations: tuple[Operation, ...],
    start: Any,
    vectors: tuple[tuple[str, tuple[int, int]], ...],
    observables: tuple[PauliSum, ...],
) -> Model:
    ordered = sorted(vectors, key=lambda v: v[1][0])
    names = {name: (PARAM, size) for name, (_, size) in ordered}
    circuit = Circuit(n)
    circuit.state = start
    circuit.vectors.update(names)
    if any(kind != PARAM for _, (kind, _) in vectors):
        operations = tuple(
            Operation(o.name, tuple(a.relabel(lambda v: (PARAM, *v[1:])) for a in o.angles), o.target)
            for o in operations
        )
    circuit.operations.extend(operations)
    return Model(circuit, observables)


def _noisy(
    task: _Task, precision: float, rng: np.random.Generator, options: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values drawn at a standard error of `precision`, their true standard errors, and the shots spent."""
    count = len(task.rows)
    evs, stds, shots = np.zeros(count), np.zeros(count), np.zeros(count, np.int64)
    for k, observable in enumerate(task.model.observables):
        chosen = np.flatnonzero(task.columns == k)
        if not len(chosen):
            continue
        if task.model.channels or task.program.misreadings:
            readers, constant = _noisy_readers(task.program, k)
        else:
            readers, constant = _readers(task.model, observable)
        theta = task.theta[task.rows[chosen]]
        spread = np.zeros((len(readers), len(chosen)))
        for g, reader in enumerate(readers):
            values = reader.values()
            for i, amplitudes in _states(reader.program, theta, options):
                p = amplitudes.real**2 + amplitudes.imag**2
                mean = p @ values / p.sum()
                spread[g, i] = math.sqrt(max(0.0, float(p @ (values - mean) ** 2 / p.sum())))
            spread[g, spread[g] < _ROUNDING * np.abs(values).max()] = 0.0
        wanted = spread * spread.sum(axis=0) / precision**2
        if wanted.max(initial=0.0) > _MOST_SHOTS:
            raise QupropError(f"precision={precision} takes more than 2^62 shots; precision=0 is exact")
        spent = np.maximum(1, np.ceil(wanted)).astype(np.int64)
        evs[chosen] += constant
        for g, reader in enumerate(readers):
            values = reader.values()
            for i, amplitudes in _states(reader.program, theta, options):
                index, counts = draw_bits(rng, amplitudes, int(spent[g, i]))
                evs[chosen[i]] += float(counts @ values[index]) / int(spent[g, i])
        stds[chosen] = np.sqrt((spread**2 / spent).sum(axis=0))
        shots[chosen] = spent.sum(axis=0)
    return evs, stds, shots


class _GroupReader(NamedTuple):
    """A group of terms that one shot reads: the program turned to where they are diagonal, and each term there."""

    program: Model
    masks: np.ndarray
    signed: np.ndarray  # coefficients with the signs that the turn gives

    def values(self) -> np.ndarray:
        """What each basis state is worth, (2^n,)."""
        index = np.arange(1 << self.program.n_qubits)
        total = np.zeros(len(index))
        for mask, c in zip(self.masks, self.signed, strict=True):
            total += c * (1.0 - 2.0 * (np.bitwise_count(index & mask) & 1))
        return total


@lru_cache(maxsize=32)
def _readers(model: Model, observable: PauliSum) -> tuple[tuple[_GroupReader, ...], float]:
    """How one of the model's observables is read; kept, so that the engine plans each program once."""
    grouping = group(observable, "qubit_wise", model.clifford)
    readers = []
    for terms in grouping.groups:
        tableau, masks, signs = diagonalise([p for p, _ in terms], model.n_qubits)
        signed = signs * np.array([c for _, c in terms])
        readers.append(_GroupReader(model._replace(clifford=tableau, observables=()), masks, signed))
    return tuple(readers), grouping.constant


def _noisy_readers(program: ReadProgram, k: int) -> tuple[tuple[_GroupReader, ...], float]:
    """How observable k is read: gates on single qubits turn the letters of a group to Z, and then bits are misread."""
    grouping = group(program.observables[k], "qubit_wise")
    readers = []
    for terms in grouping.groups:
        circuit = program.circuit.copy()
        for qubit, q in program.place.items():
            letters = {(p.x >> q & 1, p.z >> q & 1) for p, _ in terms} - {(0, 0)}
            if letters == {(1, 1)}:
                circuit.sdg(q)
            if letters and letters != {(0, 1)}:
                circuit.h(q)
            for p10, p01 in program.misreadings.get(qubit, ()):
                circuit.readout_error(p10, p01, q)
        masks = np.array([p.x | p.z for p, _ in terms], np.int64)
        signed = np.array([c * p.sign for p, c in terms])
        readers.append(_GroupReader(model_of(circuit, (PauliSum({}),)), masks, signed))
    return tuple(readers), grouping.constant


def _states(program: Model, theta: np.ndarray, options: dict[str, Any]) -> Iterable[tuple[int, np.ndarray]]:
    """Amplitudes; of a mixed state real ones with its probabilities."""
    step = max(1, _CHUNK_AMPLITUDES >> program.n_qubits)
    for start in range(0, len(theta), step):
        if program.channels:
            yield from enumerate(np.sqrt(probabilities(program, theta[start : start + step], **options)), start)
        else:
            yield from enumerate(state(program, theta[start : start + step], **options), start)


def _checked_precision(precision: Any) -> float:
    if not isinstance(precision, int | float | np.floating) or not 0 <= precision < math.inf:
        raise QupropError(f"precision is a standard error, 0 (exact) or more, got {precision!r}")
    return float(precision)


def _checked_shots(shots: Any) -> int:
    if isinstance(shots, bool) or not isinstance(shots, int | np.integer) or shots < 1:
        raise QupropError(f"shots is a whole number, 1 or more, got {shots!r}")
    return int(shots)


__all__ = ["QupropEstimator", "QupropSampler", "ReadProgram", "columns_of", "model_of"]
