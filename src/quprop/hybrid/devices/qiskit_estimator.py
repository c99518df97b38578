"""Expectation values of Pauli strings by Qiskit's EstimatorV2, for methods that are sums of such values.

Estimators choose bases, groups of strings and mitigation themselves. What they are told is a precision.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from quprop.errors import QupropError, shown, whole
from quprop.hybrid.devices.qiskit_circuits import columns_of, compiled_by
from quprop.hybrid.devices.qiskit_sources import (
    GATES,
    QiskitSource,
    ibm_runtime,
    is_of,
    said,
    simulator_seed,
    source_of,
    turns_controlled,
)
from quprop.hybrid.qiskit import to_qiskit, to_sparse_pauli_op
from quprop.lazy import missing
from quprop.model.circuit import Circuit
from quprop.model.pauli import PauliString, PauliSum
from quprop.sampling.devices.device import DeviceCircuit

try:
    from qiskit.primitives import BackendEstimatorV2, StatevectorEstimator
    from qiskit.providers import BackendV2
    from qiskit.transpiler import generate_preset_pass_manager
except ImportError:
    raise missing("Qiskit's estimators need Qiskit 2", "qiskit") from None

Means = tuple[np.ndarray, np.ndarray]
"""Expectation values (R, K) and their standard errors, as the estimator gives them."""

_UP = 1 + 1e-9  # 1 / precision^2 is rounded up to whole shots: never to one more by rounding


class _Target(NamedTuple):
    name: str
    constraints: dict[str, Any]  # of the compiler
    qubits: int | None
    estimator: Any  # of a seed: the estimator
    apart: bool = False  # begins its draws anew with every pub: each is run with a seed of its own
    aer: bool = False
    silent: bool = False  # draws values with the precision for standard error, and says 0


class QiskitEstimator:
    """Asks an estimator of Qiskit's for expectation values.

    given: an EstimatorV2 (StatevectorEstimator, BackendEstimatorV2, those of Aer and IBM's runtime, QupropEstimator,
        anything with run(pubs)); or a backend or name as of `QiskitDevice`: IBM's machines are asked by IBM's
        estimator, all others by BackendEstimatorV2.
    optimisation_level, seed_transpiler: of the compiler, which sees each circuit once. options: of the estimator that
        is made for a backend.

    Raises: QupropError for what gives no expectation values.
    """

    def __init__(
        self,
        given: Any,
        *,
        optimisation_level: int = 2,
        seed_transpiler: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if whole("optimisation_level", optimisation_level, 0) > 3:
            raise QupropError(f"optimisation_level is 0, 1, 2 or 3, got {optimisation_level}")
        self._level, self._seed = optimisation_level, whole("seed_transpiler", seed_transpiler, 0)
        self._target = _target(given, dict(options or {}))
        self.name = self._target.name
        self._compiled: dict[str, Any] = {}

    def expectations(
        self,
        work: Sequence[tuple[Circuit, Sequence[PauliString]]],
        values: Sequence[np.ndarray],
        shots: Sequence[int],
        *,
        seed: int,
    ) -> list[Means]:
        """<P_k> at every setting of each circuit's parameters, all in one job.

        work: circuits without change of basis, each with K strings. values: for each circuit its parameters (R, P).
        shots: for each circuit, of every string: the precision asked for is 1/sqrt(shots), which a string's standard
            error does not exceed. Strings that are read together share their shots.
        seed: of estimators that draw at random by themselves.

        Returns: for each circuit expectation values (R, K) and standard errors (R, K).
        Raises: QupropError for work that does not fit the estimator, and where the job failed.
        """
        rows = _checked(work, values, shots, self._target.qubits, self.name)
        keys = [DeviceCircuit(circuit, (), 0).key for circuit, _ in work]
        new = {key: circuit for key, (circuit, _) in zip(keys, work, strict=True) if key not in self._compiled}
        if new:
            passes = generate_preset_pass_manager(
                optimization_level=self._level, seed_transpiler=self._seed, **self._target.constraints
            )
            made = compiled_by(passes, [to_qiskit(c) for c in new.values()])
            self._compiled.update(zip(new, made, strict=True))
        groups: dict[tuple[Any, ...], list[int]] = {}  # what differs in its settings alone is one pub
        for i, ((_, strings), key, n) in enumerate(zip(work, keys, shots, strict=True)):
            groups.setdefault((key, tuple(strings), n), []).append(i)
        pubs = []
        for (key, strings, n), members in groups.items():
            circuit, isa = work[members[0]][0], self._compiled[key]
            if self._target.aer and turns_controlled(isa):
                raise QupropError(
                    "Aer's EstimatorV2 binds angles of controlled gates wrongly, and this simulator has such gates; "
                    "pass the simulator itself"
                )
            operators = [to_sparse_pauli_op(PauliSum({p: 1.0}), circuit.n_qubits) for p in strings]
            if isa.layout is not None:
                operators = [operator.apply_layout(isa.layout) for operator in operators]
            columns = np.concatenate([rows[i] for i in members])[:, columns_of(isa, circuit)]
            pubs.append((isa, operators, columns[:, None, :], _UP / np.sqrt(n)))
        results = self._results(pubs, whole("seed", seed, 0))
        found: list[Any] = [None] * len(work)
        for (_, strings, n), members, pub in zip(groups, groups.values(), results, strict=True):
            stds = np.full(1, _UP / np.sqrt(n)) if self._target.silent else pub.data.stds
            ends = np.cumsum([len(rows[i]) for i in members])
            both = [np.broadcast_to(m, (ends[-1], len(strings))).astype(float) for m in (pub.data.evs, stds)]
            for i, start, end in zip(members, [0, *ends], ends, strict=False):
                found[i] = both[0][start:end], both[1][start:end]
        return found

    def _results(self, pubs: list[Any], seed: int) -> list[Any]:
        seeds = [simulator_seed(seed, k) for k in range(len(pubs))] if self._target.apart else [seed]
        found: list[Any] = []
        for k, own in enumerate(seeds):
            with said(f"{self.name} did not take the job"):
                job = self._target.estimator(own).run(pubs[k : k + 1] if self._target.apart else pubs)
            with said(f"job {job.job_id()} of {self.name} gave no result"):
                found += list(job.result())
        return found


def _checked(work: Any, values: Any, shots: Any, qubits: int | None, name: str) -> list[np.ndarray]:
    if not len(work) == len(values) == len(shots):
        raise QupropError(f"each circuit has values and shots, got {len(work)}, {len(values)} and {len(shots)}")
    rows = []
    for (circuit, strings), given, n in zip(work, values, shots, strict=True):
        settings = np.asarray(given, float)
        if settings.ndim != 2 or settings.shape[1] != circuit.n_params or not np.isfinite(settings).all():
            raise QupropError(
                f"a circuit's values are finite numbers (settings, {circuit.n_params}), got {settings.shape}"
            )
        if circuit.n_inputs:
            raise QupropError("a circuit for an estimator has no inputs; bind them first, circuit.bound(theta, x)")
        whole("shots", n, 1)
        high = max((q for p in strings for q in p.qubits), default=-1)
        if not strings or high >= circuit.n_qubits:
            raise QupropError(
                f"strings are one or more, on qubits 0 to {circuit.n_qubits - 1}, got {shown(list(strings))}"
            )
        if qubits is not None and circuit.n_qubits > qubits:
            raise QupropError(f"{name} has {qubits} qubits, and this circuit needs {circuit.n_qubits}")
        rows.append(settings)
    return rows


def _target(given: Any, options: dict[str, Any]) -> _Target:
    if isinstance(given, str | BackendV2) or not callable(getattr(given, "run", None)):
        source = source_of(given, {})
        if is_of(source.backend, "qiskit_ibm_runtime", "IBMBackend"):
            made = ibm_runtime().EstimatorV2
            return _of_source(source, lambda _: made(mode=source.backend, options=options))
        return _of_source(
            source,
            lambda seed: BackendEstimatorV2(
                backend=source.backend, options={**options, "seed_simulator": simulator_seed(seed)}
            ),
        )
    name = type(given).__name__
    if options:
        raise QupropError(f"options of {name} stand in the estimator itself; set {shown(next(iter(options)))} there")
    if not any("Estimator" in c.__name__ for c in type(given).__mro__) or getattr(given, "version", 2) == 1:
        raise QupropError(f"{name} gives no expectation values by Qiskit's interface V2; pass an EstimatorV2")
    if isinstance(given, StatevectorEstimator):
        return _Target(
            name, {"basis_gates": GATES}, None, lambda seed: StatevectorEstimator(seed=seed), apart=True, silent=True
        )
    if is_of(given, "quprop", "QupropEstimator"):
        basis = GATES if given.noise_model is None else sorted(given.noise_model.basis_gates)
        return _Target(name, {"basis_gates": basis}, None, lambda seed: _reseeded(given, seed))
    if isinstance(given, BackendEstimatorV2):
        kept = {key: getattr(given.options, key) for key in ("default_precision", "abelian_grouping")}
        return _of_source(
            source_of(given.backend, {}),
            lambda seed: BackendEstimatorV2(
                backend=given.backend, options={**kept, "seed_simulator": simulator_seed(seed)}
            ),
        )
    if is_of(given, "qiskit_aer", "EstimatorV2"):
        return _of_source(source_of(given._backend, {}), lambda seed: _of_aer(given, seed))._replace(
            aer=True, apart=True
        )
    backend = getattr(given, "backend", None)
    backend = backend() if callable(backend) and not isinstance(backend, BackendV2) else backend
    if not isinstance(backend, BackendV2):
        return _Target(name, {"basis_gates": GATES}, None, lambda _: given)
    return _Target(name, {"backend": backend}, backend.num_qubits, lambda _: given)


def _of_source(source: QiskitSource, estimator: Any) -> _Target:
    return _Target(source.name, source.constraints, source.limits.qubits, estimator)


def _reseeded(estimator: Any, seed: int) -> Any:
    again = copy.copy(estimator)
    again._rng = np.random.default_rng(seed)
    return again


def _of_aer(estimator: Any, seed: int) -> Any:
    again = copy.copy(estimator)
    again._options = copy.deepcopy(estimator.options)
    again._options.run_options["seed_simulator"] = simulator_seed(seed)
    return again


__all__ = ["Means", "QiskitEstimator"]
