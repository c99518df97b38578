"""A hybrid classifier of handwritten digits: convolution, quantum layer, linear layer, trained together by PyTorch.

    image (1, 8, 8) -> 6 channels on a grid of 3 x 3 -> 6 qubits at each place -> 9 x 6 expectation values -> 10 logits

The quantum layer is a quantum convolution: it reads the 6 channels of one place, with the same weights at every place.
A batch of images is one call of the simulator, 9 samples an image, and its backward pass reaches the convolution
through the layer's inputs. `--classical` leaves the quantum layer out, for comparison; `--shots 200` estimates its
gradients from that many runs of each shifted circuit, in a short training on a part of the images.

    python examples/hybrid_digits.py                     # some seconds; 96 to 97 % of the test images, over seeds
    python examples/hybrid_digits.py --classical         # 95 to 97 %: at this task the quantum layer is no advantage
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import quprop as qpr
from quprop.hybrid.torch import QuantumLayer

QUBITS, PLACES = 6, 9


def quantum_model(layers: int) -> qpr.Model:
    """RY of the inputs, then RY, RZ of the weights and a ring of CZ, `layers` times; Z of every qubit."""
    x, theta = qpr.inputs("x", QUBITS), iter(vector := qpr.params("theta", 2 * QUBITS * layers))
    circuit = qpr.Circuit(QUBITS, params=vector, inputs=x)
    for _ in range(layers):
        for q in range(QUBITS):
            circuit.ry(x[q], q).ry(next(theta), q).rz(next(theta), q)
        for q in range(QUBITS):
            circuit.cz(q, (q + 1) % QUBITS)
    return qpr.Model(circuit, [f"Z{q}" for q in range(QUBITS)])


class Network(nn.Module):
    """The layers above; without a quantum layer the channels go to the logits as they are."""

    def __init__(self, quantum: QuantumLayer | None) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, QUBITS, kernel_size=4, stride=2)
        self.quantum = quantum
        self.linear = nn.Linear(PLACES * QUBITS, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        channels = torch.tanh(self.convolution(images)).movedim(1, -1)  # (B, 3, 3, 6)
        features = channels if self.quantum is None else self.quantum(np.pi * channels)
        return self.linear(features.flatten(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--classical", action="store_true", help="without the quantum layer")
    parser.add_argument("--shots", type=int, default=None, help="estimate its gradients from so many runs a circuit")
    options = parser.parse_args()

    torch.set_num_threads(1)  # tensors of this size gain nothing from more, and the simulator has threads of its own
    torch.manual_seed(options.seed)
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    split = train_test_split(images, torch.tensor(labels), test_size=0.25, random_state=0, stratify=labels)
    train_images, test_images, train_labels, test_labels = split
    batch, epochs = options.batch, options.epochs
    method = None
    if options.shots:
        method = qpr.ParameterShift(shots=options.shots)
        train_images, train_labels, batch, epochs = train_images[:60], train_labels[:60], 4, min(epochs, 2)

    model = quantum_model(options.layers)
    layer = None if options.classical else QuantumLayer(model, rng=options.seed, method=method)
    network = Network(layer)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    print(network)
    start = time.perf_counter()
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(train_images))
        total = 0.0
        for chosen in order.split(batch):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(network(train_images[chosen]), train_labels[chosen])
            loss.backward()
            optimiser.step()
            total += loss.item() * len(chosen)
        with torch.no_grad():
            accuracy = (network(test_images).argmax(1) == test_labels).float().mean().item()
        seconds = time.perf_counter() - start
        print(f"epoch {epoch:2d}  loss {total / len(train_images):.4f}  test accuracy {accuracy:.4f}  {seconds:5.1f} s")
    if method is not None:
        print(f"executed for the gradients: {layer.cost}")


if __name__ == "__main__":
    main()
