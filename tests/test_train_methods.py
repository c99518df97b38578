"""Training with the gradients of a gradient method: `train(..., method=...)`."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import quprop as qpr
from quprop.collective.engines.null import NullEngine
from quprop.cost import Cost
from quprop.errors import QupropError
from quprop.gradients import METHODS, ParameterShift, QuantumBackprop
from quprop.model import ansatz
from quprop.training.job import Job


@pytest.fixture(scope="module")
def model():
    return qpr.Model(ansatz.hardware_efficient(2, 2), "Z0 Z1 + 0.5*X0")


@pytest.fixture(scope="module")
def reading():
    """A model with inputs and two outputs, and data for it."""
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (6, 2))
    return qpr.Model(ansatz.data_reuploading(2, 2, 2), ["Z0", "Z1"]), (x, (x[:, 0] > 0).astype(int))


def run(model, data=None, loss="expectation", steps=3, **options):
    start = np.random.default_rng(0).uniform(-1, 1, model.n_params)
    options = {"optimiser": qpr.adam(0.1), "params": start, "steps": steps, "rng": 5, **options}
    return qpr.train(model, loss, data=data, **options)


def test_the_exact_method_trains_as_no_method(model, reading):
    """A method whose gradient is exact changes nothing: the pull-back through loss, head and batch is the same."""
    assert np.allclose(run(model).theta, run(model, method=METHODS["adjoint"]()).theta, atol=1e-12)
    big, data = reading
    for loss, head in (("cross_entropy", True), ("cross_entropy", False), ("mean_square", True)):
        target = data if loss == "cross_entropy" else (data[0], np.stack([data[1], 1 - data[1]], axis=1) * 1.0)
        options = {"data": target, "loss": loss, "head": head, "batch_size": 4}
        one, other = run(big, **options), run(big, **options, method=METHODS["adjoint"]())
        for key, value in one.params.items():
            assert np.allclose(value, other.params[key], atol=1e-12), (loss, key)
        assert one.loss == pytest.approx(other.loss, abs=1e-12)


def test_many_shots_come_near_the_exact_run_and_their_cost_is_summed(model):
    method = ParameterShift(shots=40_000)
    exact, found = run(model), run(model, method=method)
    assert np.abs(exact.theta - found.theta).max() < 0.05
    assert found.cost.copies == 3 * method.compile(model, [1.0]).cost.copies and exact.cost == Cost()
    assert found.history[-1]["copies"] == found.cost.copies and "copies" not in exact.history[-1]
    assert found.loss == pytest.approx(qpr.expectation(model, found.theta)[0])  # losses are exact


def test_the_gradient_of_a_batch_is_unbiased(reading):
    """One step of plain descent: the mean step over repeats is the exact one."""
    model, data = reading
    options = {"data": data, "loss": "cross_entropy", "steps": 1, "optimiser": qpr.sgd(1.0)}
    exact = run(model, **options).theta
    found = np.array([run(model, **options, method=ParameterShift(shots=50), rng=seed).theta for seed in range(30)])
    error = found.std(axis=0, ddof=1) / np.sqrt(30)
    assert np.all(np.abs(found.mean(axis=0) - exact) < 5 * error + 1e-9)


def test_quantum_backpropagation_trains(model):
    """The gradient within eps of the exact one at every step: the energy goes down all the same."""
    method = QuantumBackprop(max_error=0.3, warm_start=True, engine=NullEngine())
    found = run(model, method=method, steps=25)
    start = qpr.expectation(model, np.random.default_rng(0).uniform(-1, 1, model.n_params))[0]
    assert found.loss < start - 0.5
    plan = method.compile(model)
    first, last = found.history[0]["copies"], found.history[-1]["copies"]
    assert plan.design.k <= first <= plan.cost.copies
    assert first < last < 0.8 * 25 * first  # what was learned is kept: later steps are designed for fewer readings
    assert found.history[-1]["damage"] > 0
    assert "damage" not in run(model, method=ParameterShift(shots=5)).history[-1]


def test_a_cut_run_resumes_bit_for_bit(model, tmp_path):
    method = ParameterShift(shots=20)
    whole = run(model, steps=8, method=method, out=tmp_path / "whole")

    class Cut(Exception):
        pass

    original, count = Job.save, []

    def save(self, *arguments, **options):
        original(self, *arguments, now=True, **{k: v for k, v in options.items() if k != "now"})
        count.append(1)
        if len(count) == 5:
            raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "save", save)
        with pytest.raises(Cut):
            run(model, steps=8, method=method, out=tmp_path / "cut")
    again = run(model, steps=8, method=method, out=tmp_path / "cut", resume=True)
    assert np.array_equal(again.theta, whole.theta) and again.cost == whole.cost
    with pytest.raises(QupropError, match="got exact gradients: resume with what it was started with"):
        run(model, steps=8, out=tmp_path / "cut", resume=True)
    with pytest.raises(QupropError, match=r"train\.method"):
        run(model, steps=8, method=ParameterShift(shots=21), out=tmp_path / "cut", resume=True)


def test_what_cannot_be_trained_so_is_refused(model):
    method = ParameterShift(shots=5)
    with pytest.raises(QupropError, match="L-BFGS compares neighbouring gradients"):
        run(model, method=method, optimiser=qpr.LBFGS())
    with pytest.raises(QupropError, match="got the fidelity loss"):
        run(model, method=method, loss=qpr.Fidelity(np.eye(1, 4)[0]))
    with pytest.raises(QupropError, match="method is a gradient method such as"):
        run(model, method="parameter_shift")


def test_any_executor_and_any_number_of_workers_give_the_same_run(reading):
    """And the same cost as without one; the samples' seeds come from the run's generator, not from the workers."""
    model, data = reading
    options = {"data": data, "loss": "cross_entropy", "method": ParameterShift(shots=50), "batch_size": 4}
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(3) as three:
        runs = [run(model, executor=e, **options) for e in (one, three)]
    assert np.array_equal(runs[0].theta, runs[1].theta)
    assert runs[0].cost == runs[1].cost == run(model, **options).cost


def test_an_executor_estimates_without_bias(model):
    """One step of plain descent without data: the mean step over repeats is the exact one."""
    step = {"steps": 1, "optimiser": qpr.sgd(1.0)}
    exact = run(model, **step).theta
    with ThreadPoolExecutor(1) as executor:
        found = np.array(
            [
                run(model, method=ParameterShift(shots=200), executor=executor, **{**step, "rng": k}).theta
                for k in range(60)
            ]
        )
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert np.all(np.abs(found.mean(axis=0) - exact) < 5 * error)


def test_an_executor_without_a_method_is_refused(model):
    with ThreadPoolExecutor(1) as executor, pytest.raises(QupropError, match="pass method=, or leave out executor="):
        run(model, executor=executor)
