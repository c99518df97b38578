"""The ways to a gradient that go through other libraries or languages, added to `gradient_ways.WAYS`.

Programs are written for each library from their plain data, so that what is read is not what quprop wrote itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from gradient_ways import DOUBLE, _samples, near, way
from random_programs import INPUT, PARAM, Case, Exact, Program, pick, polynomial

import quprop as qpr

TINY = 1e-150  # coefficients below are nothing to Qiskit's parameter expressions
SIMPLE = ("zero", "bits", "index", "product")


def _views(program: Program, theta: Any, x: Any) -> dict[str, Any]:
    """Every vector's entries, `views[name][i]`, as parts of theta (..., P) and x (..., D); leading axes come last."""
    out, starts = {}, [0, 0]
    for name, kind, size in program.vectors:
        array, start = (x if kind else theta), starts[kind]
        out[name] = [array[..., start + i] for i in range(size)]
        starts[kind] += size
    return out


def _columns(program: Program, vectors: dict[str, tuple[int, int]]) -> list[np.ndarray]:
    """For params and inputs: where the entries of these vectors lie in the program's theta and x."""
    starts = program.places()
    found: list[list[int]] = [[], []]
    for name, (kind, size) in vectors.items():
        found[kind] += range(starts[name] - kind * program.n_params, starts[name] - kind * program.n_params + size)
    return [np.array(f, int) for f in found]


def check_circuit(case: Case, circuit: qpr.Circuit, tiny: float = 0.0) -> None:
    """Values and gradients of a circuit whose vectors are the program's, in an order of its own, or some of them."""
    p, w = case.program, case.single
    columns = _columns(p, circuit.vectors)
    model = qpr.Model(circuit, list(p.observables))
    for (theta, x, _), e in list(zip(case.rows, case.exact, strict=True))[:2]:
        values, pullback = qpr.vjp(model, theta[columns[PARAM]], x[columns[INPUT]] if model.n_inputs else None)
        near("values", values, e.values, DOUBLE * e.value_bound(np.eye(len(w))))
        for kind, found in enumerate(pullback(w)):
            at = columns[kind] + kind * p.n_params
            near(f"gradient {kind}", found, (w @ e.jacobian)[at], DOUBLE * e.gradient_bound(w)[at] + tiny)
        left = np.ones(p.n_params + p.n_inputs, bool)
        left[np.concatenate([columns[PARAM], columns[INPUT] + p.n_params])] = False
        near("what is left out", (w @ e.jacobian)[left], np.zeros(left.sum()),
             DOUBLE * e.gradient_bound(w)[left] + tiny)  # fmt: skip


# OpenQASM -------------------------------------------------------------------------------------------------------------


@way("openqasm3", "antlr4", states=SIMPLE)
def qasm_3(case: Case) -> None:
    check_circuit(case, qpr.from_qasm(qpr.to_qasm(case.circuit, arrays=case.seed % 2 == 0)))


@way("openqasm3", "antlr4", states=SIMPLE)
def qasm_2(case: Case) -> None:
    theta, x, _ = case.rows[0]
    back = qpr.from_qasm(qpr.to_qasm(case.circuit, 2, theta=theta, x=x))
    e = case.exact[0]
    found = qpr.expectation(qpr.Model(back, list(case.program.observables)), np.zeros(0))
    near("values", found, e.values, DOUBLE * e.value_bound(np.eye(len(e.values))))


# PyTorch --------------------------------------------------------------------------------------------------------------


@way("torch")
def torch_layer(case: Case) -> None:
    import torch

    from quprop.hybrid.torch import QuantumLayer, expectation

    p, P = case.program, case.program.n_params
    theta, x, exact = _samples(case)
    w = case.single
    layer = QuantumLayer(case.model, theta, dtype=torch.float64)
    inputs = None if x is None else torch.tensor(x, requires_grad=True)
    out = layer(inputs)
    at = slice(None) if x is not None else 0
    near("outputs", out.detach().numpy(), np.array([e.values for e in exact])[at],
         np.array([DOUBLE * e.value_bound(np.eye(len(w))) for e in exact])[at])  # fmt: skip
    out.backward(torch.tensor(np.broadcast_to(w, out.shape).copy()))
    bounds = np.array([DOUBLE * e.gradient_bound(w) for e in exact])
    rows = np.array([w @ e.jacobian for e in exact])
    near("weights.grad", layer.weights.grad.numpy(), rows[:, :P].sum(axis=0), bounds[:, :P].sum(axis=0))
    if x is not None:
        near("input.grad", inputs.grad.numpy(), rows[:, P:], bounds[:, P:])
    # A gradient that is differentiated again along v, and by the weights of the observables.
    t = torch.tensor(case.theta, requires_grad=True)
    arguments = (t, torch.tensor(case.x, requires_grad=True)) if p.n_inputs else (t,)
    weights = torch.tensor(np.broadcast_to(case.weights, (*case.shape, len(w))).copy(), requires_grad=True)
    first = torch.autograd.grad((expectation(case.model, *arguments) * weights).sum(), arguments, create_graph=True)
    directions = (case.v_theta, case.v_x)[: len(arguments)]
    spread = [np.broadcast_to(a, (*case.shape, a.shape[-1])) for a in (case.theta, case.x)[: len(arguments)]]
    if any(s.shape != tuple(a.shape) for s, a in zip(spread, arguments, strict=True)):
        return  # one theta for many samples has one direction
    total = sum((g * torch.tensor(v)).sum() for g, v in zip(first, directions, strict=True))
    second = torch.autograd.grad(total, (*arguments, weights), allow_unused=True)
    pairs = [(e, w) for e, (_, _, w) in zip(case.exact, case.rows, strict=True)]
    hessian = case.gather([w @ e.hessian_v for e, w in pairs])
    bound = case.gather([DOUBLE * e.hessian_bound(w) for e, w in pairs])
    near("h_theta", second[0].numpy(), hessian[..., :P], bound[..., :P])
    if p.n_inputs:
        near("h_x", second[1].numpy(), hessian[..., P:], bound[..., P:])
    along = case.gather([e.jacobian @ e.v for e, _ in pairs])
    sizes = case.gather([e.gradient_bound(np.eye(len(w))) @ np.abs(e.v) for e, w in pairs])
    near("along v", second[-1].numpy(), along, DOUBLE * sizes)


# JAX ------------------------------------------------------------------------------------------------------------------


@way("jax")
def jax_function(case: Case) -> None:
    import jax

    p, P, rng = case.program, case.program.n_params, np.random.default_rng([case.seed, 7])
    theta, x, exact = _samples(case)
    w = case.single
    with jax.enable_x64(True):
        f = qpr.hybrid.jax.function(case.model)

        def loss(*arguments: Any) -> Any:
            return (f(*arguments) * w).sum()

        arguments = (theta,) if x is None else (theta, x)
        places = tuple(range(len(arguments)))
        one = jax.value_and_grad(loss, argnums=places)
        how = pick(rng, ["plain", "jit", "vmap", "jit vmap"])
        wrapped = jax.vmap(one, in_axes=(None, 0)[: len(arguments)]) if "vmap" in how and x is not None else one
        wrapped = jax.jit(wrapped) if "jit" in how else wrapped
        value, gradient = wrapped(*arguments)
        rows, bounds = np.array([w @ e.jacobian for e in exact]), [DOUBLE * e.gradient_bound(w) for e in exact]
        d_theta, bound = rows[:, :P], np.array(bounds)
        values = np.array([w @ e.values for e in exact])
        value_bound = np.array([DOUBLE * e.value_bound(w) for e in exact])
        if x is None or "vmap" not in how:
            d_theta, values, value_bound = d_theta.sum(axis=0), values.sum(), value_bound.sum()
            near("d_theta", gradient[0], d_theta, bound[:, :P].sum(axis=0))
        else:
            near("d_theta", gradient[0], d_theta, bound[:, :P])
        near("value", value, values, value_bound)
        if x is not None:
            near("d_x", gradient[1], rows[:, P:], bound[:, P:])
        v = (exact[0].v[:P],) if x is None else (exact[0].v[:P], np.zeros_like(x))
        if p.n_params:
            _, (turned, *_) = jax.jvp(lambda *a: jax.grad(loss, argnums=places)(*a), arguments, v)
            second = np.sum([w @ e.hessian_v for e in exact], axis=0)[:P]
            near("h_theta", turned, second, np.sum([DOUBLE * e.hessian_bound(w) for e in exact], axis=0)[:P])


# PennyLane ------------------------------------------------------------------------------------------------------------

_NAMES = {
    "rx": "RX", "ry": "RY", "rz": "RZ", "p": "PhaseShift", "u": "U3", "rxx": "IsingXX", "ryy": "IsingYY",
    "rzz": "IsingZZ", "crx": "CRX", "cry": "CRY", "crz": "CRZ", "cp": "ControlledPhaseShift", "x": "PauliX",
    "y": "PauliY", "z": "PauliZ", "h": "Hadamard", "s": "S", "t": "T", "sx": "SX", "cx": "CNOT", "cy": "CY", "cz": "CZ",
    "swap": "SWAP", "iswap": "ISWAP", "ecr": "ECR", "ccx": "Toffoli", "ccz": "CCZ",
}  # fmt: skip


def _queue(program: Program, theta: Any, x: Any) -> list[Any]:
    """The program in PennyLane's own gates on wires 0, 1, ..., and its observables' expectation values."""
    import pennylane as qml

    n, views = program.n, _views(program, theta, x)
    kind, data = program.state
    if kind in ("bits", "index"):
        bits = [int(b) for b in data] if kind == "bits" else [data >> q & 1 for q in range(n)]
        qml.BasisState(np.array(bits), wires=range(n))
    elif kind == "encoded":
        start = program.places()[data] - program.n_params
        qml.AmplitudeEmbedding(x[..., start : start + 2**n], wires=range(n)[::-1], normalize=True)
    elif kind != "zero":
        qml.StatePrep(Exact(program._replace(gates=()), *_zeros(program)).psi, wires=range(n)[::-1])
    for name, target, angles in program.gates:
        a = [polynomial(angle, views) for angle in angles]
        if name == "rotation":
            qml.PauliRot(a[0], target, wires=range(n))
        elif name == "exp":
            for text, c in target:
                qml.PauliRot(c * a[0], text, wires=range(n))
        elif name == "rzx":
            qml.PauliRot(a[0], "ZX", wires=target)
        elif name in ("sdg", "tdg", "sxdg"):
            qml.adjoint(getattr(qml, _NAMES[name[:-2]])(wires=target[0]))
        else:
            getattr(qml, _NAMES[name])(*a, wires=target)
    found = []
    for o in program.observables:
        words = [qml.pauli.string_to_pauli_word(text, {q: q for q in range(n)}) for text in o]
        found.append(qml.expval(qml.Hamiltonian(list(o.values()), words)))
    return found


def _zeros(program: Program) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(program.n_params), np.zeros(program.n_inputs)


def _pennylane(interface: str) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what PennyLane and the interfaces say of one another
            _check_pennylane(case, interface)

    check.__name__ = f"pennylane_{interface.replace('-', '_')}"
    return check


def _check_pennylane(case: Case, interface: str) -> None:
    import pennylane as qml

    from quprop.hybrid.pennylane import QupropDevice

    p, P, rng = case.program, case.program.n_params, np.random.default_rng([case.seed, 8])
    theta, x, exact = _samples(case)
    read = {name for gate in p.gates for angle in gate.angles for _, factors in angle for name, _ in factors}
    read |= {p.state[1]} if p.state[0] == "encoded" else set()
    w, batched = case.single, any(k == INPUT and name in read for name, k, _ in p.vectors) and rng.random() < 0.5
    w = w / (np.abs(w).max() or 1.0)  # PennyLane takes cotangents below 1e-8 for zero
    if not batched:
        x, exact = (None if x is None else x[0]), exact[:1]
    options = pick(rng, [{}, {"device_vjp": True}, {"diff_method": "parameter-shift"}])
    options = {"diff_method": "adjoint", **options}
    if options["diff_method"] == "parameter-shift" and (p.state[0] == "encoded" or batched):  # which it cannot do
        options = {"diff_method": "adjoint"}
    node = qml.QNode(lambda t, s: _queue(p, t, s), QupropDevice(p.n), interface=interface, **options)
    x = np.zeros(0) if x is None else x
    value, gradients = _differentiate(interface, node, theta, x, w)
    near("value", value, sum(w @ e.values for e in exact), DOUBLE * sum(e.value_bound(w) for e in exact))
    rows, bounds = np.array([w @ e.jacobian for e in exact]), np.array([DOUBLE * e.gradient_bound(w) for e in exact])
    near("d_theta", gradients[0], rows[:, :P].sum(axis=0), 4 * bounds[:, :P].sum(axis=0))
    if p.n_inputs:
        by_x = rows[:, P:] if batched else rows[0, P:]
        near("d_x", gradients[1], by_x, 4 * (bounds[:, P:] if batched else bounds[0, P:]))


def _differentiate(interface: str, node: Any, theta: np.ndarray, x: np.ndarray, w: np.ndarray) -> tuple[Any, list[Any]]:
    """sum over observables and samples of w_k <O_k>, and its gradients by theta and x."""
    if interface == "autograd":
        import pennylane as qml
        from pennylane import numpy as pnp

        def loss(t: Any, s: Any) -> Any:
            return sum(c * pnp.sum(r) for c, r in zip(w, node(t, s), strict=True))

        arguments = [pnp.array(a, requires_grad=True) for a in (theta, x)]
        return loss(*arguments), list(qml.grad(loss)(*arguments))
    if interface == "torch":
        import torch

        t, s = (torch.tensor(a, requires_grad=True) for a in (theta, x))
        total = sum(c * r.sum() for c, r in zip(w, node(t, s), strict=True))
        if total.requires_grad:
            total.backward()
        none = [np.zeros(a.shape) if a.grad is None else a.grad.numpy() for a in (t, s)]
        return total.detach().numpy(), none
    import jax

    with jax.enable_x64(True):
        f = jax.value_and_grad(
            lambda t, s: sum(c * r.sum() for c, r in zip(w, node(t, s), strict=True)), argnums=(0, 1)
        )
        value, gradients = (jax.jit(f) if interface == "jax-jit" else f)(jax.numpy.asarray(theta), jax.numpy.asarray(x))
        return np.asarray(value), [np.asarray(g) for g in gradients]


for _interface, _library in (("autograd", "autograd"), ("torch", "torch"), ("jax", "jax"), ("jax-jit", "jax")):
    way("pennylane", _library, most=10, qubits=4)(_pennylane(_interface))


@way("pennylane", most=10, qubits=4)
def pennylane_read(case: Case) -> None:
    """`from_pennylane` of a quantum function of theta and x."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        e, (theta, x, w) = case.exact[0], case.rows[0]
        p, P = case.program, case.program.n_params
        if p.n_inputs:
            model = qpr.from_pennylane(lambda theta, x: _queue(p, theta, x), theta, x)
        else:
            model = qpr.from_pennylane(lambda theta: _queue(p, theta, np.zeros(0)), theta)
        values, pullback = qpr.vjp(model, theta, x if p.n_inputs else None)
        # Coefficients of angles are read off from values, to a relative 1e-9 or so.
        near("values", values, e.values, 1e-8 * (1 + e.turned) * e.sizes)
        bound = 1e-8 / DOUBLE / e.roundings * (1 + e.turned) * DOUBLE * e.gradient_bound(w)
        found = np.concatenate(pullback(w))
        near("gradient", found, w @ e.jacobian, bound + 1e-8 * np.abs(w) @ e.sizes * (P + p.n_inputs))


# Qiskit ---------------------------------------------------------------------------------------------------------------


def _qiskit(program: Program) -> Any:
    """The program as a QuantumCircuit, in Qiskit's own gates."""
    from qiskit import QuantumCircuit
    from qiskit.circuit import ParameterVector
    from qiskit.circuit.library import PauliEvolutionGate
    from qiskit.quantum_info import SparsePauliOp

    n = program.n
    views = {name: ParameterVector(name, size) for name, _, size in program.vectors}
    qc = QuantumCircuit(n)
    kind, data = program.state
    if kind in ("bits", "index"):
        for q in range(n):
            if (data[q] == "1") if kind == "bits" else data >> q & 1:
                qc.x(q)
    elif kind != "zero":
        for q, row in enumerate(data):
            qc.prepare_state(row / np.linalg.norm(row), q)
    for name, target, angles in program.gates:
        a = [polynomial(angle, views) for angle in angles]
        if name in ("rotation", "exp"):
            terms = [(target, 1.0)] if name == "rotation" else list(target)
            strings = SparsePauliOp([text[::-1] for text, _ in terms], [c for _, c in terms])
            qc.append(PauliEvolutionGate(strings, time=a[0] / 2), range(n))
        else:
            getattr(qc, name)(*a, *target)
    return qc


def _operators(program: Program) -> list[Any]:
    from qiskit.quantum_info import SparsePauliOp

    return [SparsePauliOp([text[::-1] for text in o], list(o.values())) for o in program.observables]


@way("qiskit", states=SIMPLE)
def qiskit_read(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        qc = _qiskit(case.program)
        names = [name for name, kind, _ in case.program.vectors if kind == INPUT]
        used = {parameter.vector.name for parameter in qc.parameters}
        check_circuit(case, qpr.from_qiskit(qc, inputs=[name for name in names if name in used]), TINY)
        back = qpr.from_qiskit(qpr.to_qiskit(case.circuit))
        assert set(back.vectors) <= set(case.circuit.vectors)
        check_circuit(case, back, TINY)


@way("qiskit", "qiskit_machine_learning", states=SIMPLE, most=10, qubits=4)
def qiskit_network(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from qiskit_machine_learning.neural_networks import EstimatorQNN

        from quprop.hybrid.qiskit_gradient import QupropGradient
        from quprop.hybrid.qiskit_primitives import QupropEstimator

        p, P, qc = case.program, case.program.n_params, _qiskit(case.program)
        theta, x, exact = _samples(case)
        if any(abs(c) < 1e-7 for o in p.observables for c in o.values()):
            return  # Qiskit drops coefficients below 1e-8, and refuses an observable that is then empty
        starts = p.places()
        kinds = {name: kind for name, kind, _ in p.vectors}
        chosen = [[q for q in qc.parameters if kinds[q.vector.name] == k] for k in (PARAM, INPUT)]
        at = [np.array([starts[q.vector.name] + q.index for q in c], int) for c in chosen]
        network = EstimatorQNN(
            circuit=qc,
            estimator=QupropEstimator(),
            observables=_operators(p),
            input_params=chosen[INPUT],
            weight_params=chosen[PARAM],
            input_gradients=True,
            gradient=QupropGradient(),
            default_precision=0.0,
        )
        xs = np.zeros((1, 0)) if x is None else x
        w = theta[at[PARAM]]
        forward = network.forward(xs[:, at[INPUT] - P], w)
        eye = np.eye(len(p.observables))
        bound = np.array([DOUBLE * e.value_bound(eye) for e in exact])
        near("forward", forward, np.array([e.values for e in exact])[: len(forward)], bound[: len(forward)])
        for k, found in zip((INPUT, PARAM), network.backward(xs[:, at[INPUT] - P], w), strict=True):
            if found is None or not len(at[k]):
                continue
            expected = np.array([e.jacobian[:, at[k]] for e in exact])[: len(found)]
            slopes = np.array([DOUBLE * e.gradient_bound(eye)[:, at[k]] for e in exact])[: len(found)]
            near(f"backward {k}", found, expected, slopes + TINY)
