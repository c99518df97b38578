"""Qiskit's backends and samplers as devices: Aer, fake backends, IBM's machines, any BackendV2 or SamplerV2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np

from quprop.errors import QupropError, shown, whole
from quprop.hybrid.devices.qiskit_circuits import (
    Compiled,
    Instance,
    compiled,
    placed,
    refolded,
    shares,
    summed,
    twirled,
    unmasked,
)
from quprop.hybrid.devices.qiskit_sources import Pub, Running, readout_errors, repetition_delay, source_of
from quprop.lazy import missing
from quprop.sampling.devices.check import check_circuits, check_work, digest
from quprop.sampling.devices.device import Counts, DeviceCircuit, DeviceJob, Outcomes, Prepared, Work

try:
    from qiskit.transpiler import generate_preset_pass_manager
except ImportError:
    raise missing("Qiskit's devices need Qiskit 2", "qiskit") from None

_LIBRARIES = ("qiskit", "qiskit-aer", "qiskit-ibm-runtime")


class _Part(NamedTuple):
    """What a pub is of the work: settings `rows` of work[work], their outcomes flipped by `mask`."""

    work: int
    rows: np.ndarray
    mask: int


class QiskitJob:
    """Work on one of Qiskit's backends. id: of IBM's job; "" of one that ends with this process."""

    def __init__(self, running: Running, parts: Sequence[_Part], settings: Sequence[int]) -> None:
        self._running, self._parts, self._settings = running, parts, settings
        self._counts: Counts | None = None

    @property
    def id(self) -> str:
        return self._running.id

    def result(self) -> Counts:
        if self._counts is None:
            self._counts = self._read()
        return self._counts

    def _read(self) -> Counts:
        outcomes = self._running.outcomes()
        if len(outcomes) != len(self._parts) or any(
            len(o) != len(p.rows) for o, p in zip(outcomes, self._parts, strict=True)
        ):
            raise QupropError(f"job {self.id or 'of this work'} has results of other circuits; it ran something else")
        found: list[list[list[Outcomes]]] = [[[] for _ in range(n)] for n in self._settings]
        for part, settings in zip(self._parts, outcomes, strict=True):
            for row, one in zip(part.rows.tolist(), settings, strict=True):
                found[part.work][row].append(unmasked(one, part.mask))
        return [[summed(parts) for parts in rows] for rows in found]


class QiskitDevice:
    """Runs circuits on what Qiskit runs circuits on.

    given: a BackendV2 (AerSimulator, a fake backend, which Aer simulates with its noise, IBM's or any other); a
        SamplerV2, anything with run(pubs); a Session or Batch of IBM's; or a name: "aer", "fake_manila", "ibm:fez" or
        "ibm_fez", the latter with the account that was saved on this machine.
    optimisation_level, seed_transpiler: of Qiskit's compiler, which sees each circuit once, with open angles.
    twirl: run every circuit as this many instances with random Pauli gates around its two-qubit gates (CX, CZ, ECR,
        iSWAP), which leave what it does, and turn coherent errors into random ones; the shots are shared out evenly.
        twirl_readout: with random X before the measurements too, and the bits flipped back.
    options: of Aer's `run`, of the backend's, or of IBM's SamplerV2. price_per_second: of the machine's time.

    The seed of `submit` seeds simulators and twirls. On a machine of IBM's a job has the tag of `submit`, by which
    `find` finds it.

    Raises: QupropError for what cannot be run on, and for unknown names and options.
    """

    def __init__(
        self,
        given: Any,
        *,
        optimisation_level: int = 2,
        seed_transpiler: int = 0,
        twirl: int | None = None,
        twirl_readout: bool = False,
        options: Mapping[str, Any] | None = None,
        price_per_second: float | None = None,
    ) -> None:
        if whole("optimisation_level", optimisation_level, 0) > 3:
            raise QupropError(f"optimisation_level is 0, 1, 2 or 3, got {optimisation_level}")
        if twirl is not None:
            whole("twirl", twirl, 1)
        elif twirl_readout:
            raise QupropError("twirl_readout flips bits in randomised instances; say how many with twirl=K")
        if price_per_second is not None and not price_per_second >= 0:
            raise QupropError(f"price_per_second is 0 or more, got {shown(price_per_second)}")
        self._level, self._seed = optimisation_level, whole("seed_transpiler", seed_transpiler, 0)
        self._twirl, self._twirl_readout = twirl, bool(twirl_readout)
        self._options = dict(options or {})
        self._price = price_per_second
        self._source = source_of(given, self._options)
        self.name, self.limits = self._source.name, self._source.limits
        self._known: dict[str, Compiled] = {}

    def prepare(self, circuits: Sequence[DeviceCircuit]) -> list[Prepared]:
        """Compiled circuits; gates of more than two qubits, which simulators may have, count as two-qubit gates."""
        return [c.prepared for c in self._compiled(circuits)]

    def submit(self, work: Sequence[Work], *, seed: int, tag: str) -> DeviceJob:
        """One job of all work. Settings of one circuit with the same shots are one pub."""
        check_work(self.name, self.limits, work)
        pubs, parts = self._pubs(work, whole("seed", seed, 0))
        return QiskitJob(self._source.run(pubs, seed, tag, digest(work)), parts, [len(w.shots) for w in work])

    def find(self, tag: str, work: Sequence[Work]) -> DeviceJob | None:
        """The job with this tag on a machine of IBM's. Raises QupropError where it was of other work."""
        found = self._source.find(tag)
        if found is None:
            return None
        if found.digest != digest(work):
            raise QupropError(
                f"job {found.running.id} of {self.name} has the tag {tag!r} and other circuits, settings or shots than "
                "these; give this work a tag of its own"
            )
        return QiskitJob(found.running, self._pubs(work, found.seed)[1], [len(w.shots) for w in work])

    def seconds(self, work: Sequence[Work]) -> float | None:
        """Shots, each of the circuit's longest path, its measurement and the machine's pause between shots."""
        each = [c.prepared.seconds for c in self._compiled([w.circuit for w in work])]
        if any(s is None for s in each):
            return None
        return float(sum(s * int(w.shots.sum()) for s, w in zip(each, work, strict=True) if s is not None))

    def price(self, work: Sequence[Work]) -> float | None:
        seconds = None if self._price is None else self.seconds(work)
        return None if seconds is None or self._price is None else seconds * self._price

    def readout_errors(self, layout: Sequence[int]) -> list[tuple[float, float]] | None:
        """For each of the device's qubits, p(1|0) and p(0|1): the probability of reading 1 after 0 was prepared, and 0
        after 1. None where the device does not say."""
        return readout_errors(self._source, layout)

    def definition(self) -> dict[str, Any]:
        """Names, versions, options."""
        return {
            "library": "qiskit",
            "name": self.name,
            "versions": {name: v for name in _LIBRARIES if (v := _version(name)) is not None},
            "optimisation_level": self._level,
            "seed_transpiler": self._seed,
            "twirl": self._twirl,
            "twirl_readout": self._twirl_readout,
            "options": {key: _plain(value) for key, value in self._options.items()},
        }

    def _compiled(self, circuits: Sequence[DeviceCircuit]) -> list[Compiled]:
        check_circuits(self.name, self.limits, circuits)
        delay, target = repetition_delay(self._source.machine), self._source.target

        def compile_all(group: list[DeviceCircuit], **layout: Any) -> None:
            new = [c for c in {c.key: c for c in group}.values() if c.key not in self._known]
            if new:
                made = compiled(new, self._passes(self._level, **layout), target, delay)
                self._known.update(zip([c.key for c in new], made, strict=True))

        bases = [c if c.folding is None else replace(c.folding.base, barriers=(0, c.barriers[1])) for c in circuits]
        compile_all([c for c in bases if not c.placed])
        for c, base in zip(circuits, bases, strict=True):
            if base.placed:
                compile_all([base], initial_layout=list(range(base.circuit.n_qubits)))
            if c.folding is not None and c.key not in self._known:
                if c.folding.partly:  # with a barrier more, on the same qubits
                    compile_all([c.folding.base], initial_layout=placed(self._known[base.key].circuit))
                again = self._passes(0)
                self._known[c.key] = refolded(self._known[c.folding.base.key], c, again, target, delay)
        return [self._known[c.key] for c in circuits]

    def _passes(self, level: int, **more: Any) -> Any:
        return generate_preset_pass_manager(
            optimization_level=level, seed_transpiler=self._seed, **self._source.constraints, **more
        )

    def _pubs(self, work: Sequence[Work], seed: int) -> tuple[list[Pub], list[_Part]]:
        pubs, parts = [], []
        for i, (item, circuit) in enumerate(zip(work, self._compiled([w.circuit for w in work]), strict=True)):
            values = np.asarray(item.values, float)[:, circuit.columns]
            for isa, mask, rows, shots in self._instances(circuit, item.shots, np.random.default_rng([seed, i])):
                pubs.append(Pub(isa, values[rows], shots))
                parts.append(_Part(i, rows, mask))
        return pubs, parts

    def _instances(
        self, circuit: Compiled, shots: np.ndarray, rng: np.random.Generator
    ) -> Iterator[tuple[Any, int, np.ndarray, int]]:
        """Circuit, mask, settings and the shots of each of them."""
        instances = [Instance(circuit.circuit, 0)]
        if self._twirl is not None:
            instances = twirled(circuit, self._twirl, self._twirl_readout, self._source.one_qubit_passes, rng)
        for number in np.unique(shots).tolist():
            rows = np.flatnonzero(shots == number)
            for (isa, mask), share in zip(instances, shares(number, len(instances)), strict=True):
                if share:
                    yield isa, mask, rows, share


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return type(value).__name__


__all__ = ["QiskitDevice", "QiskitJob"]
