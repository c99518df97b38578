"""Restricted Boltzmann machines as rivals of quantum generative models: scikit-learn's, trained and sampled.

    p(v) = sum_h exp(v . b + h . c + h^T W v) / Z,   v in {0, 1}^n, h in {0, 1}^H

Training is persistent contrastive divergence (Tieleman, ICML 2008), in scikit-learn's ``BernoulliRBM``; samples are
those of its own block-Gibbs steps, hidden given visible and visible given hidden.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from quprop.arrays import bits
from quprop.errors import QupropError, generator_of, whole


@dataclass(frozen=True, eq=False)
class BoltzmannMachine:
    """A trained machine; ``machine`` is the BernoulliRBM, with W (H, n), b (n,) and c (H,) as ``components_``,
    ``intercept_visible_`` and ``intercept_hidden_``."""

    n: int
    machine: Any

    def samples(
        self,
        shots: int,
        rng: int | np.random.Generator,
        *,
        chains: int = 1000,
        burn_in: int = 1000,
        thin: int = 10,
    ) -> np.ndarray:
        """Bits (shots, n), uint8: of chains from uniformly random bits, every ``thin``-th state after ``burn_in``
        steps, as many as are needed. Neighbours in a chain are correlated where ``thin`` is short."""
        generator = generator_of(rng)
        for name, number, least in (
            ("shots", shots, 1),
            ("chains", chains, 1),
            ("burn_in", burn_in, 0),
            ("thin", thin, 1),
        ):
            whole(name, number, least)
        chains = min(chains, shots)
        self.machine.random_state_ = _legacy(generator)
        state = generator.integers(0, 2, size=(chains, self.n)).astype(bool)
        for _ in range(burn_in):
            state = self.machine.gibbs(state)
        found = []
        for _ in range(math.ceil(shots / chains)):
            for _ in range(thin):
                state = self.machine.gibbs(state)
            found.append(state.astype(np.uint8))
        return np.concatenate(found)[:shots]


def boltzmann_machine(
    data: Any,
    *,
    hidden: int,
    epochs: int,
    rng: int | np.random.Generator,
    learning_rate: float = 0.01,
    batch_size: int = 100,
) -> BoltzmannMachine:
    """Train on bits (m, n): ``epochs`` passes in batches, starting from b = c = 0 and small random W."""
    from sklearn.neural_network import BernoulliRBM

    data, generator = bits("data", data), generator_of(rng)
    for name, number in (("hidden", hidden), ("epochs", epochs), ("batch_size", batch_size)):
        whole(name, number, 1)
    if not (isinstance(learning_rate, int | float | np.number) and math.isfinite(learning_rate) and learning_rate > 0):
        raise QupropError(f"learning_rate must be a positive number, got {learning_rate!r}")
    # in batches of consecutive rows, which scikit-learn does not shuffle
    machine = BernoulliRBM(
        hidden, learning_rate=learning_rate, batch_size=batch_size, n_iter=epochs, random_state=_legacy(generator)
    )
    machine.fit(data[generator.permutation(len(data))].astype(float))
    return BoltzmannMachine(data.shape[1], machine)


def _legacy(generator: np.random.Generator) -> Any:
    return np.random.RandomState(int(generator.integers(2**32)))  # scikit-learn takes no Generator
