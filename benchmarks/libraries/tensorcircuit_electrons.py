"""The JAX excitation scan restricted to the reference's electron numbers: special-purpose, what TenCirChem does on this stack."""

from __future__ import annotations

from . import Case, tensorcircuit_jax

DISTRIBUTIONS = tensorcircuit_jax.DISTRIBUTIONS
build = tensorcircuit_jax.build

__all__ = ["Case", "build", "variants"]


def variants(workload) -> tuple[str, ...]:
    return ("excitation scan, electron numbers",) if workload.excitations else ()
