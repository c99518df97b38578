"""What the PennyLane device returns and differentiates beside gates' angles: against default.qubit and closed forms."""

import copy
import inspect
import io
import pickle
import warnings

import numpy as np
import pytest

import quprop as qpr

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PennyLane and what it imports may warn about each other
    qml = pytest.importorskip("pennylane", minversion="0.45")
    from pennylane import numpy as pnp
    from scipy.sparse import csr_matrix

    from quprop.hybrid.pennylane import QupropDevice

pytestmark = pytest.mark.filterwarnings("default")  # of what PennyLane, Autograd and JAX say to each other
CLOSE = 1e-11
INTERFACES = ["autograd", "torch", "jax", "jit"]


@pytest.fixture
def jax_double():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", before)


@pytest.fixture(params=INTERFACES)
def interface(request):
    if request.param in ("jax", "jit"):
        request.getfixturevalue("jax_double")
    elif request.param == "torch":
        pytest.importorskip("torch")
    return request.param


def dense(circuit, **options):
    return qml.QNode(circuit, qml.device("default.qubit"), diff_method="backprop", **options)


def ours(circuit, wires=3, diff_method="best", **options):
    return qml.QNode(circuit, QupropDevice(wires), diff_method=diff_method, **options)


def jacobian(node, interface, *arguments):
    """The real Jacobian of a node with one result by each real argument."""
    if interface == "autograd":
        given = [pnp.array(a, requires_grad=True) for a in arguments]
        found = qml.jacobian(lambda *a: pnp.real(node(*a)), argnums=list(range(len(given))))(*given)
    elif interface == "torch":
        torch = pytest.importorskip("torch")
        given = tuple(torch.tensor(a, dtype=torch.float64) for a in arguments)
        found = torch.autograd.functional.jacobian(lambda *a: torch.real(node(*a)), given)
    else:
        jax = pytest.importorskip("jax")
        function = jax.jacrev(lambda *a: jax.numpy.real(node(*a)), argnums=tuple(range(len(arguments))))
        function = jax.jit(function) if interface == "jit" else function
        found = function(*(jax.numpy.array(a) for a in arguments))
    return [np.asarray(f) for f in found]


def differences(function, *arguments, step=1e-3):
    """The Jacobian of the real part by each argument, to O(step^4)."""
    out = []
    for k, argument in enumerate(arguments):
        columns = []
        for unit in np.eye(argument.size).reshape(-1, *argument.shape):

            def at(t, k=k, unit=unit):
                return np.real(function(*arguments[:k], arguments[k] + t * step * unit, *arguments[k + 1 :]))

            columns.append((8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step))
        columns = np.stack(columns, axis=-1)
        out.append(columns.reshape(columns.shape[:-1] + argument.shape))
    return out


def assert_is_dense(circuit, interface, *arguments, **options):
    """Values are those of PennyLane's own simulator, and whole Jacobians are their differences."""
    expected = differences(dense(circuit), *arguments)
    found = jacobian(ours(circuit, **options), interface, *arguments)
    for a, b in zip(found, expected, strict=True):
        assert np.abs(a - b).max() < 1e-10
    value = np.asarray(ours(circuit, **options)(*arguments))
    assert np.abs(value - np.asarray(dense(circuit)(*arguments))).max() < CLOSE


def prepare(x):
    qml.RY(x[0], 0)
    qml.IsingXX(x[1], [0, 1])
    qml.CRZ(x[2], [1, 2])
    qml.RX(0.3 + x[0], 2)
    qml.CNOT([2, 1])


NONLINEAR = {
    "purity": lambda: qml.purity([0]),
    "purity_of_two": lambda: qml.purity([2, 0]),
    "entropy": lambda: qml.vn_entropy([1]),
    "entropy_in_bits": lambda: qml.vn_entropy([0, 2], log_base=2),
    "mutual_information": lambda: qml.mutual_info([0], [1]),
    "density_matrix": lambda: qml.density_matrix([1, 0]),
    "state": lambda: qml.state(),
    "variance_of_a_sum": lambda: qml.var(qml.Z(0) @ qml.X(1) + 0.3 * qml.Y(2)),
    "probabilities_of_all_wires": lambda: qml.probs(),
    "probabilities_of_an_observable": lambda: qml.probs(op=qml.X(0) @ qml.Y(1)),
}


@pytest.mark.parametrize("name", NONLINEAR)
def test_results_from_states_have_the_derivative_of_their_differences(name, interface):
    def circuit(x):
        prepare(x)
        return NONLINEAR[name]()

    assert_is_dense(circuit, interface, np.array([0.4, 0.9, -1.3]))


def test_the_derivative_of_a_purity_and_of_an_entropy_are_their_closed_forms(interface):
    def purity(x):
        qml.RY(x, 0)
        qml.CNOT([0, 1])
        return qml.purity([0])

    def entropy(x):
        qml.IsingXX(x, [0, 1])
        return qml.vn_entropy(0)

    x = 0.6
    assert jacobian(ours(purity), interface, x)[0] == pytest.approx(-np.sin(x) * np.cos(x), abs=CLOSE)
    p = np.sin(x / 2) ** 2  # the entropy is -p log p - (1 - p) log(1 - p)
    assert jacobian(ours(entropy), interface, x)[0] == pytest.approx(0.5 * np.sin(x) * np.log((1 - p) / p), abs=CLOSE)


def test_shift_rules_of_a_purity_are_refused():
    def circuit(x):
        qml.RY(x, 0)
        qml.CNOT([0, 1])
        return qml.purity([0])

    for method in ("parameter-shift", "hadamard"):
        with pytest.raises(qpr.QupropError, match=r'square of expectation values.*diff_method="adjoint"') as caught:
            qml.grad(ours(circuit, diff_method=method))(pnp.array(0.6, requires_grad=True))
        assert "\n" not in str(caught.value)


def test_probabilities_of_all_wires_train_in_a_broadcast_torch_layer():
    torch = pytest.importorskip("torch")
    found = []
    for wires in (None, [0, 1]):
        for method in ("best", "adjoint"):

            def circuit(inputs, w, wires=wires):
                qml.AngleEmbedding(inputs, wires=range(2))
                qml.BasicEntanglerLayers(w, wires=range(2))
                return qml.probs(wires=wires)

            circuit.__signature__ = inspect.Signature(list(inspect.signature(circuit).parameters.values())[:2])
            torch.manual_seed(0)
            layer = qml.qnn.TorchLayer(ours(circuit, 2, method), {"w": (2, 2)})
            x = torch.rand(5, 2, requires_grad=True)
            (layer(x) ** 2).sum().backward()
            found.append(np.concatenate([layer.w.grad.numpy().ravel(), x.grad.numpy().ravel()]))
    for other in found[1:]:
        assert np.abs(other - found[0]).max() < 1e-6  # single precision


@pytest.mark.parametrize("wires", [None, ["b", "a"]])
def test_probabilities_of_all_wires_are_in_the_devices_order_or_else_the_circuits(wires):
    def circuit(x):
        qml.RX(x[0], "a")
        qml.RY(x[1], "b")
        return qml.probs()

    x = np.array([0.4, 1.3])
    of = {"a": [np.cos(x[0] / 2) ** 2, np.sin(x[0] / 2) ** 2], "b": [np.cos(x[1] / 2) ** 2, np.sin(x[1] / 2) ** 2]}
    node = ours(circuit, wires, "adjoint")
    first, second = wires or ["a", "b"]
    assert np.abs(node(x) - np.kron(of[first], of[second])).max() < CLOSE
    for found, expected in zip(jacobian(node, "autograd", x), differences(node, x), strict=True):
        assert np.abs(found - expected).max() < 1e-10


LENGTHS = np.array([0.5, 0.4, 0.3, 0.6])
PHASES = {"zero": np.zeros(4), "equal": np.full(4, 0.7), "general": np.array([0.0, 1.1, -0.4, 2.0])}


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", PHASES)
def test_the_phases_of_amplitudes_are_differentiated_where_they_are_zero_too(name, normalize, interface):
    lengths = LENGTHS / (1 if normalize else np.linalg.norm(LENGTHS))

    def circuit(phases):
        qml.StatePrep(
            qml.math.asarray(lengths, like=phases) * qml.math.exp(1j * phases), wires=[0, 1], normalize=normalize
        )
        return qml.expval(qml.Y(0) @ qml.Z(1) + 0.3 * qml.X(1))

    assert_is_dense(circuit, interface, PHASES[name])


def test_the_slope_along_a_phase_of_a_real_state_is_its_closed_form(interface):
    def circuit(t):
        qml.StatePrep(qml.math.stack([1.0 + 0j * t, qml.math.exp(1j * t)]) / np.sqrt(2), wires=0)
        return qml.expval(qml.Y(0))

    assert jacobian(ours(circuit), interface, 0.0)[0] == pytest.approx(1.0, abs=CLOSE)  # of sin t


def test_a_complex_state_that_is_not_trained_needs_no_derivative():
    s = pnp.array(np.array([0.5, 0.4, -0.3, 0.6]) * np.exp(1j * np.arange(4)), requires_grad=False)

    def circuit(s, t):
        qml.AmplitudeEmbedding(s, wires=[0, 1], normalize=True)
        qml.RY(t, 0)
        return qml.expval(qml.Z(0) @ qml.X(1))

    t = pnp.array(0.3, requires_grad=True)
    for method in ("best", "adjoint", "parameter-shift"):
        assert qml.grad(ours(circuit, diff_method=method))(s, t) == pytest.approx(0.6627873327658792, abs=CLOSE)


def test_amplitudes_are_differentiated_by_vectors(interface):
    def circuit(a):
        qml.AmplitudeEmbedding(a, normalize=True, wires=[2, 0])
        return qml.expval(qml.Z(2) @ qml.Z(0))

    found = jacobian(ours(circuit), interface, [0.4, 0.5, 0.1, 0.3])[0]
    expected = [1.59938485, -1.92233756, -0.38446751, 1.19953864]  # 2 a_i (z_i - <Z Z>) / |a|^2
    assert np.abs(found - expected).max() < 1e-8


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_amplitudes_that_are_not_normalised_give_the_forms_of_the_vector_itself(scale, interface):
    def circuit(s):
        qml.StatePrep(s, wires=[0, 1], validate_norm=False)
        return qml.expval(qml.Z(0) @ qml.X(1))

    s = scale * np.array([0.5, 0.4, -0.3, 0.6])
    # s (Z X) s = 2 s0 s1 - 2 s2 s3
    assert ours(circuit)(s) == pytest.approx(2 * s[0] * s[1] - 2 * s[2] * s[3], abs=CLOSE)
    expected = 2 * np.array([s[1], s[0], -s[3], -s[2]])
    assert np.abs(jacobian(ours(circuit), interface, s)[0] - expected).max() < CLOSE


def test_a_state_that_is_not_normalised_is_never_normalised_in_silence():
    def circuit():
        qml.StatePrep(np.array([1.0, 1.0, 0, 0]), wires=[0, 1], validate_norm=False)
        return qml.expval(qml.Z(0))

    assert ours(circuit)() == pytest.approx(2.0, abs=CLOSE)
    with pytest.raises(qpr.QupropError, match=r"normalised initial state, got norm 1\.414"):
        qml.set_shots(ours(circuit), 10)()


def test_a_sparse_state_is_its_dense_one():
    vector = np.array([[0.6, 0, 0, 0.8j]])

    def circuit(state):
        qml.StatePrep(state, wires=[0, 1])
        qml.RX(0.4, 1)
        return qml.expval(qml.Z(0)), qml.probs(wires=[1, 0]), qml.expval(qml.X(0) @ qml.Y(1))

    found, expected = ours(circuit)(csr_matrix(vector)), dense(circuit)(vector[0])
    assert found[0] == pytest.approx(-0.28, abs=CLOSE)
    for a, b in zip(found, expected, strict=True):
        assert np.abs(a - b).max() < CLOSE


COEFFICIENTS = {
    "hamiltonian": lambda c: qml.Hamiltonian(c, [qml.Z(0), qml.X(1), qml.Y(2) @ qml.Z(0)]),
    "products": lambda c: qml.prod(
        qml.sum(qml.s_prod(c[0], qml.X(0)), qml.s_prod(c[1], qml.Z(0))),
        qml.sum(qml.s_prod(c[2], qml.Z(1)), qml.s_prod(0.3, qml.Y(1))),
    ),
    "nested": lambda c: qml.sum(
        qml.s_prod(c[0], qml.sum(qml.s_prod(c[1], qml.Z(0)), qml.s_prod(c[2], qml.X(1)))),
        qml.s_prod(c[1] ** 2, qml.Z(2)),
    ),
    "equal_terms": lambda c: qml.Hamiltonian(c, [qml.Z(0), qml.Z(0), qml.X(1)]),
    "matrix": lambda c: qml.Hermitian(
        qml.math.reshape(qml.math.stack([c[0], c[1] * c[2], c[1] * c[2], -c[0]]), (2, 2)), 0
    ),
}


@pytest.mark.parametrize("kind", ["expval", "var"])
@pytest.mark.parametrize("name", COEFFICIENTS)
def test_numbers_of_an_observable_have_the_derivative_of_differences(name, kind, interface):
    def circuit(c, x):
        prepare(x)
        return getattr(qml, kind)(COEFFICIENTS[name](c))

    assert_is_dense(circuit, interface, np.array([0.3, -0.7, 1.2]), np.array([0.4, 0.9, -1.3]))


def test_a_coefficient_that_is_an_angle_too_has_both_derivatives(interface):
    def circuit(p):
        qml.RY(p[0], 0)
        qml.CNOT([0, 1])
        qml.RX(p[1], 1)
        return qml.expval(qml.Hamiltonian([p[0] ** 2, p[1]], [qml.Z(0) @ qml.Z(1), qml.X(0)]))

    p = np.array([0.4, 0.9])  # F = p0^2 cos p1
    expected = [2 * p[0] * np.cos(p[1]), -(p[0] ** 2) * np.sin(p[1])]
    for method in ("best", "adjoint", "parameter-shift"):
        found = jacobian(ours(circuit, diff_method=method), interface, p)[0]
        assert np.abs(found - expected).max() < CLOSE


def test_traced_observables_have_values_under_jit(jax_double):
    jax = jax_double

    def projector(s):
        qml.RY(0.4, 0)
        return qml.expval(qml.Projector(s, wires=0))

    def hermitian(m):
        qml.RY(0.4, 0)
        return qml.expval(qml.Hermitian(m, wires=0))

    def hamiltonian(c):
        qml.RY(0.4, 0)
        return qml.expval(qml.Hamiltonian(c, [qml.Z(0), qml.X(0)]))

    for circuit, argument, expected in (
        (projector, [0], np.cos(0.2) ** 2),
        (hermitian, [[1.0, 0.5], [0.5, -1.0]], np.cos(0.4) + 0.5 * np.sin(0.4)),
        (hamiltonian, [0.3, 0.5], 0.3 * np.cos(0.4) + 0.5 * np.sin(0.4)),
    ):
        assert jax.jit(ours(circuit))(jax.numpy.array(argument)) == pytest.approx(expected, abs=CLOSE)


def test_an_observable_whose_numbers_changed_in_place_gives_the_new_value():
    matrix, scalar, state = np.diag([1.0, -1.0]), np.array(1.0), np.array([1.0, 0.0])
    sparse = csr_matrix(np.diag([1.0, -1.0]))
    weights = np.ones(20)
    terms = [qml.Z(0) if k % 2 else qml.X(0) @ qml.Z(1) for k in range(20)]
    with qml.QueuingManager.stop_recording():
        observables = {
            "hermitian": qml.Hermitian(matrix, 0),
            "scaled": qml.s_prod(scalar, qml.Z(0)),
            "product": qml.Hermitian(matrix, 0) @ qml.Z(1),
            "projector": qml.Projector(state, [0]),
            "sparse": qml.SparseHamiltonian(sparse, wires=[0]),
            "many_terms": qml.dot(weights, terms),
        }

    def values(device):
        def circuit(obs):
            qml.RY(0.4, 0)
            return qml.expval(obs)

        return {name: float(qml.QNode(lambda o=o: circuit(o), device)()) for name, o in observables.items()}

    device, reference = QupropDevice(2), qml.device("default.qubit", wires=2)
    first = values(device)
    assert first == pytest.approx(values(reference), abs=CLOSE)
    matrix[0, 0], sparse.data[0] = 3.0, 3.0
    scalar[...] = 5.0
    state[:] = [0.6, 0.8]
    second = values(device)
    assert second == pytest.approx(values(reference), abs=CLOSE)
    assert second["hermitian"] == pytest.approx(1 + 2 * np.cos(0.4), abs=CLOSE)


@pytest.mark.parametrize("again", [lambda layer: pickle.loads(pickle.dumps(layer)), copy.deepcopy, "saved"])
def test_a_layer_is_copied_after_a_step_as_before_it(again):
    torch = pytest.importorskip("torch")
    layer = qml.qnn.TorchLayer(qml.QNode(_layer, QupropDevice(2, seed=3)), {"w": (2, 2)})
    x = torch.rand(3, 2)
    layer(x).sum().backward()
    if again == "saved":
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        found = torch.load(file, weights_only=False)
    else:
        found = again(layer)
    assert torch.equal(found(x), layer(x))
    found(x).sum().backward()


def _layer(inputs, w):
    qml.AngleEmbedding(inputs, wires=range(2))
    qml.BasicEntanglerLayers(w, wires=range(2))
    return [qml.expval(qml.Z(i)) for i in range(2)]


def leaves(result):
    jax = pytest.importorskip("jax")
    return [np.asarray(leaf) for leaf in jax.tree_util.tree_leaves(result)]


def rotated(w, x):
    qml.RX(w[0] * x[0], 0)
    qml.RY(w[1] + x[1], 1)
    qml.CNOT([0, 1])
    qml.RX(w[2], 1)


MAPPED = {
    "one_value": lambda w, x: qml.expval(qml.Z(1) @ qml.X(0) + 0.3 * qml.Z(0)),
    "distribution": lambda w, x: qml.probs(wires=[1, 0]),
    "two_results": lambda w, x: [qml.expval(qml.Z(0)), qml.probs(wires=[1])],
    "coefficients": lambda w, x: qml.expval(qml.Hamiltonian([w[0] * x[1], w[2]], [qml.Z(0), qml.Y(1)])),
}
SLOWLY_MAPPED = ("one_value", "distribution", "two_results")
MAPS = {
    "vmap": lambda jax, q: jax.vmap(q, (None, 0)),
    "vmap_jacobian": lambda jax, q: jax.vmap(jax.jacrev(q, (0, 1)), (None, 0)),
    "jacobian_vmap": lambda jax, q: jax.jacrev(jax.vmap(q, (None, 0)), (0, 1)),
    "mixed_samples": lambda jax, q: jax.jacrev(
        lambda w, xs: [jax.numpy.cumsum(r, 0) for r in jax.tree_util.tree_leaves(jax.vmap(q, (None, 0))(w, xs))], (0, 1)
    ),
}


@pytest.mark.parametrize("samples", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("transformation", MAPS)
@pytest.mark.parametrize("name", ["coefficients", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOWLY_MAPPED)])
def test_a_mapped_derivative_is_right_or_refused(name, transformation, samples, jax_double):
    jax = jax_double

    def circuit(w, x):
        rotated(w, x)
        return MAPPED[name](w, x)

    w = jax.numpy.array([0.4, -0.7, 1.1])
    xs = jax.numpy.array(np.random.default_rng(samples).uniform(0.3, 1.2, (samples, 2)))
    expected = leaves(MAPS[transformation](jax, dense(circuit))(w, xs))
    for options in ({}, {"diff_method": "adjoint", "device_vjp": True}):
        try:
            found = leaves(MAPS[transformation](jax, ours(circuit, **options))(w, xs))
        except Exception as error:
            assert options and transformation in ("mixed_samples", "vmap_jacobian"), error
            assert "cannot be told apart" in str(error)
            continue
        for a, b in zip(found, expected, strict=True):
            assert a.shape == b.shape and np.abs(a - b).max() < CLOSE


def test_what_jax_vmap_does_not_tell_is_refused_in_a_sentence(jax_double):
    jax, node = jax_double, ours(lambda w, x: (rotated(w, x), qml.expval(qml.Z(1)))[1], device_vjp=True)
    w, xs = jax.numpy.array([0.4, -0.7, 1.1]), jax.numpy.array([[0.3, 0.4], [0.5, 0.9]])
    running = jax.jacrev(lambda w: jax.numpy.cumsum(jax.vmap(node, (None, 0))(w, xs)))
    with pytest.raises(Exception, match=r"2 samples cannot be told apart here.*use jax.lax.map"):
        running(w)
    with pytest.raises(Exception, match=r"jax\.vmap inside of another is not taken here"):
        jax.vmap(jax.vmap(node, (None, 0)), (None, 0))(w, jax.numpy.stack([xs, xs]))
    found = jax.lax.map(lambda x: jax.grad(node)(w, x), xs)
    expected = np.stack([jax.grad(dense(node.func))(w, x) for x in xs])
    assert np.abs(found - expected).max() < CLOSE


def test_a_number_of_single_precision_has_a_jacobian_beside_doubles(jax_double):
    jax = jax_double
    node = ours(lambda x: (qml.RX(x, 0), qml.probs(wires=0))[1])
    for x in (jax.numpy.float32(0.3), jax.numpy.float64(0.3)):
        for function in (jax.jacrev(node), jax.jit(jax.jacrev(node))):
            assert np.abs(function(x) - np.array([-1, 1]) * 0.5 * np.sin(0.3)).max() < 1e-7


@pytest.mark.parametrize("measure", [qml.expval, qml.var])
@pytest.mark.parametrize(
    "make, numbers",
    [
        (qml.Projector, [0, 1]),
        (qml.Hermitian, [[1, 2], [2, -1]]),
        (lambda c, wires: qml.dot(c, [qml.X(wires), qml.Z(wires)]), [1, 2]),
    ],
    ids=["Projector", "Hermitian", "sum"],
)
def test_whole_numbers_of_an_observable_are_numbers(make, numbers, measure):
    found = []
    for name in ("quprop", "default.qubit"):

        @qml.qnode(qml.device(name, wires=2))
        def circuit(x, a):
            qml.RY(x, 0)
            qml.CNOT([0, 1])
            return measure(make(a, wires=0))

        x, a = pnp.array(0.4), pnp.array(numbers)
        found.append((circuit(x, a), qml.grad(circuit, argnums=0)(x, a)))
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=CLOSE)


def test_a_fourth_order_trotter_circuit_has_pennylanes_published_gradient(interface):
    """The numbers of PennyLane's pull request 6432, by time and by coefficients."""

    def circuit(time, coefficients):
        h = qml.dot([coefficients[k] for k in range(3)], [qml.X(0), qml.Y(0), qml.Z(1)])
        qml.TrotterProduct(h, time, n=10, order=4)
        return qml.expval(qml.Hadamard(0))

    by_time, by_coefficients = jacobian(ours(circuit, 2), interface, np.array(4.2), np.full(3, 2.0))
    assert by_time == pytest.approx(3.27988133, abs=1e-8)
    assert by_coefficients == pytest.approx([3.31863668, 3.56911412, 0.0], abs=1e-8)


MEETING = {
    "maximally_entangled": [np.pi / 2, 0.0, 0.0],
    "product": [0.0, 0.3, 0.7],
    "all_zero": [0.0, 0.0, 0.0],
}


@pytest.mark.parametrize("name", MEETING)
@pytest.mark.parametrize("result", ["purity", "entropy", "mutual_information"])
def test_entropies_have_their_derivative_where_eigenvalues_meet_or_vanish(name, result, interface):
    def circuit(x):
        qml.RY(x[0], 0)
        qml.CNOT([0, 1])
        qml.RZ(x[1], 1)
        qml.RX(x[2], 0)
        return {
            "purity": lambda: qml.purity([0]),
            "entropy": lambda: qml.vn_entropy([0]),
            "mutual_information": lambda: qml.mutual_info([0], [1]),
        }[result]()

    x = np.array(MEETING[name])
    s, c = np.sin(x[0] / 2) ** 2, np.cos(x[0] / 2) ** 2
    slope = 0.5 * np.sin(x[0]) * (np.log(c / s) if s > 0 else 0.0)  # of the entropy of (s, c)
    expected = {"purity": -np.sin(2 * x[0]) / 2, "entropy": slope, "mutual_information": 2 * slope}[result]
    found = jacobian(ours(circuit, 2, "adjoint"), interface, x)[0]
    assert np.abs(found - [expected, 0.0, 0.0]).max() < CLOSE
