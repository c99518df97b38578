"""Exact gradients for Qiskit's own libraries: qiskit-machine-learning (extra ``qiskit``) and qiskit-algorithms.

    from quprop.hybrid.qiskit_gradient import QupropGradient
    qnn = EstimatorQNN(circuit=qc, estimator=QupropEstimator(), gradient=QupropGradient(), default_precision=0.0, ...)

The adjoint sweep takes the place of two circuits for each parameter. All circuits that a call names more than once are
one batch of the engine. `QupropGradient` is what qiskit-machine-learning takes, `QupropAlgorithmsGradient` what
qiskit-algorithms does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from quprop.arrays import checked
from quprop.hybrid.qiskit import from_sparse_pauli_op, read_qiskit
from quprop.hybrid.qiskit_primitives import QupropEstimator, ReadProgram, columns_of
from quprop.lazy import missing
from quprop.simulate import vjp


def exact_gradients(
    circuits: Sequence[Any],
    observables: Sequence[Any],
    parameter_values: Any,
    parameters: Sequence[Sequence[Any]],
    noise_model: Any = None,
) -> list[np.ndarray]:
    """d<O_i>/d(parameters[i]) of circuits[i] at parameter_values[i], which follow circuits[i].parameters.

    noise_model: of the device that the values are those of, as in `from_qiskit`.
    """
    gradients: list[Any] = [None] * len(circuits)
    alike: dict[int, list[int]] = {}
    for i, circuit in enumerate(circuits):
        alike.setdefault(id(circuit), []).append(i)
    for members in alike.values():
        circuit = circuits[members[0]]
        imported = read_qiskit(circuit, noise_model=noise_model, all_measured=True)
        columns = columns_of(imported)
        order = {parameter: k for k, parameter in enumerate(circuit.parameters)}
        sums: dict[Any, int] = {}
        places = [sums.setdefault(from_sparse_pauli_op(observables[i]), len(sums)) for i in members]
        model = ReadProgram.of(imported, tuple(sums)).model()
        theta = np.zeros((len(members), model.n_params))
        for row, i in enumerate(members):
            theta[row, columns] = checked(f"the parameter values of circuit {i}", parameter_values[i], columns.shape)
        cotangent = np.zeros((len(members), len(sums)))
        cotangent[np.arange(len(members)), places] = 1.0
        _, pullback = vjp(model, theta)
        d_theta = pullback(cotangent)[0]
        for row, i in enumerate(members):
            gradients[i] = d_theta[row, columns[[order[p] for p in parameters[i]]]]
    return gradients


def _machine_learning() -> Any:
    try:
        from qiskit.providers import Options
        from qiskit_machine_learning.gradients import BaseEstimatorGradient, EstimatorGradientResult
    except ImportError:
        package = "qiskit-machine-learning"
        raise missing(f"this gradient is for {package}", package=package) from None

    class QupropGradient(BaseEstimatorGradient):
        """Exact gradients of expectation values by adjoint differentiation, for `EstimatorQNN(gradient=...)`.

        estimator: a `QupropEstimator`, whose noise model the gradient has too (the gradient is exact whatever its
            precision), or another one, which the gradient does not use. Default: a `QupropEstimator()`.
        """

        def __init__(self, estimator: Any = None) -> None:
            super().__init__(QupropEstimator() if estimator is None else estimator)
            self._noise_model = getattr(estimator, "noise_model", None)

        def _run(self, circuits: Any, observables: Any, parameter_values: Any, parameters: Any, **options: Any) -> Any:
            found = exact_gradients(circuits, observables, parameter_values, parameters, self._noise_model)
            metadata = [{"parameters": p, "method": "adjoint"} for p in parameters]
            return EstimatorGradientResult(gradients=found, metadata=metadata, options=Options())

    return QupropGradient


def _algorithms() -> Any:
    try:
        from qiskit_algorithms.gradients import BaseEstimatorGradient, EstimatorGradientResult
    except ImportError:
        raise missing("this gradient is for qiskit-algorithms", package="qiskit-algorithms") from None

    class QupropAlgorithmsGradient(BaseEstimatorGradient):
        """Exact gradients of expectation values by adjoint differentiation, for `VQE(gradient=...)` and the like.

        estimator: a `QupropEstimator`, whose noise model the gradient has too (the gradient is exact whatever its
            precision), or another one, which the gradient does not use. Default: a `QupropEstimator()`.
        """

        def __init__(self, estimator: Any = None) -> None:
            super().__init__(QupropEstimator() if estimator is None else estimator)
            self._noise_model = getattr(estimator, "noise_model", None)

        def _run(
            self,
            circuits: Any,
            observables: Any,
            parameter_values: Any,
            parameters: Any,
            *,
            precision: Any = None,
            **options: Any,
        ) -> Any:
            found = exact_gradients(circuits, observables, parameter_values, parameters, self._noise_model)
            metadata = [{"parameters": p, "method": "adjoint"} for p in parameters]
            return EstimatorGradientResult(gradients=found, metadata=metadata, precision=0.0)

    return QupropAlgorithmsGradient


def __getattr__(name: str) -> Any:
    # Each class derives from a library that need not be installed for the other one.
    makers = {"QupropGradient": _machine_learning, "QupropAlgorithmsGradient": _algorithms}
    if name not in makers:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = makers[name]()
    made.__module__, made.__qualname__ = __name__, name
    globals()[name] = made
    return made
