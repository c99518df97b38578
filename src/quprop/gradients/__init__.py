"""Ways to estimate a gradient, one file each. `METHODS` lists them all by name."""

from collections import ChainMap
from dataclasses import replace
from typing import Any

from quprop.errors import QupropError, count_of, generator_of
from quprop.gradients.adjoint import Adjoint
from quprop.gradients.amplitude_estimation import AmplitudeEstimation
from quprop.gradients.bell_sampling import BellSampling, pauli_list_model
from quprop.gradients.classical_shadows import ClassicalShadows
from quprop.gradients.clifford_shadows import CliffordShadows
from quprop.gradients.commuting_blocks import CommutingBlocks
from quprop.gradients.finite_difference import FiniteDifference
from quprop.gradients.forward_gradient import ForwardGradient
from quprop.gradients.hadamard_test import HadamardTest
from quprop.gradients.method import GradientMethod, Method
from quprop.gradients.pair_state import PairState
from quprop.gradients.parameter_shift import ParameterShift
from quprop.gradients.quiver import Quiver
from quprop.gradients.random_components import RandomComponents
from quprop.gradients.shot_frugal import ICANS, Rosalin
from quprop.gradients.shot_noise import ShotNoise
from quprop.gradients.spsa import SPSA
from quprop.gradients.sweeps.fully_gentle import FullyGentle
from quprop.gradients.sweeps.gentle_sweep import GentleSweep
from quprop.gradients.sweeps.quantum_backprop import QuantumBackprop
from quprop.lazy import listing
from quprop.model import Model
from quprop.sampling.devices.known import device_of, estimator_of
from quprop.sampling.devices.ledger import JobLedger
from quprop.sampling.devices.measurement import Measurement
from quprop.sampling.devices.mitigation import Mitigation
from quprop.sampling.devices.runner import Runner
from quprop.sampling.devices.spending import DeviceBudget
from quprop.sampling.estimate import Estimate
from quprop.simulate import Call

METHODS: dict[str, Any] = {
    "adjoint": Adjoint,
    "bell_sampling": BellSampling,
    "classical_shadows": ClassicalShadows,
    "clifford_shadows": CliffordShadows,
    "commuting_blocks": CommutingBlocks,
    "finite_difference": FiniteDifference,
    "forward_gradient": ForwardGradient,
    "fully_gentle": FullyGentle,
    "gentle_sweep": GentleSweep,
    "hadamard_test": HadamardTest,
    "pair_state": PairState,
    "parameter_shift": ParameterShift,
    "quantum_backprop": QuantumBackprop,
    "random_components": RandomComponents,
    "shot_noise": ShotNoise,
    "spsa": SPSA,
}

# Methods of which only the cost is known here: `compile(model).cost` works, `estimate` refuses.
FORMULAS: dict[str, Any] = {"amplitude_estimation": AmplitudeEstimation}

COSTED: ChainMap[str, Any] = ChainMap(FORMULAS, METHODS)

PLAIN = ParameterShift.name  # the method that everybody has, and others are compared with


def gradient(
    model: Model,
    theta: Any,
    x: Any = None,
    method: Method | None = None,
    *,
    weights: Any = None,
    rng: Any = None,
    backend: Any = None,
    mitigation: Mitigation | None = None,
    budget: DeviceBudget | None = None,
) -> Estimate:
    """dF/dtheta of F = weights . <O> by a method, compiled for these weights at these points.

    theta (..., P) and x (..., D) of leading axes that broadcast, weights (K,) or with the same axes (..., K); the
    estimate's value and stderr are (..., P). Default: `Adjoint()`, exact.
    rng: a seed or a numpy Generator, needed by every method that draws shots.
    backend: a device, as `quprop.device` takes it, that runs the method's circuits in place of the simulation, or an
        EstimatorV2 of Qiskit's, asked for expectation values with the standard error of each circuit's shots;
        mitigation: a `Mitigation` of its noise; budget: a `DeviceBudget`, never exceeded. What was executed is in
        info["device"].

    Returns: Estimate: value and stderr, float arrays (..., P), cost and info.
    Raises: QupropError for other shapes, a model the method cannot serve, and no rng where shots are drawn.

    >>> model = qpr.Model(qpr.Circuit(1).ry(qpr.params("theta", 1)[0], 0), "Z0")  # cos(theta)
    >>> print(qpr.gradient(model, [np.pi / 6], method=qpr.ParameterShift(shots=1000), rng=0))  # -sin(theta) = -0.5
    [-0.48 ± 0.02] for 2,000 copies, 2,000 runs, 2,000 rotations, depth 1, 1 qubit, 2,000 classical multiply-adds
    """
    if method is None:
        method = Adjoint()
    if not hasattr(method, "compile"):
        raise QupropError(f"method is a gradient method such as qpr.ParameterShift(shots=1000), got {method!r}")
    call = Call(model, theta, x, None, "double", None, "values")
    at = (call.theta, call.x) if call.shape else (call.theta[0], call.x[0])
    plan = method.compile(model, weights, at=at)
    if backend is None:
        if mitigation is not None or budget is not None:
            raise QupropError("mitigation= and budget= are for a device: pass backend= too, or leave them out")
        return plan.estimate(theta, x, rng, weights=weights)
    circuits = plan.circuits(theta, x, weights=weights, rng=generator_of(rng))
    estimator = estimator_of(backend)
    if estimator is not None:
        if mitigation is not None or budget is not None:
            raise QupropError(
                "mitigation= and budget= are of outcomes and shots, and an estimator chooses its own; set them in the "
                "estimator, or pass its backend or a SamplerV2"
            )
        found = circuits.estimate_by(estimator, seed=circuits.seed % 2**31)
        asked = f"{estimator.name}: expectation values of {count_of(circuits.n_circuits, 'circuit')}"
        return replace(found, info={**found.info, "device": asked})
    runner = Runner(device_of(backend), ledger=JobLedger(None, circuits.seed % 2**31), budget=budget)
    measurement = Measurement(runner, mitigation)
    found = measurement.estimate(circuits, "gradient")
    inversion = measurement.inversion()
    cost = found.cost if inversion is None else found.cost + inversion.cost
    return replace(found, cost=cost, info={**found.info, "device": f"{runner.device.name}: {runner.executed}"})


__all__ = [
    "COSTED",
    "FORMULAS",
    "ICANS",
    "METHODS",
    "PLAIN",
    "SPSA",
    "Adjoint",
    "AmplitudeEstimation",
    "BellSampling",
    "ClassicalShadows",
    "CliffordShadows",
    "CommutingBlocks",
    "Estimate",
    "FiniteDifference",
    "ForwardGradient",
    "FullyGentle",
    "GentleSweep",
    "GradientMethod",
    "HadamardTest",
    "Method",
    "PairState",
    "ParameterShift",
    "QuantumBackprop",
    "Quiver",
    "RandomComponents",
    "Rosalin",
    "ShotNoise",
    "gradient",
    "pauli_list_model",
]

__dir__ = listing(__name__)
