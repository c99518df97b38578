"""The one check of arrays: every public way in takes plain finite numbers of one shape, or says what else it got."""

import numpy as np
import pytest

import quprop as qpr
from quprop.arrays import checked, plain
from quprop.hybrid import qasm
from quprop.outputs import StateOverlap
from quprop.planning.compare import compare
from quprop.simulate.state_vector.metric import geometric_tensor, metric, metric_products
from quprop.structure import find_blocks, observable_programs
from quprop.training.losses import Expectation, Fidelity, MeanSquare

_T, _X = qpr.params("t", 2), qpr.inputs("x", 2)
_CIRCUIT = qpr.Circuit(2).ry(_T[0], 0).rx(_T[1] * _X[0], 1).cx(0, 1).rz(_X[1], 0)
MODEL = qpr.Model(_CIRCUIT, ["Z0 Z1", "X0"])
ALONE = qpr.Model(qpr.Circuit(2).ry(_T[0], 0).rx(_T[1], 1).cx(0, 1), "Z0")
_TURNED = qpr.Model(qpr.Circuit(1).ry(_T[0], 0).rx(_T[1], 0), "Z0")
ROW = np.array([0.3, -0.4])
SHIFT = qpr.ParameterShift(shots=20)

# name: a call that takes two real numbers where the array stands
ENTRIES = {
    "expectation theta": lambda v: qpr.expectation(MODEL, v, ROW),
    "expectation x": lambda v: qpr.expectation(MODEL, ROW, v),
    "reference engine": lambda v: qpr.expectation(MODEL, v, ROW, engine="reference"),
    "value_and_grad theta": lambda v: qpr.value_and_grad(MODEL, v, ROW, weights=ROW),
    "value_and_grad weights": lambda v: qpr.value_and_grad(MODEL, ROW, ROW, weights=v),
    "vjp theta": lambda v: qpr.vjp(MODEL, v, ROW),
    "vjp cotangent": lambda v: qpr.vjp(MODEL, ROW, ROW)[1](v),
    "hvp theta": lambda v: qpr.hvp(MODEL, v, ROW, v_theta=ROW, weights=ROW),
    "hvp v_theta": lambda v: qpr.hvp(MODEL, ROW, ROW, v_theta=v, weights=ROW),
    "hvp v_x": lambda v: qpr.hvp(MODEL, ROW, ROW, v_theta=ROW, v_x=v, weights=ROW),
    "hvp weights": lambda v: qpr.hvp(MODEL, ROW, ROW, v_theta=ROW, weights=v),
    "state": lambda v: qpr.state(MODEL, v, ROW),
    "probabilities": lambda v: qpr.probabilities(MODEL, ROW, v),
    "samples": lambda v: qpr.samples(MODEL, v, ROW, shots=2, rng=0),
    "metric theta": lambda v: metric(MODEL, v, ROW),
    "metric x": lambda v: metric(MODEL, ROW, v),
    "geometric tensor": lambda v: geometric_tensor(MODEL, v, ROW),
    "metric vectors": lambda v: metric_products(MODEL, ROW, v, ROW),
    "overlap theta": lambda v: qpr.output_vjp(MODEL, StateOverlap([1, 0, 0, 0]), v, ROW),
    "gradient theta": lambda v: qpr.gradient(MODEL, v, ROW, weights=ROW),
    "gradient x": lambda v: qpr.gradient(MODEL, ROW, v, weights=ROW),
    "gradient weights": lambda v: qpr.gradient(MODEL, ROW, ROW, weights=v),
    "shots theta": lambda v: qpr.gradient(MODEL, v, ROW, method=SHIFT, weights=ROW, rng=0),
    "shots weights": lambda v: qpr.gradient(MODEL, ROW, ROW, method=SHIFT, weights=v, rng=0),
    "compile weights": lambda v: SHIFT.compile(MODEL, v),
    "estimate weights": lambda v: SHIFT.compile(MODEL, ROW).estimate(ROW, ROW, 0, weights=v),
    "train params": lambda v: qpr.train(ALONE, params=v, steps=1, rng=0),
    "train named params": lambda v: qpr.train(ALONE, params={"theta": v}, steps=1, rng=0),
    "train data": lambda v: qpr.train(MODEL, data=v[None] if isinstance(v, np.ndarray) else [v], steps=1, rng=0),
    "train targets": lambda v: qpr.train(
        qpr.Model(_CIRCUIT, "Z0"), loss=MeanSquare(), data=([ROW, ROW], v), steps=1, rng=0
    ),
    "loss weights": lambda v: Expectation(v).check(2, None),
    "module theta": lambda v: qpr.Module(ALONE, theta=v),
    "part theta": lambda v: qpr.compose(ALONE).part("part0", v),
    "compare theta": lambda v: compare(ALONE, precision=0.5, theta=v, methods=["adjoint"], rng=0),
    "written theta": lambda v: qasm.to_qasm(_CIRCUIT, version=2, theta=v, x=ROW),
    "program theta": lambda v: observable_programs(ALONE, blocks=find_blocks(ALONE))[0].arguments(v),
    "chain theta": lambda v: qpr.MarkovChain(2, [1, 2], qpr.PauliSum("Z0")).value_exact(v),
    "circuit state": lambda v: qpr.Circuit(1, state=v),
    "target": lambda v: qpr.train(_TURNED, loss=Fidelity(v), steps=1, rng=0),
    "overlap": lambda v: qpr.output_vjp(_TURNED, StateOverlap(v), [0.1, 0.2]),
}
COMPLEX = {"circuit state", "target", "overlap"}  # amplitudes


class _Tensor:
    """What NumPy meets in a tensor that requires gradients."""

    requires_grad = True

    def __iter__(self):
        return iter([self, self])

    def __array__(self, *args, **kwargs):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


BAD = {
    "complex": (np.array([0.3 + 1j, 0.0]), "complex numbers"),
    "complex list": ([1j, 0.0], "complex numbers"),
    "NaN": ([0.3, np.nan], r"finite, got \S*nan\S* at index"),
    "infinity": ([np.inf, 0.0], "finite, got"),
    "beyond a double": (np.array([np.longdouble("1e4000"), 0]), "finite, got"),
    "masked": (np.ma.masked_array([0.3, 0.4], [False, True]), r"masked entries; pass .*filled"),
    "masked within": ([np.ma.masked, 0.1], "masked entries"),
    "bytes": (np.zeros(2, "V8"), "V8"),
    "record": (np.zeros(2, [("a", float)]), "an array of"),
    "dates": (np.zeros(2, "M8[s]"), "datetime64"),
    "texts": (["0.1", "0.2"], "got list"),
    "objects": (np.array([None, 1.0], object), "object"),
    "ragged": ([[0.1], [0.2, 0.3]], "got list"),
    "tensor": (_Tensor(), r"requires gradients; pass .*detach"),
    "tensors": ([_Tensor(), _Tensor()], r"requires gradients; pass .*detach"),
    "three numbers": ([0.1, 0.2, 0.3], r"shape|got an array of shape"),
    "one number": (0.1, "shape|state|must be"),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_no_array_of_finite_numbers_is_refused_in_a_sentence(entry, bad):
    value, words = BAD[bad]
    if entry in COMPLEX and bad in ("complex", "complex list"):
        return  # test_amplitudes_may_be_complex
    if entry == "loss weights" and bad == "one number":
        words = "shape"
    with pytest.raises(qpr.QupropError, match=words) as caught:
        ENTRIES[entry](value)
    assert "\n" not in str(caught.value)


SAME = {
    "list": [0.5, -1.0],
    "tuple": (0.5, -1.0),
    "single": np.array([0.5, -1.0], np.float32),
    "half": np.array([0.5, -1.0], np.float16),
    "extended": np.array([0.5, -1.0], np.longdouble),
    "strided": np.array([0.5, 9.0, -1.0, 9.0])[::2],
    "big-endian": np.array([0.5, -1.0], ">f8"),
    "read-only": np.broadcast_to(np.array([0.5, -1.0]), (2,)),
    "nothing masked": np.ma.masked_array([0.5, -1.0], [False, False]),
    "scalars": [np.float32(0.5), np.int8(-1)],
}


@pytest.mark.parametrize("form", SAME)
def test_numbers_in_any_form_are_the_same_numbers(form):
    value = SAME[form]
    array = checked("theta", value, (2,))
    assert array.dtype == float and array.flags.c_contiguous and type(array) is np.ndarray
    assert np.array_equal(array, [0.5, -1.0])
    assert np.array_equal(qpr.expectation(MODEL, value, ROW), qpr.expectation(MODEL, [0.5, -1.0], ROW))


def test_amplitudes_may_be_complex():
    assert np.allclose(qpr.state(qpr.Model(qpr.Circuit(1, state=[1j, 1]), "Z0"), []), [1j / 2**0.5, 1 / 2**0.5])
    assert np.allclose(Fidelity([3j, 4]).target, [0.6j, 0.8])


def test_whole_numbers_and_truth_values_are_numbers():
    for value in ([1, 0], np.array([True, False]), np.array([1, 0], np.uint8)):
        assert np.array_equal(checked("theta", value), [1.0, 0.0])


def test_a_checked_array_is_the_callers_own_where_it_can_be():
    array = np.array([1.0, 2.0])
    assert checked("theta", array) is array and plain("theta", array) is array


def test_shapes_name_lengths_and_free_axes():
    assert checked("x", np.zeros((4, 3, 2)), (..., 2)).shape == (4, 3, 2)
    assert checked("x", np.zeros((4, 2)), ("samples", 2)).shape == (4, 2)
    for value, shape, words in [
        (np.zeros(3), (..., 2), r"shape \(\.\.\., 2\), got \(3,\)"),
        (np.zeros(()), (..., 2), r"got \(\)"),
        (np.zeros((2, 2, 2)), ("samples", 2), r"shape \(samples, 2\), got \(2, 2, 2\)"),
        (np.zeros((1, 2)), (2,), r"shape \(2,\), got \(1, 2\)"),
    ]:
        with pytest.raises(qpr.QupropError, match=words):
            checked("x", value, shape)


def test_tensors_of_torch_that_require_gradients_are_refused():
    torch = pytest.importorskip("torch")
    theta = torch.tensor([0.3, 0.4], requires_grad=True)
    for value in (theta, list(theta), [theta[0], theta[1]]):
        with pytest.raises(qpr.QupropError, match=r"requires gradients; pass theta.detach\(\)"):
            qpr.expectation(ALONE, value)
    assert np.array_equal(qpr.expectation(ALONE, theta.detach()), qpr.expectation(ALONE, theta.detach().numpy()))


# An engine may be called without the public functions: its kernels read as many numbers as there should be.
_ONE = np.ones((1, 2))
ENGINE_CALLS = {
    "values theta": lambda e, v: e.values(MODEL, v, _ONE),
    "values x": lambda e, v: e.values(MODEL, _ONE, v),
    "vjp theta": lambda e, v: e.vjp(MODEL, v, _ONE),
    "vjp cotangent": lambda e, v: e.vjp(MODEL, _ONE, _ONE)[1](v),
    "value_and_grad theta": lambda e, v: e.value_and_grad(MODEL, v, _ONE, _ONE),
    "value_and_grad weights": lambda e, v: e.value_and_grad(MODEL, _ONE, _ONE, v),
    "hvp theta": lambda e, v: e.hvp(MODEL, v, _ONE, _ONE, _ONE, _ONE),
    "hvp cotangent": lambda e, v: e.hvp(MODEL, _ONE, _ONE, v, _ONE, _ONE),
    "hvp v_theta": lambda e, v: e.hvp(MODEL, _ONE, _ONE, _ONE, v, _ONE),
    "hvp v_x": lambda e, v: e.hvp(MODEL, _ONE, _ONE, _ONE, _ONE, v),
    "states": lambda e, v: e.states(MODEL, v, _ONE),
    "tangents theta": lambda e, v: e.tangents(MODEL, v, _ONE, _ONE),
    "tangents directions": lambda e, v: e.tangents(MODEL, _ONE, _ONE, v),
    "state_vjp theta": lambda e, v: e.state_vjp(MODEL, v, _ONE),
    "costates": lambda e, v: e.state_vjp(MODEL, _ONE, _ONE)[1](v),
}


@pytest.mark.parametrize("bad", [np.zeros((1, 0)), np.zeros((1, 1)), np.zeros(2), np.zeros((2, 3)), [[0.1, 0.2]]])
@pytest.mark.parametrize("call", ENGINE_CALLS)
def test_no_kernel_reads_rows_of_another_length(call, bad):
    with pytest.raises(qpr.QupropError, match="an engine takes"):
        ENGINE_CALLS[call](qpr.NativeEngine(), bad)
