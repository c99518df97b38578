"""What `samples/` holds: files as quprop 0.1 wrote them at commit 62ce569, by `python old_files.py FOLDER` with that
quprop and its kernels on the path. Every later one reads them, and goes on to the same numbers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import quprop as qpr

try:
    from quprop.training.optimise import adam
except ImportError:  # where it was when the files were written
    from quprop.optimise import adam

COMMANDS = {
    "compare": "compare tfim --set n=3 --set layers=1 --precision 0.5 --methods adjoint,parameter_shift,spsa",
    "plan_model": "plan tfim --set n=4 --precision 0.05 --steps 20 --method adjoint,parameter_shift,quantum_backprop",
    "plan_circuit": "plan hardware_efficient:100,50 --max-error 0.1 --method parameter_shift,classical_shadows",
    "plan_numbers": "plan --qubits 50 --parameters 1e6 --precision 0.1 --method parameter_shift,quantum_backprop",
    "plan_network": "plan mlp --parameters 1e9 --precision 0.01 --steps 1000",
    "plan_figure2": "plan --preset figure2",
    "plan_talk": "plan --preset talk",
    "plan_check": "plan --check --method adjoint,parameter_shift",
    "scaling_figure2": "scaling --figure2 --constants",
    "reproduce": "reproduce",
    "reproduce_one": "reproduce shifted_circuits --quick --out done",
    "train": "train tfim --set n=3 --set layers=1 --set steps=3 --out trained",
    "carleman_analyse": "carleman analyse logistic --data iris --samples 8 --lanczos 4 --probes 1 --block-length 3",
}
SWEEP = (
    "scaling --m-min 16 --m-max 64 --instances 1 --max-error 0.3 --family commuting_generator,random_pauli "
    "--methods commuting_blocks,parameter_shift --out"
)
RUNS = {  # cut after so many lines of metrics.jsonl
    "adam": ("train tfim --set n=5 --set layers=2 --set optimiser=adam --set steps=400", 100),
    "lbfgs": ("train maxcut --set layers=3 --set steps=60", 10),
    "minibatch": ("train breast-cancer --set epochs=6 --set layers=1", 2),
    "carleman": (
        "carleman train logistic --data iris --order 2 --blocks 3 --block-length 2 --warm-up 2 --dense-steps 2 "
        "--precision 0.1",
        1,
    ),
}


def models():
    """Every kind of input state and of angle."""
    t, x = qpr.params("t", 3), qpr.inputs("x", 2)
    circuit = qpr.Circuit(3).h(0).cx(0, 1).ry(t[0], 0).rotation("X0 Y2", 2 * t[1] + 0.5 * t[0] + 0.1).s(2).rz(t[2], 2)
    yield "basis", qpr.Model(circuit, ["Z0 Z1", "X2 - 0.5*Y0"])
    circuit = qpr.Circuit(2, np.array([[0.6, 0.8], [1, 1j]]) / np.array([[1], [np.sqrt(2)]]), params=t)
    yield "product", qpr.Model(circuit.rx(t[0], 0).cz(0, 1).ry(t[1] * t[2], 1), "Z0 + 0.25*Z1 X0")
    circuit = qpr.Circuit(2, np.array([0.5, 0.5j, -0.5, 0.5]), params=t)
    yield "amplitudes", qpr.Model(circuit.ry(t[2] - t[0], 1).cx(1, 0).rz(0.3, 0).rx(t[1], 0), {"Z0": 1.0, "Y1": -2.0})
    circuit = qpr.Circuit(2, params=t, inputs=x).rx(x[0], 0).ry(t[0] * x[1] + t[1], 1).cx(0, 1).rx(t[2], 1)
    yield "inputs", qpr.Model(circuit, ["Z0", "Z1"])
    pixels = qpr.inputs("x", 4)
    yield "encoded", qpr.Model(qpr.Circuit(2, state=pixels).ry(t[0], 0).cx(0, 1).rx(t[1], 1).rz(t[2], 0), "X0 X1 + Z1")


def shots_run(out, resume=False, stop=0):
    """Training with a method that measures, in Python; Ctrl-C after `stop` steps."""
    model, (init, update), done = dict(models())["basis"], adam(0.05), []

    def counted(*arguments):
        done.append(0)
        if len(done) == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return update(*arguments)

    optimiser = adam(0.05)._replace(init=init, update=counted)
    method = qpr.ParameterShift(shots=10)
    return qpr.train(model, optimiser=optimiser, method=method, steps=24, rng=5, out=out, resume=resume)


def point(model):
    """Where numbers are taken: parameters and inputs."""
    return 0.3 + 0.4 * np.arange(model.n_params), 0.7 - 0.2 * np.arange(model.n_inputs)


def numbers(model):
    theta, x = point(model)
    given = (theta, x) if model.n_inputs else (theta,)
    weights = np.arange(1, model.n_observables + 1.0)
    _, gradient = qpr.value_and_grad(model, *given, weights=weights)
    return {"values": np.atleast_1d(qpr.expectation(model, *given)).tolist(), "gradient": np.asarray(gradient).tolist()}


def command(text, *more, wait=True):
    process = subprocess.Popen([sys.executable, "-m", "quprop.cli", *text.split(), *map(str, more), "--quiet"])
    if wait and process.wait():
        raise SystemExit(f"{text} failed")
    return process


def begun(text, lines, folder):
    """A run that Ctrl-C ends after some lines of its log."""
    process = command(text, "--out", folder, wait=False)
    log = folder / "metrics.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") < lines:
        time.sleep(0.0005)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130, "it had ended before"


def main(out):
    out.mkdir()
    os.chdir(out)
    for folder in ("models", "results", "runs"):
        Path(folder).mkdir()
    found = {}
    for name, model in models():
        model.save(f"models/{name}.json")
        found[name] = numbers(model)
    model = dict(models())["basis"]
    module = qpr.Module(model, theta=np.arange(3) / 7, frozen=True, name="part")
    module.save("models/module.json")
    Path("models/numbers.json").write_text(json.dumps(found, indent=1))
    for name, text in COMMANDS.items():
        command(text, "--json", f"results/{name}.json")
    shutil.rmtree("done")
    shutil.rmtree("trained")
    command(SWEEP, "sweep", "--json", "results/scaling.json")
    rows = Path("sweep/rows.jsonl").read_bytes().splitlines(keepends=True)
    shutil.rmtree("sweep")
    Path("sweep").mkdir()
    Path("sweep/rows.jsonl").write_bytes(b"".join(rows[: len(rows) // 2]) + rows[-1][:20])
    for name, (text, lines) in RUNS.items():
        begun(text, lines, Path("runs") / name)
        command(text, "--out", f"whole/{name}", "--json", f"whole_{name}.json")
        Path(f"whole_{name}.json").rename(f"runs/{name}.json")
    shutil.rmtree("whole")
    assert shots_run("runs/shots", stop=9).status == "interrupted"
    whole = shots_run(None)
    found = {"loss": whole.loss, "theta": whole.theta.tolist(), "cost": whole.cost.as_dict()}
    Path("runs/shots.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
