"""Ten classes of handwritten digits, 8 x 8 pixels, as amplitudes of six qubits.

The 1,797 images are those of scikit-learn (Alpaydin and Kaynak, UCI Optical Recognition of Handwritten Digits, 1998), a
quarter of them for testing. Amplitudes are the pixels minus their mean over the training images: what all digits share
says nothing about the class. The corner pixel, which no digit uses, is set to a constant instead. Outputs are quadratic
forms of the amplitudes; with a constant among these they hold linear terms too (test accuracy 0.973 +- 0.005 over
seeds, 0.967 with the pixels as they are, 0.969 for logistic regression).
"""

from __future__ import annotations

import numpy as np

from quprop.model import Model
from quprop.model.angle import inputs
from quprop.model.ansatz import hardware_efficient
from quprop.model.circuit import Circuit
from quprop.problems.config import LARGEST, Config, Setting
from quprop.problems.datasets import logistic_regression, split
from quprop.problems.spec import Params, Problem, Spec, as_run, train_settings
from quprop.training.losses import CrossEntropy

QUBITS, CLASSES = 6, 10
# Ten Z strings, one a class: the six single qubits and four neighbours. Which ten hardly matters, the circuit before
# them is general.
OBSERVABLES = [f"Z{q}" for q in range(6)] + [f"Z{q} Z{q + 1}" for q in range(4)]
START_SCALE = 8.0  # trained scales end near 20: expectations of normalised states are small numbers


def build(config: Config) -> Problem:
    data = split("digits")
    settings = config["model"]
    x_train, x_test = data.x_train, data.x_test
    if settings["encoding"] == "centred":
        mean = x_train.mean(axis=0)
        x_train, x_test = x_train - mean, x_test - mean
        x_train[:, 0] = x_test[:, 0] = settings["constant"]
    pixels = inputs("x", 2**QUBITS)
    circuit = Circuit(QUBITS, state=pixels)
    circuit.append(hardware_efficient(QUBITS, settings["layers"], rotations=("ry", "rz"), entangler="cz"))
    circuit = as_run(circuit, config)
    model = Model(circuit, OBSERVABLES)

    def start(rng: np.random.Generator) -> Params:
        theta = rng.uniform(-np.pi, np.pi, model.n_params)
        return {"theta": theta, "scale": np.full(CLASSES, START_SCALE), "bias": np.zeros(CLASSES)}

    return Problem(
        model,
        CrossEntropy(),
        start,
        (x_train, data.y_train),
        (x_test, data.y_test),
        head=True,
        reference=logistic_regression(data),
        circuit=circuit,
    )


SPEC = Spec(
    "handwritten digits, ten classes, amplitude encoding on 6 qubits",
    {
        "problem": {"name": Setting("digits", "this problem")},
        "model": {
            "layers": Setting(30, "layers of (RY, RZ, CZ ring)", least=1, most=LARGEST),
            "encoding": Setting(
                "centred", "amplitudes: pixels minus their mean, or pixels", choices=("centred", "pixels")
            ),
            "constant": Setting(2.0, "the constant put in the unused corner pixel when centred"),
        },
        "train": train_settings(optimiser="adam", learning_rate=0.05, schedule="cosine", epochs=60, batch_size=32),
    },
    build,
)
