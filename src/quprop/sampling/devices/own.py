"""quprop's own engine as a device: exact distributions, of a noisy machine if asked, from which the shots are drawn.

With a folder it is a service that remembers: every job is kept there, and found again by its tag from any process.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quprop.errors import QupropError, whole
from quprop.files import JsonLines, make_folder, read_bytes, read_text, write_atomically
from quprop.hardware_models import HardwareModel, NoiseModel, noise_of
from quprop.model import Model
from quprop.model.noise import applied, function_of, machine_gates
from quprop.sampling.devices.check import check_circuits, check_work, digest
from quprop.sampling.devices.device import (
    Counts,
    DeviceCircuit,
    DeviceJob,
    FinishedJob,
    Limits,
    Outcomes,
    Prepared,
    Work,
)
from quprop.sampling.sampler import at_once
from quprop.simulate import get_engine, probabilities
from quprop.simulate.vectors import drawn_states

_FEW_OUTCOMES = 256  # of a circuit: then all of them are counted, of all settings at once
_MODELS = 512  # circuits whose models are kept
_PAID = "paid.jsonl"


class OwnDevice:
    """Runs circuits on quprop's engine: probabilities are exact, and outcomes are drawn from them by the seed given to
    `submit`. The same seed gives the same counts for any number of threads.

    engine, threads: as in `quprop.expectation`; the engine has to know probabilities. limits: of a job, none if left
    out. noise: put on every circuit, the name of a machine such as "superconducting" or "superconducting:0.1", a
    `NoiseModel`, or what has apply(circuit) or is a function from a circuit to the noisy one; a noisy circuit is
    simulated as a density matrix. name: what it is called.
    folder: made if need be. Each job is kept there under an id, and `find` finds it by its tag from any process. A line
    of its file paid.jsonl is a job: its id, tag, circuits and shots. A job is in it as a whole or not at all, also
    where the process is killed, so that the lines are what a client has paid for.

    Raises: QupropError for an unknown engine or noise, or a folder that cannot be made.
    """

    def __init__(
        self,
        *,
        engine: Any = None,
        threads: int | None = None,
        limits: Limits = Limits(),  # noqa: B008  # a tuple
        noise: Any = None,
        folder: str | os.PathLike[str] | None = None,
        name: str = "quprop",
    ) -> None:
        self.name, self.limits = name, limits
        self._engine, self._threads = engine, threads
        self._engine_name = str(getattr(get_engine(engine, "double", threads), "name", type(engine).__name__))
        self._noise: Any = noise_of(noise) if isinstance(noise, str | HardwareModel | NoiseModel) else noise
        if noise is not None:
            function_of(self._noise)  # speaks up now about what is none
        self._said = noise if isinstance(noise, str) else _plain(self._noise)
        self._models: dict[str, Model] = {}
        self._folder = None if folder is None else Path(folder)
        if self._folder is not None:
            make_folder(self._folder)

    def prepare(self, circuits: Sequence[DeviceCircuit]) -> list[Prepared]:
        """Gates as `Circuit.with_noise` counts them: a rotation about a string of w letters is 2 (w - 1) two-qubit
        gates and one of one qubit. The input state is there at once."""
        check_circuits(self.name, self.limits, circuits)
        return [Prepared(*machine_gates(c.circuit), None, c.measured) for c in circuits]

    def submit(self, work: Sequence[Work], *, seed: int, tag: str) -> DeviceJob:
        """The job, done. seed: 0 or more, draws all its shots; tag: by which `find` finds it in a folder."""
        check_work(self.name, self.limits, work)
        rng = np.random.default_rng(whole("seed", seed, 0))
        counts = [self._run(item, rng) for item in work]
        return FinishedJob(counts) if self._folder is None else self._keep(work, counts, tag)

    def find(self, tag: str, work: Sequence[Work]) -> DeviceJob | None:
        """The last job of this tag in the folder. Raises QupropError where it was of other work."""
        rows = [] if self._folder is None or not tag else _rows(self._folder / _PAID)
        for row in reversed(rows):
            if row["tag"] == tag:
                if row["work"] != digest(work):
                    raise QupropError(
                        f"job {row['id']} of the device {self.name} has the tag {tag!r} and other circuits, settings "
                        "or shots than these; give this work a tag of its own"
                    )
                return FinishedJob(self._kept(row["id"], work), row["id"])
        return None

    def seconds(self, work: Sequence[Work]) -> float | None:
        return None

    def price(self, work: Sequence[Work]) -> float | None:
        return None

    def definition(self) -> dict[str, Any]:
        folder = None if self._folder is None else str(self._folder)
        limits = {k: v for k, v in self.limits._asdict().items() if v is not None}
        return {
            "device": "quprop", "name": self.name, "engine": self._engine_name, "noise": self._said,
            "limits": limits, "folder": folder,
        }  # fmt: skip

    # What it runs

    def _run(self, work: Work, rng: np.random.Generator) -> list[Outcomes]:
        model, out = self._model(work.circuit), list[Outcomes]()
        values, shots = np.asarray(work.values, float), np.asarray(work.shots, np.int64)
        step = at_once(model)
        for start in range(0, len(shots), step):
            rows = slice(start, start + step)
            angles = values[rows] if model.n_params else values[:1]  # without parameters there is one distribution
            p = probabilities(model, angles, engine=self._engine, threads=self._threads)
            p = np.maximum(_of_measured(p, work.circuit), 0.0)  # rounding of a mixed state
            out += _draw(rng, np.broadcast_to(p, (len(shots[rows]), p.shape[1])), shots[rows])
        return out

    def _model(self, given: DeviceCircuit) -> Model:
        found = self._models.get(given.key)
        if found is None:
            circuit = given.circuit
            if self._noise is not None:
                circuit = applied(self._noise, circuit)
            if len(self._models) >= _MODELS:
                self._models.clear()
            found = self._models[given.key] = Model(circuit, "Z0")  # an observable that nobody asks for
        return found

    # What it remembers

    def _keep(self, work: Sequence[Work], counts: Counts, tag: str) -> DeviceJob:
        """Counts first, then the line that says they are there: what is killed between the two never was a job."""
        assert self._folder is not None
        busy = f"another process is handing a job in to {self._folder}; wait for it, or give each a folder of its own"
        log = JsonLines(self._folder / _PAID, busy)
        try:
            job = f"job-{len(log.load()) + 1:06d}"
            settings = list(_settings(counts))
            arrays = {
                "sizes": np.array([len(o) for o, _ in settings], np.int64),
                "outcomes": np.concatenate([o for o, _ in settings] or [np.empty(0, np.int64)]),
                "counts": np.concatenate([c for _, c in settings] or [np.empty(0, np.int64)]),
            }
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)  # type: ignore[arg-type]  # of NumPy's stubs
            write_atomically(self._folder / f"{job}.npz", buffer.getvalue())
            shots = [item.shots for item in work]
            log.append(
                {
                    "id": job, "tag": tag, "work": digest(work), "circuits": sum(map(len, shots)),
                    "shots": sum(int(np.sum(s)) for s in shots),
                }
            )  # fmt: skip
            log.sync()
        finally:
            log.close()
        return FinishedJob(counts, job)

    def _kept(self, job: str, work: Sequence[Work]) -> Counts:
        assert self._folder is not None
        path = self._folder / f"{job}.npz"
        try:
            with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as file:
                sizes, outcomes, counts = file["sizes"], file["outcomes"], file["counts"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise QupropError(f"the counts of {job} are not in {path} ({error}); bring the file back") from None
        ends = np.cumsum(sizes)
        settings = iter([(outcomes[e - s : e], counts[e - s : e]) for s, e in zip(sizes, ends, strict=True)])
        return [[next(settings) for _ in item.shots] for item in work]


def _of_measured(p: np.ndarray, circuit: DeviceCircuit) -> np.ndarray:
    """(R, 2^m) of the measured qubits, bit b that of measured[b], from (R, 2^n)."""
    n, measured = circuit.circuit.n_qubits, circuit.measured
    if measured == tuple(range(n)):
        return p
    # axis n - q is qubit q; the first of what stays is the highest bit
    rest = tuple(n - q for q in range(n) if q not in measured)
    kept = sorted(measured, reverse=True)
    left = p.reshape(-1, *[2] * n).sum(axis=rest)
    order = [1 + kept.index(q) for q in reversed(measured)]
    return left.transpose(0, *order).reshape(len(p), -1)


def _draw(rng: np.random.Generator, p: np.ndarray, shots: np.ndarray) -> list[Outcomes]:
    """For each row of p (R, D) so many shots."""
    if p.shape[1] <= _FEW_OUTCOMES:
        counts = rng.multinomial(shots, p / p.sum(axis=1, keepdims=True))
        return [(seen, row[seen]) for row, seen in zip(counts, map(np.flatnonzero, counts), strict=True)]
    out = []
    for row, count in zip(p, shots.tolist(), strict=True):
        if count > len(row):
            counts = rng.multinomial(count, row / row.sum())
            seen = np.flatnonzero(counts)
            out.append((seen, counts[seen]))
        else:
            out.append(np.unique(drawn_states(row, rng.random(count)), return_counts=True))
    return out


def _settings(counts: Counts) -> Iterator[Outcomes]:
    for of_work in counts:
        yield from of_work


def _rows(path: Path) -> list[dict[str, Any]]:
    """Of all whole lines, while another process may be adding one."""
    try:
        text = read_text(path)
    except FileNotFoundError:
        return []
    try:
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    except ValueError:
        raise QupropError(f"{path} is no list of jobs: move it away, or choose another folder") from None


def _plain(noise: Any) -> Any:
    """What a definition says of it."""
    if isinstance(noise, NoiseModel):
        return {k: v if v is None else float(v) for k, v in dataclasses.asdict(noise).items()}
    return None if noise is None else getattr(noise, "__qualname__", type(noise).__qualname__)
