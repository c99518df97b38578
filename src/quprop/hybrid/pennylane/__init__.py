"""PennyLane (extra ``pennylane``): a device, `qml.device("quprop", wires=n)`, and circuits in, `from_pennylane(qnode)`.

The device runs exactly on quprop's engine and gives its own gradients: a program changes one line, the device's name.

    dev = qml.device("quprop", wires=20)

    @qml.qnode(dev)                       # diff_method "best" and "device" are "adjoint" here
    def energy(theta):
        qml.StronglyEntanglingLayers(theta, wires=range(20))
        return qml.expval(hamiltonian)

A tape becomes a `Model` whose parameters are all numbers in the tape; tapes of one structure share it, and a batch of
them, or a broadcast one, is one call of the engine. All results without samples have gradients, by at
most two backward sweeps whatever their number. Results that are no expectation values, and finite shots, are read from
the state by PennyLane's own code; with shots, gradients are by parameter shift, as PennyLane chooses for any device.
"""

from __future__ import annotations

import atexit
import math
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from quprop.lazy import listing, missing

try:
    from pennylane import measurements as mp
except ImportError:
    raise missing("quprop.hybrid.pennylane needs PennyLane", "pennylane") from None

from pennylane.devices import Device, ExecutionConfig
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.math import Interface
from pennylane.tape import QuantumScript
from pennylane.transforms.core import CompilePipeline

from quprop.errors import generator_of
from quprop.hybrid.pennylane.gradients import (
    Cotangents,
    Forward,
    Slopes,
    by_number,
    by_result,
    cotangents_of,
    pullbacks,
    units,
)
from quprop.hybrid.pennylane.importer import from_pennylane
from quprop.hybrid.pennylane.observables import RefusedError
from quprop.hybrid.pennylane.preprocess import ADJOINT, JAX, SECOND_ORDER, check_rule, is_mapped, pipeline
from quprop.hybrid.pennylane.state import measure_noisy, measure_shots, measure_state
from quprop.hybrid.pennylane.translate import Reading, Structure, TapeReader, is_traced
from quprop.simulate import get_engine

__all__ = ["QupropDevice", "from_pennylane"]

__dir__ = listing(__name__)

KEEP_QUBITS = 24  # a forward call keeps its state for the gradient up to here, a mixed one up to half as many


_devices: weakref.WeakSet[QupropDevice] = weakref.WeakSet()


@atexit.register
def _forget() -> None:
    """Lets go of compiled plans while the kernels' module exists: QNodes often outlive the interpreter's modules."""
    for device in list(_devices):
        device._kept = []
        device._reader = TapeReader(None)


@simulator_tracking
@single_tape_support
class QupropDevice(Device):
    """PennyLane device over quprop's exact engine.

    wires: how many, or their labels; None: whatever a circuit uses.
    shots: as for any PennyLane device; None is exact.
    seed: of finite shots, an integer or a numpy Generator; None takes fresh entropy. NumPy's global state is not used.
    noise: put on every circuit after its decomposition into gates, an object with apply(circuit) or a function from a
        quprop circuit to the noisy one, whose qubit k is the device's wire k; its strengths are numbers. Errors of
        readout at its end act on each Pauli string in the basis it is measured in, and not on qml.state and the like.
        Circuits may have channels of their own besides, as may `qml.noise.add_noise`. A noisy circuit's state is a
        density matrix, as on "default.mixed", without gradients.
    precision: "double" or "single". threads: at most so many (None: all cores). engine: as in `quprop.expectation`; of
    expectation values and their gradients, everything else needs the state.
    """

    def __init__(
        self,
        wires: Any = None,
        shots: Any = None,
        *,
        seed: Any = None,
        noise: Any = None,
        precision: str = "double",
        threads: int | None = None,
        engine: Any = None,
    ) -> None:
        super().__init__(wires=wires, shots=shots)
        get_engine(engine, precision, threads)  # speaks up now about what it cannot do
        self._rng = np.random.default_rng() if seed is None else generator_of(seed)
        self._options: dict[str, Any] = {"engine": engine, "precision": precision, "threads": threads}
        self._noise = noise
        if noise is not None and wires is None:
            raise RefusedError("noise is put on wires of the device, which it does not know; pass wires= beside noise=")
        self._reader = self._new_reader()
        self._kept: list[Forward] = []
        _devices.add(self)

    @property
    def name(self) -> str:
        return "quprop"

    # What PennyLane asks before it runs anything

    def supports_derivatives(
        self, execution_config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> bool:
        """Whether the device differentiates this circuit itself: no shots, and every result a function of expectation
        values. Asked for "adjoint" or "device" by name, it says what stands against it."""
        if execution_config is None:
            return True
        if execution_config.gradient_method not in ADJOINT:
            return False
        obstacle = None if circuit is None else self._obstacle(circuit)
        if obstacle is not None and execution_config.gradient_method != "best":
            raise RefusedError(obstacle)
        return obstacle is None

    def supports_vjp(
        self, execution_config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> bool:
        return self.supports_derivatives(execution_config, circuit)

    def _obstacle(self, circuit: QuantumScript) -> str | None:
        """Why this circuit has no adjoint gradient here, or None."""
        if circuit.shots:
            return (
                "adjoint gradients are exact and take no shots; leave shots out, or use "
                'diff_method="parameter-shift" to differentiate with shots'
            )
        for i, m in enumerate(circuit.measurements):
            if not isinstance(m, mp.StateMeasurement):
                return (
                    f"result {i}, {type(m).__name__[:-2].lower()}, is made of samples and has no derivative; return "
                    "qml.expval, qml.var or qml.probs where a gradient is wanted"
                )
        return None

    def setup_execution_config(
        self, config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> ExecutionConfig:
        """Fills in what the user left open: adjoint, by vector-Jacobian products, measurements deferred."""
        config = config or ExecutionConfig()
        for option in config.device_options:
            raise RefusedError(
                f"this device has no options at execution, got {option!r}; pass it to qml.device instead"
            )
        updated: dict[str, Any] = {}
        adjoint = config.gradient_method in ADJOINT
        if adjoint:
            if config.derivative_order > 1:
                raise RefusedError(
                    f"adjoint gradients here are of first order, got max_diff={config.derivative_order}; use "
                    'diff_method="parameter-shift" for higher derivatives, or quprop.hvp on from_pennylane(qnode)'
                )
            updated["gradient_method"] = "adjoint"
        if config.use_device_gradient is None:
            updated["use_device_gradient"] = adjoint
        # PennyLane's default is whole Jacobians, which JAX needs for forward mode. For several results, or a batch, one
        # backward sweep gives the same; a single result has it with its value in one call. Torch tells only a backward
        # sweep whether its gradient will be differentiated again. PennyLane's Jacobians under JAX are by real scalars.
        one_sweep = adjoint and (
            config.interface == Interface.TORCH
            or (config.interface == Interface.AUTOGRAD and _is_wide(circuit))
            or (config.interface in JAX and _has_vectors(circuit, is_traced))
        )
        if config.use_device_jacobian_product is None or one_sweep:
            updated["use_device_jacobian_product"] = adjoint
        products = updated.get("use_device_jacobian_product", config.use_device_jacobian_product)
        if config.grad_on_execution is None or products:
            updated["grad_on_execution"] = adjoint and not products
        if config.interface in JAX and products:
            updated["interface"] = Interface.JAX  # the name for which PennyLane asks for products, under jit too
        elif config.interface == Interface.JAX and circuit is not None and is_mapped(circuit):
            updated["interface"] = Interface.JAX_JIT  # by callbacks, which jax.vmap maps
        method = config.mcm_config.mcm_method
        if method not in (None, "deferred", "device"):
            raise RefusedError(
                f"mid-circuit measurements are deferred to the end on this device, got mcm_method={str(method)!r}; use "
                '"deferred"'
            )
        updated["mcm_config"] = replace(config.mcm_config, mcm_method="deferred")
        if circuit is not None:
            check_rule(circuit, config)
        return replace(config, **updated)

    def preprocess_transforms(self, execution_config: ExecutionConfig | None = None) -> CompilePipeline:
        """What is done to a tape before `execute`: deferred measurements, decomposition into `RULES`, checks."""
        return pipeline(execution_config or ExecutionConfig(), self.wires, self.name, noisy=self._noise is not None)

    # Execution and derivatives

    def execute(self, circuits: Any, execution_config: ExecutionConfig | None = None) -> Any:
        """The results of a batch of tapes, those of one structure in one call of the engine."""
        config = execution_config or ExecutionConfig()
        keep = bool(config.use_device_jacobian_product) and config.interface != Interface.NUMPY
        return self._execute(circuits, [self._reader(c) for c in circuits], keep)

    def _execute(self, circuits: Any, readings: Sequence[Reading], keep: bool) -> Any:
        self._kept = []
        results: list[Any] = [None] * len(circuits)
        for structure, members in _groups(readings):
            small = keep and structure.n << bool(structure.model.channels) <= KEEP_QUBITS
            forward = Forward(structure, *_stack([readings[i] for i in members]), self._options, small)
            if small:
                self._kept.append(forward)
            for i, rows in _rows(readings, members):
                results[i] = self._results(circuits[i], readings[i], forward, rows)
        return tuple(results)

    def _results(self, circuit: QuantumScript, reading: Reading, forward: Forward, rows: slice) -> Any:
        structure, batched = reading.structure, reading.batch is not None
        if structure.model.channels or structure.misreadings:
            return self._noisy_results(circuit, reading, forward, rows)
        if circuit.shots:
            states = forward.states(phased=False)[rows]
            return measure_shots(_on_numbers(circuit, structure), states, structure.n, batched, self._rng)
        out: list[Any] = []
        for j, (m, r) in enumerate(zip(circuit.measurements, structure.readouts, strict=True)):
            if r is not None:
                result = r.result(forward.values[rows, structure.columns[j]], reading.coefficients[j])
                out.append(result if batched else result[0])
            else:
                states = forward.states(phased=type(m) is mp.StateMP)[rows]
                out.append(measure_state(structure.numbered(m), states, structure.n, batched))
        return out[0] if len(out) == 1 else tuple(out)

    def _noisy_results(self, circuit: QuantumScript, reading: Reading, forward: Forward, rows: slice) -> Any:
        structure, batched = reading.structure, reading.batch is not None
        theta, x = forward.theta[rows], forward.x if forward.x is None or len(forward.x) == 1 else forward.x[rows]
        numbered = _on_numbers(circuit, structure)

        def read(script: QuantumScript) -> Any:
            return measure_noisy(script, structure, theta, x, batched, rng=self._rng, **self._options)

        if circuit.shots:
            return read(numbered)
        out: list[Any] = []
        for j, (m, r) in enumerate(zip(numbered.measurements, structure.readouts, strict=True)):
            if r is not None:
                result = r.result(forward.values[rows, structure.columns[j]], reading.coefficients[j])
                out.append(result if batched else result[0])
            else:
                out.append(read(QuantumScript([], [m])))
        return out[0] if len(out) == 1 else tuple(out)

    def compute_vjp(self, circuits: Any, cotangents: Any, execution_config: ExecutionConfig | None = None) -> Any:
        """For each tape the cotangents of its trainable numbers: one backward sweep for each structure."""
        _refuse_create_graph(execution_config)
        readings = [self._reader(c) for c in circuits]
        interface = None if execution_config is None else execution_config.interface
        # Under JAX broadcast tapes were expanded before; what has a batch axis now comes from jax.vmap, which expects
        # the derivatives of all numbers sample by sample.
        mapped = interface in JAX
        out: list[Any] = [None] * len(circuits)
        for structure, members in _groups(readings):
            forward = self._forward(structure, *_stack([readings[i] for i in members]))
            found = {}
            for i, rows in _rows(readings, members):
                backs = pullbacks(circuits[i], readings[i], forward, rows)
                found[i] = cotangents_of(readings[i], cotangents[i], backs, mapped)
            for i, slopes in self._slopes(readings, members, forward, found).items():
                axes = found[i].axes
                own = slopes[: math.prod(axes)].reshape(*axes, *slopes.shape[1:])
                own = own.swapaxes(0, 1) if found[i].batch_first else own
                out[i] = by_number(circuits[i], readings[i], own, mapped and readings[i].batch is not None)
        if interface == Interface.TORCH:  # whose gradients are the conjugates of everyone else's
            return tuple(Slopes(np.conj(by) for by in o) for o in out)
        return tuple(out)

    def _slopes(
        self, readings: Sequence[Reading], members: Sequence[int], forward: Forward, found: dict[int, Cotangents]
    ) -> dict[int, np.ndarray]:
        """The slopes (L, B, columns) of each member of one structure."""
        copies = max(len(c.values) for c in found.values())
        of_states = None
        if any(c.states is not None for c in found.values()):
            none = [np.zeros((1, readings[i].rows, 1 << forward.structure.n)) for i in members]
            parts = zip(found.values(), none, strict=True)
            of_states = _joined([zeros if c.states is None else c.states for c, zeros in parts], copies)
        of_values = _joined([c.values for c in found.values()], copies)
        whole = np.stack(
            [forward.slopes(v, None if of_states is None else of_states[k]) for k, v in enumerate(of_values)]
        )
        out = {}
        for i, rows in _rows(readings, members):
            numbers = _joined([found[i].numbers], copies)
            out[i] = np.concatenate([whole[:, rows], numbers], axis=2) if numbers.shape[2] else whole[:, rows]
        return out

    def execute_and_compute_vjp(
        self, circuits: Any, cotangents: Any, execution_config: ExecutionConfig | None = None
    ) -> Any:
        config = replace(execution_config or ExecutionConfig(), use_device_jacobian_product=True)
        return self.execute(circuits, config), self.compute_vjp(circuits, cotangents, config)

    def compute_derivatives(self, circuits: Any, execution_config: ExecutionConfig | None = None) -> Any:
        """For each tape the whole Jacobian: a backward sweep for each number that it returns."""
        return self._jacobians(circuits, [self._reader(c) for c in circuits])

    def execute_and_compute_derivatives(self, circuits: Any, execution_config: ExecutionConfig | None = None) -> Any:
        readings = [self._reader(c) for c in circuits]
        return self._execute(circuits, readings, keep=True), self._jacobians(circuits, readings)

    def _jacobians(self, circuits: Any, readings: Sequence[Reading]) -> Any:
        if any(r.batch is not None for r in readings):
            raise RefusedError(
                "a broadcast tape has one Jacobian for each sample; apply qml.transforms.broadcast_expand"
            )
        out: list[Any] = [None] * len(circuits)
        for structure, members in _groups(readings):
            forward = self._forward(structure, *_stack([readings[i] for i in members]))
            backs = {i: pullbacks(circuits[i], readings[i], forward, rows) for i, rows in _rows(readings, members)}
            first = backs[members[0]]
            found = {i: cotangents_of(readings[i], units(first), backs[i], False) for i in members}
            tables = {i: s[:, 0] for i, s in self._slopes(readings, members, forward, found).items()}
            if any(back.is_complex for back in first):
                found = {i: cotangents_of(readings[i], units(first, imaginary=True), backs[i], False) for i in members}
                for i, s in self._slopes(readings, members, forward, found).items():
                    tables[i] = tables[i] + 1j * s[:, 0]
            for i in members:
                out[i] = by_result(circuits[i], readings[i], tables[i], backs[i])
        return tuple(out)

    def _forward(self, structure: Structure, theta: np.ndarray, x: np.ndarray | None) -> Forward:
        """The forward sweep kept by the last `execute`, or a new one."""
        for kept in self._kept:
            if kept.is_of(structure, theta, x):
                return kept
        return Forward(structure, theta, x, self._options)

    def _new_reader(self) -> TapeReader:
        return TapeReader(None if self.wires is None else self.wires.labels, noise=self._noise)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy takes with it: nothing that a run left behind."""
        return {**self.__dict__, "_kept": [], "_reader": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reader = self._new_reader()
        _devices.add(self)


def _joined(parts: Sequence[np.ndarray], copies: int) -> np.ndarray:
    """The samples of tapes of one structure one after the other: (copies, B, ...) from (copies or 1, B_i, ...)."""
    return np.concatenate([np.broadcast_to(a, (copies, *a.shape[1:])) for a in parts], axis=1)


def _rows(readings: Sequence[Reading], members: Sequence[int]) -> Iterator[tuple[int, slice]]:
    """The members of one structure, and which rows of its batch are theirs."""
    first = 0
    for i in members:
        yield i, slice(first, first + readings[i].rows)
        first += readings[i].rows


def _groups(readings: Sequence[Reading]) -> list[tuple[Structure, list[int]]]:
    """Which tapes have one structure."""
    groups: dict[int, tuple[Structure, list[int]]] = {}
    for i, r in enumerate(readings):
        groups.setdefault(id(r.structure), (r.structure, []))[1].append(i)
    return list(groups.values())


def _stack(readings: Sequence[Reading]) -> tuple[np.ndarray, np.ndarray | None]:
    """theta (B, P) and x (B or 1, 2^n) of tapes of one structure."""
    if len(readings) == 1:
        return readings[0].theta, readings[0].x
    x = None
    if readings[0].x is not None:
        x = np.concatenate([np.broadcast_to(r.x, (r.rows, r.x.shape[1])) for r in readings if r.x is not None])
    return np.concatenate([r.theta for r in readings]), x


def _on_numbers(circuit: QuantumScript, structure: Structure) -> QuantumScript:
    if structure.order == tuple(range(len(structure.order))):
        return circuit
    return QuantumScript([], [structure.numbered(m) for m in circuit.measurements], shots=circuit.shots)


def _is_wide(circuit: QuantumScript | None) -> bool:
    """Whether a circuit returns more than one number, or takes a vector: PennyLane's Jacobians are by numbers only."""
    if circuit is None:
        return False
    measurements = circuit.measurements
    return (
        len(measurements) > 1
        or isinstance(measurements[0], mp.ProbabilityMP)
        or circuit.batch_size is not None
        or _has_vectors(circuit)
    )


def _has_vectors(circuit: QuantumScript | None, counts: Callable[[Any], bool] = lambda number: True) -> bool:
    """Whether a circuit returns complex numbers, or takes arrays or complex ones that count beside those of gates."""
    if circuit is None:
        return False
    numbers = [d for op in circuit.operations[: circuit.num_preps] for d in op.data]
    numbers = [d for d in numbers if not _is_whole(d)]  # bits
    numbers += [d for m in circuit.measurements if m.obs is not None for d in m.obs.data]
    return any(isinstance(m, mp.StateMP) for m in circuit.measurements) or any(
        _is_vector(number) and counts(number) for number in numbers
    )


def _is_vector(number: Any) -> bool:
    return hasattr(number, "dtype") and (number.dtype.kind == "c" or np.ndim(number) > 0)


def _is_whole(number: Any) -> bool:
    return hasattr(number, "dtype") and number.dtype.kind in "iub"


def _refuse_create_graph(config: ExecutionConfig | None) -> None:
    """Torch enables gradients inside a backward pass only where the gradient itself is to be differentiated."""
    torch = sys.modules.get("torch")
    if config is not None and config.interface == Interface.TORCH and torch is not None and torch.is_grad_enabled():
        raise RefusedError(SECOND_ORDER)
