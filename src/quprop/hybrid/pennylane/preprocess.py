"""What is done to PennyLane tapes before the device runs them: the pipeline of transforms, and refusals in time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pennylane as qml
from pennylane import measurements as mp
from pennylane.devices import ExecutionConfig
from pennylane.devices.preprocess import (
    decompose,
    device_resolve_dynamic_wires,
    validate_device_wires,
    validate_measurements,
)
from pennylane.math import Interface
from pennylane.tape import QuantumScript
from pennylane.transforms import broadcast_expand, defer_measurements
from pennylane.transforms.core import CompilePipeline, transform

from quprop.hybrid.pennylane.decompositions import check_gates, decomposition, is_gate
from quprop.hybrid.pennylane.observables import OF_OUTCOMES, RefusedError, fixed, short
from quprop.hybrid.pennylane.translate import is_traced

ADJOINT = ("adjoint", "best", "device")  # PennyLane's names; "best" where nothing stands against it
_SHIFT_RULES = (qml.gradients.param_shift, qml.gradients.param_shift_cv, qml.gradients.hadamard_grad)
JAX = (Interface.JAX, Interface.JAX_JIT)
SECOND_ORDER = (
    "adjoint gradients here are of first order, and a derivative of them would be incomplete; use "
    'diff_method="parameter-shift" with max_diff=2, or quprop.hvp on from_pennylane(qnode)'
)


def pipeline(config: ExecutionConfig, wires: Any, name: str, *, noisy: bool = False) -> CompilePipeline:
    """Deferred measurements, decomposition into `RULES`, checks, and batches taken apart where they must be."""
    program = CompilePipeline()
    program.add_transform(check_gates)
    program.add_transform(_check_rule, config=config)
    program.add_transform(_fix_observables)
    program.add_transform(_defer, wires=wires, noisy=noisy)
    program.add_transform(
        decompose,
        stopping_condition=is_gate,
        skip_initial_state_prep=True,
        device_wires=wires,
        decomposer=decomposition,
        name=name,
        error=RefusedError,
    )
    program.add_transform(device_resolve_dynamic_wires, wires=wires, allow_resets=False)
    program.add_transform(validate_device_wires, wires, name=name)
    program.add_transform(
        validate_measurements,
        analytic_measurements=_is_analytic,
        sample_measurements=_is_sampled,
        name=name,
    )
    program.add_transform(_expand_where_needed)
    if config.gradient_method == "adjoint":
        program.add_transform(_first_order)
        if config.interface in JAX:
            program.add_transform(_in_one_precision)
        if not config.use_device_jacobian_product or config.interface in JAX:
            program.add_transform(broadcast_expand)
    return program


def _is_analytic(m: mp.MeasurementProcess) -> bool:
    return isinstance(m, mp.StateMeasurement)


def _is_sampled(m: mp.MeasurementProcess) -> bool:
    return isinstance(m, mp.SampleMeasurement | mp.ClassicalShadowMP | mp.ShadowExpvalMP)


@transform
def _defer(
    tape: QuantumScript, wires: Any = None, noisy: bool = False
) -> tuple[Sequence[QuantumScript], Callable[..., Any]]:
    """PennyLane's deferred measurements, with a word on what they need."""
    middle = [i for i, op in enumerate(tape.operations) if isinstance(op, qml.ops.MidMeasure)]
    if not middle:
        return (tape,), _first
    if noisy:
        raise RefusedError(
            f"operation {middle[0]} measures in the middle of the circuit, which this device replaces by gates, on "
            "which the device's noise= would be put as on others; put the noise into the circuit by channels"
        )
    for i in middle:
        if tape.operations[i].postselect is not None:
            raise RefusedError(
                f"operation {i} keeps only one outcome of a measurement, which this device cannot; leave postselect "
                "out, and divide qml.probs of both outcomes instead"
            )
    tapes, back = defer_measurements(tape, allow_postselect=False)
    missing = [] if wires is None else [w for w in tapes[0].wires if w not in wires and w not in tape.wires]
    if missing:
        raise RefusedError(
            f"operation {middle[-1]} measures in the middle of the circuit, which takes {len(missing)} more wires than "
            f"the {len(wires)} of this device; make it with wires={len(wires) + len(missing)}"
        )
    return tapes, back


@transform
def _fix_observables(tape: QuantumScript) -> tuple[Sequence[QuantumScript], Callable[..., Any]]:
    if not tape.shots:
        measurements = [fixed(_of_terms(m)) for m in tape.measurements]
        if any(a is not b for a, b in zip(measurements, tape.measurements, strict=True)):
            tape = QuantumScript(tape.operations, measurements)
    return (tape,), _first


def _of_terms(m: mp.MeasurementProcess) -> mp.MeasurementProcess:
    """A measurement of a sum whose coefficients JAX follows one by one: in `jax.vmap` some have a value for each sample
    and some do not, and PennyLane's `LinearCombination` wants one array of all."""
    if (
        isinstance(m.obs, qml.ops.LinearCombination)
        and any(map(is_traced, m.obs.data))
        and any(map(_is_jax, m.obs.data))
    ):
        return type(m)(obs=qml.sum(*[qml.s_prod(c, o) for c, o in zip(*m.obs.terms(), strict=True)]))
    return m


@transform
def _expand_where_needed(tape: QuantumScript) -> tuple[Sequence[QuantumScript], Callable[..., Any]]:
    """Broadcast tapes run as they are, except where PennyLane's shadows know no batch."""
    if any(isinstance(m, mp.ClassicalShadowMP | mp.ShadowExpvalMP) for m in tape.measurements):
        return broadcast_expand(tape)
    return (tape,), _first


def check_rule(tape: QuantumScript, config: ExecutionConfig) -> None:
    """Refuses results for which PennyLane's own gradient rules give a wrong number: shift rules are for expectation
    values, no rule but ours is by the entries of an array, and none by what eigenvectors are made of."""
    rule = config.gradient_method
    if rule is None or config.interface == Interface.NUMPY:
        return
    for i, m in enumerate(tape.measurements):
        if isinstance(m, mp.PurityMP) and rule in _SHIFT_RULES:
            raise RefusedError(
                f"result {i}, {short(m)}, is a square of expectation values, which shift rules are not for; use "
                'diff_method="adjoint", which is exact'
            )
        trained = [] if m.obs is None else [d for d in m.obs.data if _is_differentiated(d)]
        if trained and isinstance(m, mp.ProbabilityMP):
            raise RefusedError(f"result {i}, {short(m)}, {OF_OUTCOMES}")
        if rule not in ADJOINT and any(map(qml.math.ndim, trained)):
            raise RefusedError(
                f"result {i}, {short(m)}, has a trainable array, by whose entries only adjoint gradients are taken; "
                'use diff_method="adjoint" without shots, or mark the array as not trainable'
            )


@transform
def _check_rule(tape: QuantumScript, config: ExecutionConfig) -> tuple[Sequence[QuantumScript], Callable[..., Any]]:
    check_rule(tape, config)
    return (tape,), _first


@transform
def _first_order(tape: QuantumScript) -> tuple[Sequence[QuantumScript], Callable[..., Any]]:
    """Refuses a gradient of a gradient under Autograd and JAX, which would take the inner one for a constant."""
    for value in tape.get_parameters(trainable_only=False):
        if _order(value) > 1:
            raise RefusedError(SECOND_ORDER)
    return (tape,), _first


@transform
def _in_one_precision(tape: QuantumScript) -> tuple[Sequence[QuantumScript], Callable[..., Any]]:
    """Numbers of less precision as JAX's own floats, whose precision results have: its rules ask for one."""
    numbers = tape.get_parameters(trainable_only=False)
    kinds = {"f": float, "c": complex}
    wide = {i: d.astype(kinds[d.dtype.kind]) for i, d in enumerate(numbers) if _is_jax(d) and d.dtype.kind in kinds}
    changed = [i for i, d in wide.items() if d.dtype != numbers[i].dtype]
    if changed:
        tape = tape.bind_new_parameters([wide[i] for i in changed], changed)
    return (tape,), _first


def _is_jax(value: Any) -> bool:
    return qml.math.get_interface(value) == "jax"


def is_mapped(circuit: QuantumScript) -> bool:
    """Whether a number of the circuit is a batch inside `jax.vmap`."""
    return any(
        type(level).__name__ == "BatchTracer"
        for value in circuit.get_parameters(trainable_only=False)
        for level in _levels(value)
    )


def _order(value: Any) -> int:
    """How many differentiations of Autograd or JAX are at work on a number."""
    signs = {"BatchTracer": -1}
    return sum(signs.get(type(level).__name__, 1) for level in _levels(value))


def _is_differentiated(value: Any) -> bool:
    return _order(value) > 0 or (qml.math.get_interface(value) == "torch" and is_traced(value))


def _levels(value: Any) -> Iterator[Any]:
    """The tracers of Autograd and JAX around a number, from the outermost."""
    inner = {
        "ArrayBox": "_value",
        "JVPTracer": "primal",
        "LinearizeTracer": "primal",
        "BatchTracer": "val",
    }
    while type(value).__name__ in inner:
        yield value
        value = getattr(value, inner[type(value).__name__])


def _first(results: Sequence[Any]) -> Any:
    return results[0]
