"""Train a chain of three spins on a device: a simulator with a machine's noise here, the machine itself by one word.

A variational ground state of a chain of spins, by parameter-shift gradients whose circuits a backend runs. What a run
takes is told before it begins and held against what was executed afterwards:

    --backend aer              Qiskit's simulator, without noise
    --backend fake_manila      the same with the noise of one of IBM's machines (the default)
    --backend ibm:NAME         that machine, with the account that Qiskit has saved
    --backend braket           Amazon Braket's local simulator; braket:NAME is a machine
    --backend quprop           quprop's own engine

    python examples/on_hardware.py [--backend NAME] [--steps N] [--shots N] [--out FOLDER]
"""

import argparse
from pathlib import Path

import quprop as qpr
from quprop.planning import plan_on_device


def main():
    parser = argparse.ArgumentParser(description="Train a small circuit on a device.")
    parser.add_argument("--backend", default="fake_manila", help="where circuits are run")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--shots", type=int, default=200, help="of each circuit")
    parser.add_argument("--value-shots", type=int, default=2000, help="of each circuit that reads the energy")
    parser.add_argument("--out", type=Path, help="a run folder: what is cut goes on from there")
    options = parser.parse_args()

    energy = "-Z0 Z1 - Z1 Z2 - X0 - X1 - X2"
    model = qpr.Model(qpr.ansatz.tfim_variational(3, 1), energy)
    start = [0.3, 0.9]
    device = qpr.device(options.backend)
    method = qpr.ParameterShift(shots=options.shots)

    plan = plan_on_device(
        model,
        device,
        shots=options.shots,
        methods=["parameter_shift"],
        steps=options.steps,
        value_shots=options.value_shots,
        theta=start,
    )
    (row,) = plan.rows
    print(f"on {device.name}: circuits of {row.gates.two_qubit_gates} two-qubit gates, depth {row.gates.depth}")
    print(f"planned    {row.training}")

    result = qpr.train(
        model,
        method=method,
        backend=device,
        budget=qpr.DeviceBudget(shots=row.training.shots),
        value_shots=options.value_shots,
        optimiser=qpr.adam(0.1),
        params=start,
        steps=options.steps,
        out=options.out,
        resume=options.out is not None and (options.out / "run.toml").exists(),
    )
    spent = result.device
    print(
        f"executed   {spent['jobs']} jobs, {spent['circuits']:,} circuits, {spent['shots']:,} shots ({result.status})"
    )

    exact = float(qpr.expectation(model, result.theta)[0])
    best = qpr.train(model, optimiser=qpr.LBFGS(), params=start, steps=50).loss
    print(
        f"energy     {result.loss:.3f} ± {spent['loss_stderr']:.3f} as read, {exact:.3f} exactly for these parameters"
    )
    print(f"           {best:.3f} is the circuit's best")


if __name__ == "__main__":
    main()
