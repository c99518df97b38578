"""Burgers' equation solved by a differentiable quantum circuit, beside the solution that is known.

    u_t + u u_x = nu u_xx,   0 < x < 1, 0 < t < 1,   u(0, t) = u(1, t) = 0,
    u(x, 0) = 2 pi nu sin(pi x) / (a + cos(pi x)).

By the transformation of Cole and Hopf, u = -2 nu phi_x / phi with phi = a + exp(-pi^2 nu t) cos(pi x), which solves the
heat equation, this has a closed form (Wood, Commun. Numer. Meth. Engng. 22, 797 (2006)). The circuit knows nothing of
it: its inputs x and t are angles of a tower of rotations, u is its expectation value times a trained number, and it is
trained until the equation holds at a grid of points (Kyriienko, Paine, Elfving, Phys. Rev. A 103, 052416 (2021)). The
loss has u_xx in it, so its gradient is made of third derivatives; PyTorch takes them through the layer. Run

    python examples/burgers.py [--epochs 30] [--seed 0] [--out FOLDER]

It prints loss and relative L2 error as it trains, ends below 1 % in about half a minute on one core, and draws the
solution, its error and both curves.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

import quprop as qpr
from quprop.plots import BLUE, EXACT, TRAINING, hue, panels, picture

VISCOSITY, A = 0.1, 1.2  # the nearer A is to 1, the steeper
QUBITS, LAYERS = 6, 8  # half of the qubits read x, the others t
POINTS = 12  # of the grid where the equation is to hold, along each axis
STEPS = 20  # of L-BFGS in an epoch


def exact(x, t):
    decay = np.exp(-(np.pi**2) * VISCOSITY * t)
    return 2 * np.pi * VISCOSITY * decay * np.sin(np.pi * x) / (A + decay * np.cos(np.pi * x))


def towers():
    """Four times: RY of k pi x / 2 and of k t / 2, k = 1, 2, 3, each on a qubit, then twice trained rotations and a
    ring of CX. The observable is the sum of all Z."""
    data, theta = qpr.inputs("x", 2), iter(vector := qpr.params("theta", 3 * QUBITS * LAYERS))
    circuit = qpr.Circuit(QUBITS, params=vector, inputs=data)
    for layer in range(LAYERS):
        if layer % 2 == 0:
            for k in range(QUBITS // 2):
                circuit.ry(np.pi / 2 * (k + 1) * data[0], k).ry((k + 1) / 2 * data[1], QUBITS // 2 + k)
        for q in range(QUBITS):
            circuit.rz(next(theta), q).rx(next(theta), q).rz(next(theta), q)
        for q in range(QUBITS):
            circuit.cx(q, (q + 1) % QUBITS)
    return qpr.Model(circuit, {f"Z{q}": 1.0 for q in range(QUBITS)})


class Solution(nn.Module):
    """u(x, t) = scale <sum Z>(x, t) + shift, of points (B, 2)."""

    def __init__(self, seed):
        super().__init__()
        model = towers()
        start = np.random.default_rng(seed).uniform(-0.5, 0.5, model.n_params)
        self.layer = qpr.QuantumLayer(model, start, dtype=torch.float64)
        self.scale, self.shift = (nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in (0.3, 0.0))

    def forward(self, points):
        return self.scale * self.layer(points)[:, 0] + self.shift


def residual(u, points):
    """u_t + u u_x - nu u_xx at points (B, 2)."""
    points = points.clone().requires_grad_()
    value = u(points)
    (slope,) = torch.autograd.grad(value.sum(), points, create_graph=True)
    (second,) = torch.autograd.grad(slope[:, 0].sum(), points, create_graph=True)
    return slope[:, 1] + value * slope[:, 0] - VISCOSITY * second[:, 0]


def grid(x, t):
    return torch.tensor(np.stack(np.meshgrid(x, t, indexing="ij"), axis=-1).reshape(-1, 2))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30, help=f"of {STEPS} steps of L-BFGS each")
    parser.add_argument("--seed", type=int, default=0, help="of the weights at the start")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of the figure")
    arguments = parser.parse_args()

    u = Solution(arguments.seed)
    model = u.layer.model
    inside = (np.arange(POINTS) + 0.5) / POINTS
    inner, edge = grid(inside, inside), np.linspace(0, 1, 2 * POINTS)
    outer = torch.cat([grid(edge, [0.0]), grid([0.0, 1.0], inside)])
    wanted = torch.tensor(exact(*outer.numpy().T))
    ticks = np.linspace(0, 1, 41)
    everywhere, known = grid(ticks, ticks), exact(ticks[:, None], ticks)

    def loss():
        return residual(u, inner).square().mean() + 10 * (u(outer) - wanted).square().mean()

    def found():
        with torch.no_grad():
            return u(everywhere).numpy().reshape(known.shape)

    def error():
        return float(np.linalg.norm(found() - known) / np.linalg.norm(known))

    optimiser = torch.optim.LBFGS(u.parameters(), max_iter=STEPS, history_size=60, line_search_fn="strong_wolfe")
    print(f"{model.n_qubits} qubits, {model.n_rotations} rotations, {model.n_params} weights; {len(inner)} points")
    curve, calls, begin = [(0, loss().item(), error())], 0, time.perf_counter()

    def closure():
        nonlocal calls
        calls += 1
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    for epoch in range(arguments.epochs):
        optimiser.step(closure)
        curve.append(((epoch + 1) * STEPS, loss().item(), error()))
        print(f"step {curve[-1][0]:4}: loss {curve[-1][1]:.2e}, relative L2 error {curve[-1][2]:.2%}", flush=True)
    seconds = time.perf_counter() - begin
    print(f"trained in {seconds:.1f} s: {calls} losses with gradients, {1e3 * seconds / max(calls, 1):.0f} ms each")

    figure, (solution, wrong, training) = panels(3)
    values = found()
    for i, k in enumerate(range(0, len(ticks), len(ticks) // 4)):
        solution.plot(ticks, values[:, k], color=hue(i), label=f"circuit, t = {ticks[k]:g}")
        solution.plot(ticks, known[:, k], **EXACT, label="" if i else "known solution")
        wrong.plot(ticks, values[:, k] - known[:, k], color=hue(i))
    solution.set_ylabel("u")
    wrong.set_ylabel("u less the known solution")
    for axes in (solution, wrong):
        axes.set_xlabel("x")
    steps, losses, errors = zip(*curve, strict=True)
    training.semilogy(steps, losses, color=TRAINING, label="loss")
    training.semilogy(steps, errors, color=BLUE, label="relative L2 error")
    training.set_xlabel("steps of L-BFGS")
    title = f"Burgers' equation by a circuit of {model.n_qubits} qubits and {model.n_rotations} rotations"
    picture(figure, title).save(arguments.out / "burgers.png")
    print(f"figure: {arguments.out / 'burgers.png'}")


if __name__ == "__main__":
    main()
