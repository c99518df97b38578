"""Amazon Braket's devices (extra ``braket``): its local simulators, and machines on AWS.

A circuit becomes an OpenQASM program of Braket once, every angle an input of the program. Each setting is a task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from quprop.errors import QupropError, count_of, nearest, one_line, shown, whole
from quprop.hybrid.devices.flat import BARRIER, angle_numbers, flat_gates, lowered
from quprop.lazy import missing
from quprop.model.angle import Angle
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

try:
    from braket.circuits import Circuit as BraketCircuit
    from braket.circuits import FreeParameter
    from braket.circuits.serialization import IRType
    from braket.devices import LocalSimulator
    from braket.ir.openqasm import Program
except ImportError:
    raise missing("a device of Amazon Braket needs its SDK", "braket") from None

__all__ = ["BraketDevice"]

_KEPT = 512  # circuits whose programs are kept
_NO_LIMIT = 2**62  # shots, which the local simulators call their limit
_LOST = ("FAILED", "CANCELLED")  # states of tasks that have no result and will have none
TASK_DOLLARS = 0.30  # of a task on any machine, https://aws.amazon.com/braket/pricing, besides the price of its shots
TAG, PLACE, WORK = "quprop-tag", "quprop-place", "quprop-work"  # of the tags of a task on AWS

# quprop's gates under Braket's names; the rest are written in these, as are those that a machine lacks.
_NAMES: dict[str, str] = {name: name for name in ("x", "y", "z", "h", "s", "t", "rx", "ry", "rz")}
_NAMES |= {"cy": "cy", "cz": "cz", "swap": "swap", "iswap": "iswap", "ecr": "ecr"}
_NAMES |= {"sdg": "si", "tdg": "ti", "sx": "v", "sxdg": "vi", "cx": "cnot", "p": "phaseshift", "cp": "cphaseshift"}
_NAMES |= {"rxx": "xx", "ryy": "yy", "rzz": "zz", "ccx": "ccnot"}


class _Compiled(NamedTuple):
    circuit: Any  # of Braket
    program: Any
    names: tuple[str, ...]  # of its inputs
    angles: tuple[Angle, ...]  # of each of them


class BraketJob:
    """Tasks on AWS, one for each setting; `id`: their ARNs."""

    def __init__(self, tasks: Sequence[Any], work: Sequence[Work]) -> None:
        self._tasks, self._work = tasks, work
        self.id = ",".join(str(task.id) for task in tasks)

    def result(self) -> Counts:
        tasks = iter(self._tasks)
        return [[_outcomes(next(tasks), item.circuit) for _ in item.shots] for item in self._work]


class BraketDevice:
    """A Braket device: "braket", the local state vector; "braket:NAME" of another local simulator ("braket_dm"), or
    with the ARN of a machine on AWS; or an object of Braket, `LocalSimulator(...)` or `AwsDevice(arn)`.

    options: of every `run` on AWS, such as s3_destination_folder=("bucket", "prefix"). The credentials are those that
    AWS finds by itself; none is kept.

    Braket's local simulators draw from a generator of their own that takes no seed: this class gives them one of
    `submit`'s seed for each setting while they run, so that the same seed gives the same counts; where a simulator
    has no such generator, and on AWS, draws are not reproducible. NumPy's global generator is not used.
    A task on AWS has the tag of its job and its place in it: `find` finds those that were handed in before a process
    was killed, and hands in the rest.

    Raises: QupropError for an unknown name.
    """

    def __init__(self, given: Any = "braket", **options: Any) -> None:
        self._given, self._options = _device(given), options
        self.name = given if isinstance(given, str) else str(getattr(self._given, "name", "braket"))
        self._arn = str(getattr(self._given, "arn", ""))
        properties = self._given.properties
        self._service = properties.service
        self._least = max(1, int(self._service.shotsRange[0]))
        self.limits = Limits(
            qubits=getattr(getattr(properties, "paradigm", None), "qubitCount", None),
            shots=None if self._service.shotsRange[1] >= _NO_LIMIT else int(self._service.shotsRange[1]),
        )
        operations = _operations(properties)
        self._gates = frozenset(name for name, of_braket in _NAMES.items() if of_braket in operations)
        self._held = _generator(self._given)
        self._compiled: dict[str, _Compiled] = {}

    def prepare(self, circuits: Sequence[DeviceCircuit]) -> list[Prepared]:
        """Gates and depth of what is handed in; what a machine makes of it is known to AWS alone."""
        self._check_circuits(circuits)
        return [self._prepared(c) for c in circuits]

    def submit(self, work: Sequence[Work], *, seed: int, tag: str) -> DeviceJob:
        """A task for each setting; a local simulator has run them when this returns."""
        self._check(work)
        if self._arn:
            return self._on_aws(work, tag, {})
        seeds = np.random.SeedSequence(whole("seed", seed, 0)).spawn(sum(len(item.shots) for item in work))
        left, counts = iter(seeds), list[list[Outcomes]]()
        for item in work:
            counts.append([])
            for spec, shots, inputs in self._settings(item):
                with _seeded(self._given, self._held, next(left)), _one_sentence(self.name):
                    task = self._given.run(spec, shots=shots, inputs=inputs)
                counts[-1].append(_outcomes(task, item.circuit))
        return FinishedJob(counts)

    def find(self, tag: str, work: Sequence[Work]) -> DeviceJob | None:
        """The job of this tag on AWS. Tasks of it that were never handed in, failed or were cancelled are handed in
        now."""
        session = getattr(self._given, "aws_session", None)
        if not self._arn or not tag or session is None:
            return None
        found = self._search(session, tag, digest(work))
        return self._on_aws(work, tag, {k: _aws_task(arn, session) for k, arn in found.items()}) if found else None

    def seconds(self, work: Sequence[Work]) -> float | None:
        return None

    def price(self, work: Sequence[Work]) -> float | None:
        """Dollars: 0 of a local simulator; of a machine on AWS that is paid by the shot, 0.30 a task and its shots."""
        if not self._arn:
            return 0.0
        cost = self._service.deviceCost
        if cost is None or cost.unit != "shot":
            return None
        shots = sum(int(np.sum(item.shots)) for item in work)
        return float(TASK_DOLLARS * sum(len(item.shots) for item in work) + cost.price * shots)

    def definition(self) -> dict[str, Any]:
        found = {"device": "braket", "name": self.name, "arn": self._arn, "seeded": bool(self._held)}
        return {k: v for k, v in found.items() if v != ""}

    # What is handed in

    def _prepared(self, given: DeviceCircuit) -> Prepared:
        made = self._compile(given).circuit
        gates = [i for i in made.instructions if i.operator.name not in ("Measure", "I", "Barrier")]
        twos = sum(len(i.target) == 2 for i in gates)
        depth = BraketCircuit(gates).depth
        return Prepared(twos, len(gates), depth, None, given.measured)

    def _check_circuits(self, circuits: Sequence[DeviceCircuit]) -> None:
        check_circuits(self.name, self.limits, circuits)
        if self._arn and any(c.barriers or c.placed for c in circuits):
            raise QupropError(
                f"the device {self.name} compiles circuits as it finds best, so gates that are repeated on purpose, or "
                "put on chosen qubits, may not stay; leave mitigation out, or take a device of Qiskit"
            )

    def _check(self, work: Sequence[Work]) -> None:
        self._check_circuits([item.circuit for item in work])
        check_work(self.name, self.limits, work)
        fewest = min((int(np.min(item.shots)) for item in work if len(item.shots)), default=self._least)
        if fewest < self._least:
            raise QupropError(
                f"the device {self.name} repeats a circuit {self._least} times at least, and a setting asks for "
                f"{fewest}; ask for more"
            )

    def _settings(self, work: Work) -> Iterator[tuple[Any, int, dict[str, float]]]:
        """What `run` takes for each: circuit, shots, inputs."""
        noisy = getattr(self._given, "_noise_model", None) is not None  # which Braket puts on its circuits only
        made = self._compile(work.circuit)
        numbers = angle_numbers(made.angles, work.circuit.circuit, np.asarray(work.values, float)).tolist()
        for row, shots in zip(numbers, np.asarray(work.shots).tolist(), strict=True):
            yield made.circuit if noisy else made.program, shots, dict(zip(made.names, row, strict=True))

    def _on_aws(self, work: Sequence[Work], tag: str, tasks: dict[int, Any]) -> DeviceJob:
        """The tasks that are there, and new ones in the other places."""
        self._check(work)
        work_tags = {TAG: tag, WORK: digest(work)}
        settings = [setting for item in work for setting in self._settings(item)]
        for place, (spec, shots, inputs) in enumerate(settings):
            if place not in tasks:
                tags = {"tags": {**work_tags, PLACE: str(place)}} if tag else {}
                try:
                    tasks[place] = self._given.run(spec, shots=shots, inputs=inputs, **tags, **self._options)
                except Exception as error:
                    raise QupropError(
                        f"{self.name} has taken {len(tasks)} of {count_of(len(settings), 'task')} and not the next "
                        f"({one_line(str(error))}); start again later, and those are found by their tag"
                    ) from error
        return BraketJob([tasks[place] for place in range(len(settings))], work)

    def _search(self, session: Any, tag: str, work: str) -> dict[int, str]:
        """ARNs of the tasks of a job, by their places, without those that have ended and have no result."""
        out: dict[int, str] = {}
        options: dict[str, Any] = {"filters": [{"name": "deviceArn", "operator": "EQUAL", "values": [self._arn]}]}
        while True:
            with _one_sentence(self.name):
                page = session.braket_client.search_quantum_tasks(**options)
            for task in page["quantumTasks"]:
                tags = task.get("tags") or {}
                if tags.get(TAG) == tag:
                    if tags.get(WORK) != work:
                        raise QupropError(
                            f"task {task['quantumTaskArn']} has the tag {tag!r} and is of other circuits, settings or "
                            "shots than these; give this work a tag of its own"
                        )
                    out[int(tags[PLACE])] = task["quantumTaskArn"]
            if not page.get("nextToken"):
                return out
            options["nextToken"] = page["nextToken"]

    def _compile(self, given: DeviceCircuit) -> _Compiled:
        found = self._compiled.get(given.key)
        if found is None:
            if len(self._compiled) >= _KEPT:
                self._compiled.clear()
            found = self._compiled[given.key] = self._translated(given)
        return found

    def _translated(self, given: DeviceCircuit) -> _Compiled:
        out, angles, used = BraketCircuit(), list[Angle](), set[int]()

        def number(angle: Angle) -> Any:
            if angle.is_constant:
                return angle.constant
            angles.append(angle)
            return FreeParameter(f"angle_{len(angles) - 1}")

        for gate in flat_gates(given.circuit, f"the device {self.name}", given.barriers):
            if gate.name == BARRIER:
                out.barrier(list(gate.qubits))
                continue
            for part in lowered(gate, self._gates, f"the device {self.name}"):
                getattr(out, _NAMES[part.name])(*part.qubits, *map(number, part.angles))
                used.update(part.qubits)
        for q in given.measured:
            if q not in used:
                out.i(q)
        out.measure(list(given.measured))
        source = out.to_ir(ir_type=IRType.OPENQASM).source
        names = tuple(f"angle_{k}" for k in range(len(angles)))
        return _Compiled(out, Program(source=source), names, tuple(angles))


def _device(given: Any) -> Any:
    if not isinstance(given, str):
        if not hasattr(given, "run") or not hasattr(given, "properties"):
            raise QupropError(
                f'a Braket device is "braket", "braket:NAME" or an object with run and properties, got {shown(given)}'
            )
        return given
    kind, _, name = ("braket", ":", given) if given.startswith("arn:") else given.partition(":")
    if kind != "braket":
        raise QupropError(f'a Braket device is called "braket" or "braket:NAME", got {given!r}')
    if name.startswith("arn:"):
        from braket.aws import AwsDevice

        with _one_sentence(given):
            return AwsDevice(name)
    local = LocalSimulator.registered_backends() - {"braket_ahs"}  # of analog machines, which have no gates
    if (name or "braket_sv") not in local:
        raise QupropError(
            f"Braket has the local simulators {', '.join(sorted(local))}, got {name!r}; {nearest(name, sorted(local))}"
        )
    return LocalSimulator(name or "braket_sv")


def _operations(properties: Any) -> frozenset[str]:
    """Names of the gates that OpenQASM programs for the device may have."""
    for kind, action in properties.action.items():
        if getattr(kind, "value", kind) == "braket.ir.openqasm.program":
            return frozenset(op.lower() for op in action.supportedOperations)
    raise QupropError(
        "this Braket device takes no OpenQASM programs, so it runs no circuits of gates; take a gate-based device"
    )


def _aws_task(arn: str, session: Any) -> Any:
    from braket.aws import AwsQuantumTask

    return AwsQuantumTask(arn, aws_session=session)


def _generator(given: Any) -> str:
    """The name under which the simulations of a local simulator hold the generator they draw from, "" without one."""
    make = getattr(getattr(given, "_delegate", None), "initialize_simulation", None)
    if make is None:
        return ""
    return "_rng_generator" if hasattr(make(qubit_count=1, shots=1, batch_size=1), "_rng_generator") else ""


@contextmanager
def _seeded(given: Any, held: str, seed: np.random.SeedSequence) -> Iterator[None]:
    """Simulations draw from this seed meanwhile."""
    if not held:
        yield
        return
    simulator = given._delegate
    make = simulator.initialize_simulation

    def initialised(**options: Any) -> Any:
        simulation = make(**options)
        setattr(simulation, held, np.random.default_rng(seed))
        return simulation

    simulator.initialize_simulation = initialised
    try:
        yield
    finally:
        del simulator.initialize_simulation  # the class's own is there again


@contextmanager
def _one_sentence(name: str) -> Iterator[None]:
    """What Braket raises."""
    try:
        yield
    except Exception as error:
        raise QupropError(f"{name} did not run this: {one_line(str(error))}; see what it supports") from error


def _outcomes(task: Any, circuit: DeviceCircuit) -> Outcomes:
    with _one_sentence(f"task {task.id}"):
        result = task.result()
    if result is None:
        state = str(task.state())
        if state not in _LOST:
            raise QupropError(
                f"task {task.id} is {state} and has no result yet; ask again later, it is found by its tag"
            )
        why = one_line(str(task.metadata().get("failureReason") or "no reason is given"))
        raise QupropError(f"task {task.id} ended as {state} and has no result ({why}); hand its circuits in again")
    places = list(result.measured_qubits)
    bits = np.asarray(result.measurements)[:, [places.index(q) for q in circuit.measured]]
    return np.unique(bits.astype(np.int64) @ (1 << np.arange(len(circuit.measured))), return_counts=True)
