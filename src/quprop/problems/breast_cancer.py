"""Malignant or benign: 30 features of 569 tumours, loaded as angles again and again (data re-uploading).

Data: Wisconsin Diagnostic Breast Cancer (Street, Wolberg and Mangasarian, UCI 1993), from scikit-learn, standardised; a
quarter for testing. Features have heavy tails (ten deviations and more), which as angles would wrap around: the circuit
gets their arc tangent. Test accuracy 0.965 +- 0.006 over seeds; logistic regression 0.958 (one of the 143 test samples
is 0.007).
"""

from __future__ import annotations

import numpy as np

from quprop.model import Model
from quprop.model.ansatz import data_reuploading
from quprop.problems.config import LARGEST, Config, Setting
from quprop.problems.datasets import logistic_regression, split
from quprop.problems.spec import Params, Problem, Spec, as_run, train_settings
from quprop.training.losses import CrossEntropy

FEATURES = 30
START_SCALE = 5.0


def build(config: Config) -> Problem:
    data = split("breast_cancer")
    qubits, layers = config["model"]["qubits"], config["model"]["layers"]
    circuit = as_run(data_reuploading(qubits, layers, FEATURES), config)
    model = Model(circuit, {f"Z{q}": 1.0 for q in range(qubits)})
    weights = layers * FEATURES

    def start(rng: np.random.Generator) -> Params:
        # Small weights: a sample begins near the others, and the circuit near one without data.
        theta = np.concatenate([0.1 * rng.normal(size=weights), 0.3 * rng.normal(size=model.n_params - weights)])
        return {"theta": theta, "scale": np.full(1, START_SCALE), "bias": np.zeros(1)}

    train, test = (np.arctan(data.x_train), data.y_train), (np.arctan(data.x_test), data.y_test)
    reference = logistic_regression(data) | {"classes": ["malignant", "benign"]}
    return Problem(model, CrossEntropy(), start, train, test, head=True, reference=reference, circuit=circuit)


SPEC = Spec(
    "malignant or benign tumours, 30 features re-uploaded as angles",
    {
        "problem": {"name": Setting("breast-cancer", "this problem")},
        "model": {
            "qubits": Setting(3, "qubits the features are spread over", least=1, most=40),
            "layers": Setting(2, "times the features are loaded", least=1, most=LARGEST),
        },
        "train": train_settings(optimiser="adam", learning_rate=0.02, schedule="cosine", epochs=30, batch_size=32),
    },
    build,
)
