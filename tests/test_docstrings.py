"""The docstring of every public name: what it returns, what it raises, an example that runs; held for new names too."""

import doctest
import inspect
import re

import numpy as np
import pytest

import quprop as qpr
from quprop.hardware_models import PRESETS

NAMES = [name for name in dir(qpr) if name in qpr.hybrid.WHERE or callable(getattr(qpr, name))]
LIBRARY = {
    "QuantumLayer": "torch",
    "from_pennylane": "pennylane",
    "from_qiskit": "qiskit",
    "to_qiskit": "qiskit",
    "load_qpy": "qiskit",
    "save_qpy": "qiskit",
    "from_qasm": "openqasm3",
    "from_openfermion": "openfermion",
    "to_openfermion": "openfermion",
}
T = qpr.params("theta", 1)
CIRCUIT = qpr.Circuit(1).ry(T[0], 0)
MODEL, TWO = qpr.Model(CIRCUIT, "Z0"), qpr.Model(CIRCUIT, ["Z0", "X0"])
NOISY = qpr.Model(CIRCUIT.copy().depolarising(0.03, 0), "Z0")
SQUARE = np.eye(2)
BUDGETED = [n for n in NAMES if n not in qpr.hybrid.WHERE and hasattr(getattr(qpr, n), "_check_budget")]

# What each of them must refuse, in quprop's own words, before it gives any number.
WRONG = {
    **{name: f"qpr.{name}() | qpr.{name}(shots=0) | qpr.{name}(shots=9, precision=0.1)" for name in BUDGETED},
    "adapt": "qpr.adapt(qpr.PauliSum('Z0'), {}, qpr.Circuit(1)) | qpr.adapt(qpr.PauliSum('Z0'), "
    "{'Y0': [qpr.PauliSum('Y0')]}, qpr.Circuit(1), tolerance=0)",
    "EarlyStopping": "qpr.EarlyStopping(patience=0) | qpr.EarlyStopping(min_change=-1)",
    "HardwareModel": "qpr.HardwareModel('a', -1.0)",
    "params": "qpr.params('1', 2) | qpr.params('a', -1)",
    "inputs": "qpr.inputs('x y', 2) | qpr.inputs('a', 1.5)",
    "Angle": "qpr.Angle(np.inf) | T[0] ** 101",
    "AngleVector": "qpr.AngleVector(0, '', 1) | qpr.AngleVector(0, 'a', -1)",
    "Circuit": "qpr.Circuit(0) | qpr.Circuit(2, '0') | qpr.Circuit(1).rx(0.1, 3) | qpr.Circuit(1).foo",
    "DynamicCircuit": "qpr.DynamicCircuit(0) | qpr.DynamicCircuit(1).measure(0, '') | "
    "qpr.DynamicCircuit(1).when('m', CIRCUIT)",
    "PostSelected": "qpr.PostSelected(CIRCUIT, 'Z0', {1: 0}) | qpr.PostSelected(CIRCUIT, 'Z0', {0: 2}) | "
    "qpr.expectation(qpr.PostSelected(CIRCUIT, 'Z0', {0: 1}), [0.0])",
    "ParameterisedSum": "qpr.ParameterisedSum('Z0') | qpr.ParameterisedSum({'iZ0': qpr.params('a', 1)[0]}) | "
    "qpr.ParameterisedSum({'Z0': 1j})",
    "PauliString": "qpr.PauliString(-1, 0) | qpr.PauliString(1.5, 0) | qpr.PauliString(1 << 20_000, 0)",
    "PauliSum": "qpr.PauliSum('Q0') | qpr.PauliSum({'Z0': 1j}) | qpr.PauliSum({'Z0': np.nan})",
    "PauliOperator": "qpr.PauliOperator(3) | qpr.PauliOperator({'Z0': np.nan}) | "
    "qpr.PauliSum(qpr.PauliOperator({'Z0': 1j}))",
    "commutator": "qpr.commutator(1, qpr.PauliSum('Z0'))",
    "anticommutator": "qpr.anticommutator(qpr.PauliSum('Z0'), 'Z0')",
    "Model": "qpr.Model(1, 'Z0') | qpr.Model(CIRCUIT, []) | qpr.Model(CIRCUIT, 'Z1')",
    "InputState": "qpr.InputState('foo') | qpr.InputState('basis', -1) | qpr.InputState('product', bytes(64))",
    "expectation": "qpr.expectation(MODEL, [1, 2]) | qpr.expectation(MODEL, [np.nan])",
    "value_and_grad": "qpr.value_and_grad(MODEL, [1, 2]) | qpr.value_and_grad(TWO, [1])",
    "vjp": "qpr.vjp(MODEL, [1, 2])",
    "hvp": "qpr.hvp(MODEL, [1], v_theta=[1, 2]) | qpr.hvp(NOISY, [1], v_theta=[1])",
    "jet": "qpr.jet(MODEL, [1], None, [1]) | qpr.jet(NOISY, [1], None, [1], wrt='theta') | "
    "qpr.jet(MODEL, [1], None, [1], 3, wrt='theta') | qpr.jet(MODEL, [1], None, [1, 2], wrt='theta') | "
    "qpr.jet(MODEL, [1], None, [np.nan], wrt='theta') | qpr.jet(MODEL, [1], None, [1], 1, wrt='theta', mixed=True) | "
    "qpr.jet(MODEL, [1], None, [1], wrt='theta', engine='lightcone')",
    "state": "qpr.state(NOISY, [1]) | qpr.state(MODEL, [1, 2])",
    "probabilities": "qpr.probabilities(MODEL, [1, 2])",
    "samples": "qpr.samples(MODEL, [1], shots=0, rng=0) | qpr.samples(MODEL, [1], shots=1, rng=None)",
    "propagate": "qpr.propagate(MODEL, [1, 2])",
    "estimate": "qpr.estimate(NOISY, [[1], [2]]) | qpr.estimate(NOISY, [1], engine='native')",
    "trotter_error": "qpr.trotter_error('X0 + Z0', 1.0, order=3) | qpr.trotter_error('X0 + Z0', 1j) | "
    "qpr.trotter_error({'X0': T[0], 'Z0': 1}, 1.0)",
    "TrotterBound": "qpr.trotter_error('X0 + Z0', 1.0).steps_for(0)",
    "multi_product": "qpr.multi_product(lambda k: MODEL, (1, 1)) | "
    "qpr.multi_product(lambda k: MODEL, (1, 2), order=3) | qpr.multi_product(lambda k: 'a')",
    "MultiProduct": "qpr.multi_product(lambda k: MODEL if k == 1 else TWO)",
    "metric": "qpr.metric(NOISY, [1]) | qpr.metric(MODEL, [[1], [2]])",
    "geometric_tensor": "qpr.geometric_tensor(NOISY, [1]) | qpr.geometric_tensor(MODEL, [[1], [2]])",
    "zero_noise": "qpr.zero_noise(MODEL, [1]) | qpr.zero_noise(NOISY, [1], scales=(1, 1))",
    "invert_readout": "qpr.invert_readout(MODEL, [1], confusion=[1]) | "
    "qpr.invert_readout(MODEL, [1], confusion=2 * SQUARE)",
    "readout_inverse": "qpr.readout_inverse('Z0', [1]) | qpr.readout_inverse('Z0', 0 * SQUARE + 0.5)",
    "scaled_noise": "qpr.scaled_noise(NOISY, -1) | qpr.scaled_noise(NOISY, 'a')",
    "gradient": "qpr.gradient(MODEL, [1, 2]) | qpr.gradient(MODEL, [1], qpr.PairState(shots=1)) | "
    "qpr.gradient(MODEL, [1], 3)",
    "Adjoint": "qpr.gradient(MODEL, [1], qpr.Adjoint(precision='half'))",
    "AmplitudeEstimation": "qpr.AmplitudeEstimation(max_error=-1) | qpr.AmplitudeEstimation(max_error=1, failure=2) | "
    "qpr.gradient(MODEL, [1], qpr.AmplitudeEstimation(max_error=1), rng=0)",
    "pauli_list_model": "qpr.pauli_list_model(CIRCUIT, ['Z0']) | qpr.pauli_list_model(qpr.Circuit(1), ['Z3'])",
    "compare": "qpr.compare(MODEL) | qpr.compare(MODEL, precision=0.1, theta=[1, 2]) | "
    "qpr.compare(MODEL, precision=0.1, methods=['foo']) | qpr.compare(MODEL, precision=0.1, hardware='foo')",
    "train": "qpr.train(MODEL) | qpr.train(MODEL, data=[1], steps=1)",
    "adam": "qpr.adam(-1) | qpr.adam(b1=1)",
    "sgd": "qpr.sgd(0) | qpr.sgd(momentum=1)",
    "LBFGS": "qpr.LBFGS(0) | qpr.train(MODEL, optimiser=qpr.LBFGS(), method=qpr.PairState(shots=1), steps=1)",
    "cosine": "qpr.cosine(-1, 3) | qpr.cosine(0.1, -1) | qpr.cosine(0.1, 1.5) | qpr.cosine(0.1, 10, final=-1)",
    "natural_gradient": "qpr.natural_gradient(lambda t: 0, -1) | qpr.natural_gradient(lambda t: 0, damping=0) | "
    "qpr.train(MODEL, optimiser=qpr.natural_gradient(lambda t: 0), steps=1) | "
    "qpr.train(MODEL, optimiser=qpr.natural_gradient(lambda t: SQUARE), steps=1)",
    "imaginary_time": "qpr.imaginary_time(lambda t: 0, -1) | qpr.imaginary_time(lambda t: 0, cutoff=1) | "
    "qpr.train(MODEL, optimiser=qpr.imaginary_time(lambda t: 0), steps=1)",
    "power_decay": "qpr.power_decay(0) | qpr.power_decay(1, alpha=0) | qpr.power_decay(1, offset=-1)",
    "ShotGrowth": "qpr.ShotGrowth(qpr.Adjoint()) | qpr.ShotGrowth(qpr.SPSA(shots=2), factor=0.9) | "
    "qpr.ShotGrowth(qpr.SPSA(shots=2), add=-1) | qpr.ShotGrowth(qpr.SPSA(shots=2), most=1) | qpr.ShotGrowth(3)",
    "StepDecay": "qpr.StepDecay(qpr.SPSA(shots=2)) | qpr.StepDecay(qpr.SPSA(shots=2, step=0.1), gamma=-1)",
    "ICANS": "qpr.ICANS(rate=0) | qpr.ICANS(variant=3) | qpr.ICANS(least=1) | qpr.ICANS(mu=1) | qpr.ICANS(b=0) | "
    "qpr.train(MODEL, optimiser=qpr.ICANS(rate=2), steps=1)",
    "Rosalin": "qpr.Rosalin(grouping='commuting') | qpr.train(MODEL, optimiser=qpr.Rosalin(rate=2), steps=1)",
    "Quiver": "qpr.Quiver(difference=0) | qpr.Quiver(least=1) | qpr.Quiver(most_directions=0) | "
    "qpr.train(MODEL, 'cross_entropy', optimiser=qpr.Quiver(), steps=1)",
    "evolution_vector": "qpr.evolution_vector(TWO, None, [1]) | qpr.evolution_vector(NOISY, None, [1]) | "
    "qpr.evolution_vector(MODEL, 'Z0', [[1], [2]])",
    "VariationalEvolution": "qpr.variational_evolution(MODEL, 'Z0', [1], 0.1, 1, kind='imaginary').error_bound",
    "variational_evolution": "qpr.variational_evolution(MODEL, 'Z0', [1], 0, 1) | "
    "qpr.variational_evolution(MODEL, 'Z0', [1], 1, 1, kind='foo') | "
    "qpr.variational_evolution(MODEL, 'Z0', [1], 1, 1, rule='foo') | qpr.variational_evolution(TWO, None, [1], 1, 1)",
    "Expectation": "qpr.train(MODEL, qpr.Expectation((1.0, 2.0)), steps=1) | "
    "qpr.train(TWO, qpr.Expectation((1,)), steps=1)",
    "MeanSquare": "qpr.train(MODEL, qpr.MeanSquare(), steps=1)",
    "CrossEntropy": "qpr.train(MODEL, qpr.CrossEntropy(), steps=1)",
    "Fidelity": "qpr.Fidelity([0, 0]) | qpr.Fidelity([np.nan, 0])",
    "MMD": "qpr.MMD([[0.5, 1]]) | qpr.MMD(SQUARE, operators=0) | qpr.train(MODEL, qpr.MMD(SQUARE), steps=1)",
    "CVaR": "qpr.CVaR('X0', 0.5) | qpr.CVaR('Z0', 0) | qpr.CVaR([1, 2, 3], 1)",
    "KLDivergence": "qpr.KLDivergence([0.5, 0.6]) | qpr.KLDivergence([1, 0], smoothing=1) | "
    "qpr.KLDivergence([1, 0]).of(np.array([0.0, 1.0]))",
    "NegativeLogLikelihood": "qpr.NegativeLogLikelihood([[0.5]]) | qpr.NegativeLogLikelihood([1, 0], smoothing=-1) | "
    "qpr.NegativeLogLikelihood([0, 1]).of(np.array([1.0, 0.0]))",
    "ShannonEntropy": "qpr.train(NOISY, qpr.ShannonEntropy(), steps=1)",
    "WeightedSum": "2j * qpr.ShannonEntropy() | qpr.ShannonEntropy() + 1 | "
    "qpr.train(MODEL, qpr.MeanSquare() + qpr.ShannonEntropy(), steps=1)",
    "Module": "qpr.Module(MODEL, name='1 2') | qpr.Module(MODEL, theta=[1, 2]) | qpr.Module(MODEL, frozen=True)",
    "compose": "qpr.compose() | qpr.compose(MODEL, qpr.Model(qpr.Circuit(2), 'Z0')) | "
    "qpr.compose(MODEL, qpr.Model(qpr.Circuit(1, '1'), 'Z0'))",
    "parallel": "qpr.parallel() | qpr.parallel(qpr.Module(MODEL, name='a'), qpr.Module(MODEL, name='a'))",
    "device": "qpr.device(3) | qpr.device('foo') | qpr.device('none:none') | qpr.device('quprop', foo=1)",
    "Distributed": "qpr.Distributed(ranks_per_state=3) | qpr.Distributed(chunk=1)",
    "DeviceBudget": "qpr.DeviceBudget() | qpr.DeviceBudget(shots=0) | qpr.DeviceBudget(dollars=-1)",
    "cut": "qpr.cut(qpr.Circuit(2).cx(0, 1), 'Z0 Z1', max_qubits=1, max_overhead=1) | "
    "qpr.cut(CIRCUIT, 'Z0', at_gates=[5])",
    "Cost": "1.5 * qpr.Cost() | -1 * qpr.Cost()",
    "NoiseModel": "qpr.NoiseModel(2) | qpr.NoiseModel(t1=1) | qpr.NoiseModel(t1=1, t2=3) | "
    "qpr.NoiseModel(one_qubit_seconds=-1)",
    "hardware": "qpr.hardware('foo') | qpr.hardware('none.toml')",
    "MarkovChain": "qpr.MarkovChain(1, [4], 'Z0') | qpr.MarkovChain(1, [], 'Z0') | qpr.MarkovChain(1, [1], 'X0')",
    "ShadowTomography": "qpr.ShadowTomography(eps=2) | qpr.ShadowTomography(eps=0.1, engine='foo') | "
    "qpr.ShadowTomography(eps=0.1, hypothesis='foo')",
    "AutoEngine": "qpr.AutoEngine('half') | qpr.AutoEngine(threads=0) | qpr.AutoEngine(tolerance=-1)",
    "NativeEngine": "qpr.NativeEngine('half') | qpr.NativeEngine(threads=0)",
    "ReferenceEngine": "qpr.ReferenceEngine('half')",
    "DensityEngine": "qpr.DensityEngine('single') | qpr.state(NOISY, [1], engine=qpr.DensityEngine())",
    "Commuting": "qpr.Commuting(samples=0) | "
    "qpr.expectation(qpr.Model(CIRCUIT.copy().rx(T[0], 0).rz(T[0], 0), 'Y0'), [1], engine=qpr.Commuting())",
    "PauliPropagation": "qpr.PauliPropagation(1e-3, cutoff=1) | qpr.PauliPropagation(-1)",
    "Trajectories": "qpr.Trajectories(0) | qpr.Trajectories(seed=-1)",
    "output_vjp": "qpr.output_vjp(MODEL, 'purity', [1]) | qpr.output_vjp(NOISY, qpr.outputs.Purity([0]), [1])",
    "reduced_state": "qpr.reduced_state(MODEL, [1], qubits=[0, 0]) | qpr.reduced_state(MODEL, [1], qubits=[9])",
    "purity": "qpr.purity(MODEL, [1]) | qpr.purity(MODEL, [1], qubits=[-1])",
    "entropy": "qpr.entropy(MODEL, [1], qubits=[0], order=0) | qpr.entropy(MODEL, [1], qubits=[0], base=1)",
    "overlap": "qpr.overlap(MODEL, [1], qpr.Model(qpr.Circuit(5), 'Z0'), [])",
    "overlap_vjp": "qpr.overlap_vjp(MODEL, [1], 3, [1]) | qpr.overlap_vjp(MODEL, [1], NOISY, [1])",
    "kernel": "qpr.kernel(MODEL, [[1]], [[1]])",
    "kernel_vjp": "qpr.kernel_vjp(3, [1], [[1]]) | qpr.kernel_vjp(MODEL, [1], [[1]])",
    "ReadoutInversion": "qpr.ReadoutInversion([(0.6, 0.5)]) | qpr.ReadoutInversion([(-0.1, 0.2)]) | "
    "qpr.ReadoutInversion([0.1])",
    "ZeroNoise": "qpr.ZeroNoise((1,)) | qpr.ZeroNoise((0.5, 1)) | qpr.ZeroNoise((1, 3), 2)",
    "Mitigation": "qpr.Mitigation() | qpr.Mitigation(readout='best') | qpr.Mitigation(readout=[(0.6, 0.5)])",
    "QuantumLayer": "qpr.QuantumLayer(MODEL, weights=[1, 2]) | qpr.QuantumLayer(MODEL, output='purity')",
    "from_pennylane": "qpr.from_pennylane(3)",
    "from_qiskit": "qpr.from_qiskit(3)",
    "to_qiskit": "qpr.to_qiskit(3) | qpr.to_qiskit(CIRCUIT.copy().depolarising(0.1, 0))",
    "from_qasm": "qpr.from_qasm('foo')",
    "to_qasm": "qpr.to_qasm(CIRCUIT, 2) | qpr.to_qasm(CIRCUIT.copy().depolarising(0.1, 0))",
    "from_stim": "qpr.from_stim('FOO 1')",
    "from_openfermion": "qpr.from_openfermion(3)",
    "to_openfermion": "qpr.to_openfermion('Q')",
    "load_qpy": "qpr.load_qpy('none.qpy')",
    "save_qpy": "qpr.save_qpy(CIRCUIT, 'none/a.qpy') | qpr.save_qpy(3, 'a.qpy')",
}


def _of(name):
    if name in LIBRARY:
        pytest.importorskip(LIBRARY[name])
    return getattr(qpr, name)


def _refuses(thing):
    """Whether a function, or the making of an object, is written to refuse anything."""
    if not inspect.isclass(thing):
        return True
    makers = [vars(c)[m] for c in thing.__mro__ for m in ("__init__", "__post_init__", "__new__") if m in vars(c)]
    written = [m for m in makers if inspect.isfunction(m) and "quprop" in inspect.getsourcefile(m)]
    return any("raise QupropError" in inspect.getsource(m) for m in written)


@pytest.mark.parametrize("name", NAMES)
def test_a_docstring_says_what_comes_back_what_is_refused_and_shows_it(name):
    thing = _of(name)
    text = thing.__doc__ or ""
    assert ">>> " in text, "an example"
    assert "Raises: " in text or name not in WRONG
    assert name in WRONG or not _refuses(thing), "it refuses something: say so after `Raises:`, and add it to WRONG"
    if not inspect.isclass(thing) and inspect.signature(thing).return_annotation not in (None, "None"):
        assert "Returns: " in text
    public = [p for p in inspect.signature(thing).parameters.values() if p.kind is not p.VAR_KEYWORD]
    inherited = {"shots", "total_shots", "precision", "max_error", "failure", "model"}  # of a budget; obvious
    prose = text[: text.index(">>> ")]
    missing = [p.name for p in public if p.name not in inherited and not re.search(rf"\b{p.name}\b", prose)]
    assert not missing, f"its parameters {missing} are not in its docstring"


@pytest.mark.parametrize("name, call", [(n, call) for n, calls in WRONG.items() for call in calls.split(" | ")])
def test_what_a_docstring_says_is_refused_is_refused(name, call):
    _of(name)
    with pytest.raises(qpr.QupropError):
        eval(call)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_docstring_runs_and_prints_what_it_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where examples write
    thing = _of(name)
    example = doctest.DocTestParser().get_doctest(thing.__doc__, {"np": np, "qpr": qpr}, name, None, None)
    said = []
    doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert example.examples and not said, "".join(said)


def test_an_example_that_prints_something_else_is_seen():
    example = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner(verbose=False).run(example, out=[].append).failed == 1


def test_the_machines_that_have_a_name_are_named():
    assert all(name in qpr.hardware.__doc__ for name in PRESETS)
