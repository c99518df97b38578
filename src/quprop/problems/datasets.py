"""Data sets of scikit-learn, split once and for all, and the classical classifier every accuracy is held against."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TEST_FRACTION = 0.25
SPLIT_SEED = 0  # the split belongs to the problem, not to the run: accuracies of all runs are comparable


class Split(NamedTuple):
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def split(name: str) -> Split:
    """A stratified split of a data set: ``digits`` with pixels in [0, 1], ``breast_cancer`` standardised by its
    training part."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    loaded = getattr(datasets, f"load_{name}")()
    x_train, x_test, y_train, y_test = train_test_split(
        loaded.data, loaded.target, test_size=TEST_FRACTION, random_state=SPLIT_SEED, stratify=loaded.target
    )
    if name == "digits":
        x_train, x_test = x_train / 16.0, x_test / 16.0
    else:
        mean, deviation = x_train.mean(axis=0), x_train.std(axis=0)
        x_train, x_test = (x_train - mean) / deviation, (x_test - mean) / deviation
    return Split(x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64))


def logistic_regression(data: Split) -> dict[str, object]:
    """Test accuracy of logistic regression on the same features and the same split."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(max_iter=5000).fit(data.x_train, data.y_train)
    return {
        "reference_accuracy": float(fitted.score(data.x_test, data.y_test)),
        "reference_name": "logistic regression",
    }
