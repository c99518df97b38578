"""The ground energy of a molecule by a coupled-cluster circuit, optimised in JAX: Adam of optax, then Newton steps.

`function(model)` is an ordinary JAX function. The whole Adam run is one compiled `lax.scan`; the Newton steps take
`jax.hessian`, whose P Hessian-vector products are one batched call of the simulator.

    python examples/vqe_optax.py                       # LiH, 12 qubits, 92 parameters; about 10 s on two cores
    python examples/vqe_optax.py --molecule h2         # 4 qubits
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import optax

import quprop as qpr
from quprop.hybrid.jax import function
from quprop.problems import chem

jax.config.update("jax_enable_x64", True)  # energies to 1e-10 Hartree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--molecule", choices=("h2", "lih"), default="lih")
    parser.add_argument("--steps", type=int, default=60, help="of Adam")
    parser.add_argument("--newton", type=int, default=3, help="Newton steps after them")
    options = parser.parse_args()

    molecule, _ = chem.load(options.molecule)
    circuit = qpr.ansatz.uccsd(molecule.n_qubits, molecule.n_electrons)
    model = qpr.Model(circuit, molecule.hamiltonian)
    print(f"{molecule.title}, {molecule.basis}: {model!r}")
    values = function(model)

    def energy(theta: jax.Array) -> jax.Array:
        return values(theta)[0]

    optimiser = optax.adam(0.02)

    def step(carry, _):
        theta, state = carry
        value, slope = jax.value_and_grad(energy)(theta)
        change, state = optimiser.update(slope, state)
        return (optax.apply_updates(theta, change), state), value

    @jax.jit
    def adam(theta: jax.Array):
        return jax.lax.scan(step, (theta, optimiser.init(theta)), None, length=options.steps)

    @jax.jit
    def newton(theta: jax.Array):
        """Some excitations hardly matter: their curvature is near zero, and the step along them is left out."""
        slope, hessian = jax.grad(energy)(theta), jax.hessian(energy)(theta)
        curvature, directions = jnp.linalg.eigh(hessian)
        inverse = jnp.where(curvature > 1e-4, 1 / jnp.where(curvature > 1e-4, curvature, 1.0), 0.0)
        return theta - directions @ (inverse * (directions.T @ slope)), jnp.linalg.norm(slope)

    def line(name: str, theta: jax.Array) -> str:
        error = float(energy(theta)) - molecule.fci_energy
        return f"{name:<24}{float(energy(theta)):16.10f} Hartree   above exact {error:9.2e}"

    theta = jnp.zeros(model.n_params)  # the Hartree-Fock state
    print(line("Hartree-Fock", theta))
    start = time.perf_counter()
    (theta, _), _ = jax.block_until_ready(adam(theta))
    print(line(f"Adam, {options.steps} steps", theta), f"  {time.perf_counter() - start:.1f} s")
    for k in range(options.newton):
        start = time.perf_counter()
        theta, norm = jax.block_until_ready(newton(theta))
        print(line(f"Newton step {k + 1}", theta), f"  {time.perf_counter() - start:.1f} s, |gradient| was {norm:.1e}")
    print(f"exact diagonalisation   {molecule.fci_energy:16.10f} Hartree")


if __name__ == "__main__":
    main()
