"""TensorCircuit-NG on JAX: jit(value_and_grad), lax.scan over repeated layers, vmap over the batch.

Unrolled, ten layers at n = 12 do not compile within minutes; a scan compiles one layer. Where the state is large the layer is
recomputed backwards (jax.checkpoint) so that its intermediate states are not all kept. The energy is a diagonal and flips, which
is what its measurement templates amount to. UCC circuits, a thousand gates without repetition, are a scan over excitations
written in JAX (`excitation_scan.py`).
"""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
import tensorcircuit as tc

from . import Case
from .excitation_scan import excitation_energy

DISTRIBUTIONS = ("tensorcircuit-ng", "jax", "jaxlib")
CHECKPOINT_FROM = 18  # qubits


def variants(workload) -> tuple[str, ...]:
    return ("excitation scan",) if workload.excitations else ("layer scan",)


def build(workload, precision: str, variant: str, threads: int) -> Case:
    # XLA takes as many threads as it may run on; the affinity must be set before its first use
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:threads]))
    jax.config.update("jax_enable_x64", precision == "double")
    tc.set_backend("jax")
    tc.set_dtype("complex64" if precision == "single" else "complex128")
    real = jnp.float32 if precision == "single" else jnp.float64
    if variant.startswith("excitation"):
        energy = excitation_energy(workload, real, restricted=variant.endswith("electron numbers"))
    else:
        energy = _circuit_energy(workload, real)

    if workload.x is None:

        def loss(theta):
            return energy(theta, None)
    else:
        x = jnp.asarray(workload.x, real)

        def loss(theta):
            return jnp.mean(jax.vmap(energy, (None, 0))(theta, x))

    compiled_value, compiled_gradient = jax.jit(loss), jax.jit(jax.value_and_grad(loss))

    def value(theta: np.ndarray) -> float:
        return float(compiled_value(jnp.asarray(theta, real)))

    def value_and_grad(theta: np.ndarray) -> tuple[float, np.ndarray]:
        f, g = compiled_gradient(jnp.asarray(theta, real))
        return float(f), np.asarray(g, np.float64)

    return Case(value, value_and_grad)


def _circuit_energy(workload, real):
    n = workload.n_qubits
    complex_type = jnp.complex64 if real == jnp.float32 else jnp.complex128
    expectation = _ising_like(workload, real)

    def apply(gates, state, theta, x):
        circuit = tc.Circuit(n, inputs=state)
        for g in gates:
            angle = x[g.input] if g.input is not None else None if g.param is None else g.scale * theta[g.param]
            getattr(circuit, g.kind)(*g.qubits, **({} if angle is None else {"theta": angle}))
        return circuit.state()

    def energy(theta, x):
        state = jnp.zeros(1 << n, complex_type).at[0].set(1)
        for block in workload.blocks:
            if block.repeats == 1:
                state = apply(block.gates, state, theta, x)
                continue
            first = min(g.param for g in block.gates if g.param is not None)
            rows = theta[first : first + block.repeats * block.stride].reshape(block.repeats, block.stride)
            gates = [g.shifted(-first) for g in block.gates]

            def layer(state, row, gates=gates):
                return apply(gates, state, row, x), None

            state, _ = jax.lax.scan(jax.checkpoint(layer) if n >= CHECKPOINT_FROM else layer, state, rows)
        return expectation(state)

    return energy


def _ising_like(workload, real):
    """<psi|H|psi> for products of Z and single X."""
    n = workload.n_qubits
    index = np.arange(1 << n)
    diagonal, flips = np.zeros(1 << n), []
    for pauli, c in workload.observable:
        if all(letter == "Z" for _, letter in pauli):
            mask = sum(1 << (n - 1 - q) for q, _ in pauli)
            diagonal += c * (1 - 2 * (np.bitwise_count(index & mask) & 1).astype(float))
        else:
            ((qubit, letter),) = pauli
            assert letter == "X"
            flips.append((qubit, c))
    diagonal = jnp.asarray(diagonal, real)

    def expectation(state):
        total = jnp.sum(diagonal * (state.real**2 + state.imag**2))
        for qubit, c in flips:
            pair = state.reshape(1 << qubit, 2, -1)
            a, b = pair[:, 0], pair[:, 1]
            total += 2 * c * jnp.sum(a.real * b.real + a.imag * b.imag)
        return total

    return expectation
