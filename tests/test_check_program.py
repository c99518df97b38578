"""Checks and readings of k copies as circuits: their outcomes and what they leave are the exact engine's."""

import doctest
import itertools
import json
import math
import re

import numpy as np
import pytest

import quprop as qpr
from quprop import PauliString, QupropError
from quprop.collective.engines.symmetric import SymmetricEngine
from quprop.collective.event import Event
from quprop.gradients.sweeps.gentle_sweep import GentlePlan
from quprop.gradients.sweeps.pair_copies import PairCircuit, PairDevice
from quprop.gradients.sweeps.quantum_backprop import QuantumBackpropPlan

T = qpr.params("theta", 3)
X = qpr.inputs("x", 1)
ONE = qpr.Model(qpr.Circuit(1, np.array([[0.8, 0.6j]])).ry(T[0], 0).rz(0.4, 0).rx(T[1] + T[2], 0), "-1.7*Z0")
TWO = qpr.Model(
    qpr.Circuit(2, "01").h(0).ry(T[0], 0).rx(X[0], 1).rzz(T[1], 0, 1).s(1).cx(0, 1).ry(2 * T[2], 1), "0.5*Z0 Y1"
)
SUM = qpr.Model(qpr.Circuit(1).ry(T[0], 0).rx(T[1], 0).rz(T[2], 0), "0.7*Z0 - 0.4*X0")
THETA = np.array([0.7, -1.1, 0.5])
REVERSED = pytest.mark.parametrize("reverse", [False, True])


def plan_of(model, method=None):
    return (method or qpr.QuantumBackprop(max_error=0.5)).compile(model)


def at(model):
    return THETA, [0.3] * model.n_inputs


# A circuit's JSON, run on sparse vectors ------------------------------------------------------------------------------


def moved(keys, amplitudes, x, z, phase=1.0):
    """P|v> of the string with these masks, times `phase`; Y = i X Z."""
    signs = 1 - 2 * (np.bitwise_count(keys & z) & 1).astype(float)
    return keys ^ x, amplitudes * signs * (phase * 1j ** (x & z).bit_count())


def added(*parts):
    keys, where = np.unique(np.concatenate([k for k, _ in parts]), return_inverse=True)
    amplitudes = np.zeros(len(keys), complex)
    np.add.at(amplitudes, where, np.concatenate([a for _, a in parts]))
    keep = np.abs(amplitudes) > 1e-15
    return keys[keep], amplitudes[keep]


def turned(state, x, z, angle):
    """exp(-i angle P/2)."""
    return added((state[0], state[1] * math.cos(angle / 2)), moved(*state, x, z, -1j * math.sin(angle / 2)))


def gated(state, step, values):
    keys, a = state
    angle = step.get("angle")
    angle = values[angle["entry"]] if isinstance(angle, dict) else angle
    name = step["gate"]
    if name == "rotation":
        string = PauliString.parse(step["pauli"])
        return turned(state, string.x, string.z, angle)
    bits = [1 << q for q in step["qubits"]]
    last = bits[-1]
    if name in ("x", "cx", "ccx"):
        need = sum(bits[:-1])
        return np.where(keys & need == need, keys ^ last, keys), a
    if name in ("z", "cz", "s", "sdg"):
        turn = {"z": -1, "cz": -1, "s": 1j, "sdg": -1j}[name]
        return keys, np.where(keys & sum(bits) == sum(bits), turn * a, a)
    if name == "cy":
        flipped = np.where(keys & bits[0] != 0, keys ^ last, keys)
        return flipped, np.where(keys & bits[0] != 0, np.where(keys & last != 0, -1j * a, 1j * a), a)
    if name == "h":
        half = math.sqrt(0.5)
        return added(moved(keys, a, last, 0, half), moved(keys, a, 0, last, half))
    return turned(state, *{"rx": (last, 0), "ry": (last, last), "rz": (0, last)}[name], angle)


def run(program, rng):
    """{values of the reads: (keys, amplitudes)}, not normalised. Bits of carries are drawn: they mean nothing."""
    data = json.loads(program.to("json"))
    assert data["format"] == "quprop-copies" and data["angle"] == program.values.tolist()
    states = [((np.zeros(1, np.int64), np.ones(1, complex)), {})]
    for step in data["steps"]:
        after = []
        for state, known in states:
            if "gate" in step:
                after.append((gated(state, step, data["angle"]), known))
            elif "when" in step:
                if all(known[bit] == value for bit, value in step["when"].items()):
                    for inner in step["do"]:
                        state = gated(state, inner, data["angle"])
                after.append((state, known))
            else:
                keys, a = state
                ones = (keys >> step["measure"] & 1).astype(bool)
                if step["bit"] in data["reads"]:
                    parts = [((keys[m], a[m]), {**known, step["bit"]: v}) for v, m in ((0, ~ones), (1, ones))]
                    after += [p for p in parts if len(p[0][0])]
                    continue
                share = np.linalg.norm(a[ones]) ** 2 / np.linalg.norm(a) ** 2
                assert share == pytest.approx(0.5, abs=1e-9)  # so nothing is learned
                one = int(rng.random() < 0.5)
                mask = ones if one else ~ones
                after.append(((keys[mask], a[mask] * math.sqrt(2)), {**known, step["bit"]: one}))
        states = after
    return {tuple(known[bit] for bit in data["reads"]): state for state, known in states}


def law(keys, amplitudes, copies, pauli):
    """Pr[S = s] of the copies that accept (1 + P)/2, by the generating function <prod_c (1 + (w - 1) E_c)>."""
    k, out = len(copies), []
    for j in range(k + 1):
        w, state = np.exp(2j * math.pi * j / (k + 1)), (keys, amplitudes)
        for qubits in copies:
            x, z = (sum(1 << q for i, q in enumerate(qubits) if mask >> i & 1) for mask in (pauli.x, pauli.z))
            state = added((state[0], state[1] * (w + 1) / 2), moved(*state, x, z, pauli.sign * (w - 1) / 2))
        place = np.searchsorted(state[0], keys).clip(max=len(state[0]) - 1)
        found = np.where(state[0][place] == keys, state[1][place], 0)
        out.append(np.vdot(amplitudes, found))
    weights = np.fft.fft(out).real / (k + 1)
    return weights / weights.sum()


# What the engine says -------------------------------------------------------------------------------------------------


def device_of(plan):
    theta, x = at(plan.model)
    a = plan.model.angle_table.evaluate(np.array([theta]), np.array([x]).reshape(1, -1))[0]
    return PairDevice(PairCircuit(plan.model, plan.terms), plan.terms.coefficients(plan.weights), a, np.array(x))


def engine_at(plan, component, k):
    """Exact copies at the place where the component is read."""
    device = device_of(plan)
    while device.place > component + 1:
        device.undo(None)
    return device.prepare(SymmetricEngine(), k)


def events(n):
    """Strings to ask of one copy of n qubits."""
    texts = ["Z0", f"X{n - 1}", f"Y0 Z{n - 1}" if n > 1 else "Y0", f"X0 X{n - 1}" if n > 1 else "X0"]
    return [Event(PauliString.parse(text)) for text in texts]


def outcomes(plan, component, k, checks, asked=()):
    """{(below, above): (probability, [law of each event])}."""
    found = {}
    for below, above in itertools.product((0, 1), repeat=2):
        batch, chance = engine_at(plan, component, k), 1.0
        for check, came in zip(checks, (below, above), strict=True):
            p = batch.probability(check)
            chance *= p if came else 1 - p
            if not chance:
                break
            batch.survive(check, triggered=bool(came))
        found[below, above] = chance, [batch.law(e) for e in asked] if chance else []
    return found


CASES = [
    (ONE, 0, 3, "gaussian", 0.6, 0.3),
    (ONE, 2, 1, "exponential", 1.2, -0.8),
    (ONE, 1, 2, "gaussian", 0.05, 0.0),
    (TWO, 0, 3, "gaussian", 0.9, 0.1),
    (TWO, 3, 3, "exponential", 0.7, -0.2),
]


@REVERSED
@pytest.mark.parametrize(("model", "which", "k", "kind", "noise", "prediction"), CASES)
def test_flags_and_copies_are_those_of_the_exact_engine(model, which, k, kind, noise, prediction, reverse):
    plan = plan_of(model)
    component = int(plan.components[which % len(plan.components)])
    program = plan.check_circuit(
        *at(model), component=component, copies=k, prediction=prediction, threshold=0.1, noise=noise, kind=kind,
        reverse=reverse,
    )  # fmt: skip
    n = model.n_qubits + 1
    asked = [program.events[0], *events(n)]
    expected = outcomes(plan, component, k, program.checks[0], asked)
    found = run(program, np.random.default_rng(3))
    flags = [q for q in range(program.circuit.n_system) if q >= k * n]
    for outcome, (probability, laws) in expected.items():
        keys, a = found.get(outcome, (np.zeros(1, np.int64), np.zeros(1)))
        assert np.linalg.norm(a) ** 2 == pytest.approx(probability, abs=1e-12)
        held = sum(v << q - k * n for q, v in zip(flags[-2:], outcome, strict=True)) if reverse else 0
        assert np.all(keys >> k * n == held)  # every ancilla is back in 0
        if probability > 1e-9:
            for event, right in zip(asked, laws, strict=True):
                np.testing.assert_allclose(law(keys, a, program.copies, event.pauli), right, atol=1e-10)


def test_the_flags_say_on_which_side_of_the_prediction_a_derivative_is():
    """Of many copies, with thresholds on either side of the true derivative."""
    plan = plan_of(ONE)
    gradient = qpr.value_and_grad(ONE, THETA)[1]
    ask = {"component": int(plan.components[0]), "copies": 3, "noise": 0.3, "threshold": 0.3}
    for prediction, side in ((gradient[0] + 1.0, 0), (gradient[0] - 1.0, 1)):
        program = plan.check_circuit(THETA, prediction=float(np.clip(prediction, -1.7, 1.7)), **ask)
        chances = np.zeros(2)
        for outcome, (_, a) in run(program, np.random.default_rng(0)).items():
            chances += np.linalg.norm(a) ** 2 * np.array(outcome)
        assert program.reads == ("below", "above")
        assert chances[side] > 0.5 > 0.3 > chances[1 - side]


def test_copies_that_draw_their_terms_are_the_engines_register():
    """A sum of two strings, k = 2: the mean over all draws."""
    plan, k = plan_of(SUM), 2
    component = int(plan.components[1])
    u = plan.terms.coefficients(plan.weights)
    ask = {"component": component, "copies": k, "threshold": 0.2, "noise": 0.7, "prediction": 0.3}
    total: dict = {}
    for terms in itertools.product((0, 1), repeat=k):
        program = plan.check_circuit(THETA, terms=terms, **ask)
        assert program.terms == terms
        weight = np.prod([abs(u[t]) for t in terms]) / np.abs(u).sum() ** k
        for outcome, (_, a) in run(program, np.random.default_rng(1)).items():
            total[outcome] = total.get(outcome, 0.0) + weight * np.linalg.norm(a) ** 2
    expected = outcomes(plan, component, k, program.checks[0])
    assert total == pytest.approx({key: p for key, (p, _) in expected.items()}, abs=1e-12)
    drawn = [plan.check_circuit(THETA, rng=seed, **ask).terms for seed in range(400)]
    assert np.mean(drawn) == pytest.approx(0.4 / 1.1, abs=4 * math.sqrt(0.25 / 800))


@REVERSED
def test_a_window_of_steps_reuses_its_ancillas(reverse):
    """k = 7 and narrow noise: flags take a window of the count, whose ancillas are undone between both sides."""
    plan = plan_of(ONE)
    component = int(plan.components[0])
    program = plan.check_circuit(
        THETA, component=component, copies=7, prediction=0.2, threshold=0.3, noise=0.02, reverse=reverse
    )
    expected = outcomes(plan, component, 7, program.checks[0])
    for seed in range(1 if reverse else 2):
        found = run(program, np.random.default_rng(seed))
        for outcome, (probability, _) in expected.items():
            _, a = found.get(outcome, ((), np.zeros(1)))
            assert np.linalg.norm(a) ** 2 == pytest.approx(probability, abs=1e-12)


@REVERSED
@pytest.mark.parametrize(("k", "noise"), [(3, 0.8), (7, 0.02), (40, 0.4), (33, 5.0)])
def test_a_circuit_has_the_gates_that_its_cost_says(k, noise, reverse):
    plan = plan_of(ONE)
    program = plan.check_circuit(
        THETA, component=2, copies=k, threshold=0.1, prediction=0.1, noise=noise, reverse=reverse
    )
    gates = []
    for step in json.loads(program.to("json"))["steps"]:
        gates += step.get("do", [step] if "gate" in step else [])
    names = [g["gate"] for g in gates]
    extra = ONE.n_qubits * k  # the product state of the copies
    assert program.cost.toffolis == names.count("ccx")
    assert program.cost.rotations == names.count("rotation") + names.count("ry") - extra
    assert program.cost.qubits == program.circuit.n_system
    assert len(program.values) == names.count("rotation") == k * (2 * 3 - 3)
    assert (program.cost.copies, program.cost.measurements) == (k, 2)


@REVERSED
@pytest.mark.parametrize(("model", "k", "kind"), [(ONE, 3, "gaussian"), (TWO, 2, "exponential")])
def test_a_sweep_of_checks_on_the_same_copies_is_that_of_the_exact_engine(model, k, kind, reverse):
    """All components, from the last to the first: each answer changes what the next flags show."""
    plan = plan_of(model)
    components = plan.components[::-1].tolist()
    predictions = np.linspace(-0.1, 0.1, len(components))
    program = plan.check_circuit(
        *at(model), component=components, copies=k, prediction=predictions, threshold=0.2, noise=0.6, kind=kind,
        reverse=reverse,
    )  # fmt: skip
    assert program.reads == tuple(f"{side}_{m}" for m in components for side in ("below", "above"))
    found = run(program, np.random.default_rng(4))
    assert sum(np.linalg.norm(a) ** 2 for _, a in found.values()) == pytest.approx(1, abs=1e-12)
    total, alone = 0.0, []
    for outcome in itertools.product((0, 1), repeat=len(program.reads)):
        device, chance = device_of(plan), 1.0
        batch = None
        for i, (m, checks) in enumerate(zip(components, program.checks, strict=True)):
            while device.place > m + 1:
                device.undo(batch)
            batch = batch or device.prepare(SymmetricEngine(), k)
            for check, came in zip(checks, outcome[2 * i : 2 * i + 2], strict=True):
                p = batch.probability(check)
                chance *= p if came else 1 - p
                if not chance:
                    break
                batch.survive(check, triggered=bool(came))
            if not chance:
                break
        _, a = found.get(outcome, ((), np.zeros(1)))
        assert np.linalg.norm(a) ** 2 == pytest.approx(chance, abs=1e-11)
        total += chance
        if chance and outcome[:2] == (0, 0):
            alone.append(batch.law(program.events[-1]))
    assert total == pytest.approx(1, abs=1e-12)
    assert np.ptp(np.array(alone)[:, 0]) > 1e-3  # answers do change the copies


@pytest.mark.parametrize("noise", [1.0, 0.6])
def test_a_reading_has_the_engines_mean_and_the_pointers_variance(noise):
    """y has mean k p and variance k p (1 - p) + noise^2, as `CopyEngine.read`."""
    plan, k = plan_of(SUM, qpr.GentleSweep(max_error=0.5)), 2
    component = int(plan.components[0])
    ask = {"component": component, "copies": k, "noise": noise, "terms": (0, 0)}
    program = plan.reading_circuit(THETA, reverse=True, **ask)
    single = plan_of(qpr.Model(qpr.Circuit(1).ry(T[0], 0).rx(T[1], 0).rz(T[2], 0), "Z0"))
    p = engine_at(single, component, k).mean(program.events[0])
    for made in (program, plan.reading_circuit(THETA, **ask)):
        chances, y = [], []
        for outcome, (_, a) in run(made, np.random.default_rng(2)).items():
            chances.append(np.linalg.norm(a) ** 2)
            y.append(made.reading(sum(bit << i for i, bit in enumerate(outcome))))
        chances, y = np.array(chances), np.array(y)
        assert chances.sum() == pytest.approx(1, abs=1e-12)
        assert chances @ y == pytest.approx(k * p, abs=1e-8)
        assert chances @ (y - chances @ y) ** 2 == pytest.approx(k * p * (1 - p) + noise**2, rel=1e-4)


@pytest.mark.parametrize("model", [ONE, TWO])
def test_what_a_device_runs_has_the_engines_flags(model):
    plan = plan_of(model)
    component = int(plan.components[0])
    program = plan.check_circuit(*at(model), component=component, threshold=0.2, prediction=0.1, reverse=True)
    work = program.work(100)
    assert work.values.shape == (1, work.circuit.n_params) and work.shots.tolist() == [100]
    state = qpr.state(qpr.Model(work.circuit.circuit, "Z0"), work.values[0])
    chances = np.abs(state) ** 2
    index = np.arange(len(chances))
    for outcome, (probability, _) in outcomes(plan, component, 3, program.checks[0]).items():
        held = np.all([index >> q & 1 == v for q, v in zip(work.circuit.measured, outcome, strict=True)], axis=0)
        assert chances[held].sum() == pytest.approx(probability, abs=1e-10)


def test_bound_circuits_have_numbers_for_angles():
    program = plan_of(TWO).check_circuit(*at(TWO), component=[3, 0], threshold=0.2, copies=2)
    free, bound = (json.loads(program.to("json", bound=b)) for b in (False, True))
    assert bound["angle"] == [] and free["angle"] == program.values.tolist()
    for one, other in zip(free["steps"], bound["steps"], strict=True):
        if isinstance(one.get("angle"), dict):
            one = {**one, "angle": program.values[one["angle"]["entry"]]}
        assert one == other
    assert "input" not in program.to("qasm3", bound=True) and "m[4] = measure" in program.to("qasm3", bound=True)


@pytest.mark.parametrize("method", [QuantumBackpropPlan.check_circuit, GentlePlan.reading_circuit])
def test_the_examples_of_both_functions_run(method):
    example = doctest.DocTestParser().get_doctest(method.__doc__, {"np": np, "qpr": qpr}, "example", None, None)
    said = []
    found = doctest.DocTestRunner(verbose=False).run(example, out=said.append)
    assert found.attempted >= 3 and not found.failed, "".join(said)


# Qiskit ---------------------------------------------------------------------------------------------------------------


@REVERSED
@pytest.mark.parametrize(("model", "which"), [(ONE, 0), (TWO, 1)])
def test_a_qiskit_circuit_of_three_copies_has_the_engines_statistics(model, which, reverse):
    pytest.importorskip("qiskit")
    from qiskit_branches import branches

    plan, k, n = plan_of(model), 3, model.n_qubits + 1
    component = int(plan.components[which])
    program = plan.check_circuit(
        *at(model), component=component, prediction=0.1, threshold=0.15, noise=0.8, reverse=reverse
    )
    circuit = program.to("qiskit")
    assert circuit.num_parameters == len(program.values) and circuit.num_qubits == program.cost.qubits
    asked = [program.events[0], *events(n)]
    expected = outcomes(plan, component, k, program.checks[0], asked)
    seen: dict = {}
    names = {bit: register.name for register in circuit.cregs for bit in register}
    for vector, known in branches(circuit.assign_parameters(program.values)):
        bits = {names[b]: v for b, v in known.items()}
        a = vector.data
        p = np.vdot(a, a).real
        outcome = bits["below"], bits["above"]
        seen[outcome] = seen.get(outcome, 0.0) + p
        if p > 1e-9:
            keys = np.flatnonzero(np.abs(a) > 1e-14)
            for event, right in zip(asked, expected[outcome][1], strict=True):
                np.testing.assert_allclose(law(keys, a[keys], program.copies, event.pauli), right, atol=1e-10)
    assert seen == pytest.approx({key: p for key, (p, _) in expected.items()}, abs=1e-10)


@REVERSED
def test_its_openqasm_is_the_same_circuit(reverse):
    pytest.importorskip("qiskit_qasm3_import")
    from qiskit import qasm3
    from qiskit_branches import branches

    plan = plan_of(ONE)
    component = int(plan.components[0])
    program = plan.check_circuit(THETA, component=component, prediction=0.4, threshold=0.3, reverse=reverse)
    text = program.to("qasm3")
    circuit = qasm3.loads(text)
    place = {name: int(k) for k, name in re.findall(r"// m\[(\d+)\] is '(\w+)'", text)}
    values = {p: program.values[int(p.name.removeprefix("angle_"))] for p in circuit.parameters}
    seen: dict = {}
    for vector, known in branches(circuit.assign_parameters(values)):
        bits = {circuit.find_bit(b).index: v for b, v in known.items()}
        outcome = bits[place["below"]], bits[place["above"]]
        seen[outcome] = seen.get(outcome, 0.0) + np.linalg.norm(vector.data) ** 2
    expected = outcomes(plan, component, 3, program.checks[0])
    assert seen == pytest.approx({key: p for key, (p, _) in expected.items()}, abs=1e-10)


@REVERSED
def test_shots_on_aer_have_the_engines_frequencies(reverse):
    pytest.importorskip("qiskit_aer")
    from qiskit import transpile
    from qiskit_aer import AerSimulator

    plan, shots = plan_of(ONE), 4_000
    component = int(plan.components[0])
    program = plan.check_circuit(THETA, component=component, prediction=0.2, threshold=0.3, noise=0.7, reverse=reverse)
    simulator = AerSimulator(seed_simulator=5)
    circuit = transpile(program.to("qiskit"), simulator, seed_transpiler=1).assign_parameters(program.values)
    counts = simulator.run(circuit, shots=shots).result().get_counts()
    order = [register.name for register in circuit.cregs]
    seen: dict = {}
    for text, count in counts.items():
        bits = dict(zip(order, map(int, reversed(text.split())), strict=True))
        outcome = bits["below"], bits["above"]
        seen[outcome] = seen.get(outcome, 0) + count
    for outcome, (p, _) in outcomes(plan, component, 3, program.checks[0]).items():
        assert abs(seen.get(outcome, 0) - shots * p) < 4 * math.sqrt(shots * p * (1 - p)) + 1


# Refusals -------------------------------------------------------------------------------------------------------------


def test_what_no_circuit_can_ask_is_refused_with_the_mend():
    plan = plan_of(ONE)
    good = {"component": 0, "threshold": 0.1}
    amplitudes = qpr.Model(qpr.Circuit(2, np.arange(1.0, 5.0)).ry(T[0], 0), "Z0")
    several = plan_of(SUM)
    forward, reverse = plan.check_circuit(THETA, **good), plan.check_circuit(THETA, reverse=True, **good)
    for wrong, words in [
        (lambda: plan.check_circuit(THETA, component=7, threshold=0.1), "`component` is the number of a rotation"),
        (lambda: plan.check_circuit(THETA, component=1.5, threshold=0.1), "`component` is the number of a rotation"),
        (lambda: plan.check_circuit(THETA, component=[0, 2], threshold=0.1), "the last rotation first"),
        (lambda: plan.check_circuit(THETA, component=[], threshold=0.1), "`component` is the number of a rotation"),
        (lambda: plan.check_circuit(THETA, component="a", threshold=0.1), "`component` is the number of a rotation"),
        (lambda: plan.check_circuit(THETA, component=[2, 0], threshold=0.1, prediction=[0, 0, 0]), "2 components"),
        (lambda: plan.check_circuit(THETA, prediction=np.nan, **good), "derivative between -1.7 and 1.7"),
        (lambda: plan.check_circuit(THETA, prediction="a", **good), "derivative between -1.7 and 1.7"),
        (lambda: plan.check_circuit(THETA, component=0, threshold="a"), "`threshold` is a positive distance"),
        (lambda: plan.check_circuit(THETA, component=None, threshold=1.0), "`component` is the number of a rotation"),
        (lambda: plan.check_circuit(THETA, copies=0, **good), "copies must be a whole number from 1"),
        (lambda: plan.check_circuit(THETA, copies=10**7, **good), "10,000,000 copies would take about"),
        (lambda: plan.check_circuit(THETA, prediction=2.0, **good), "derivative between -1.7 and 1.7"),
        (lambda: plan.check_circuit(THETA, component=0, threshold=-0.1), "`threshold` is a positive distance"),
        (lambda: plan.check_circuit(THETA, noise=-1.0, **good), "`noise` must be a positive number of copies"),
        (lambda: plan.check_circuit(THETA, kind="box", **good), "'exponential' or 'gaussian'"),
        (lambda: plan.check_circuit([THETA, THETA], **good), "one point, got theta and x of batch shape"),
        (lambda: plan.check_circuit(THETA[:2], **good), "theta must have shape"),
        (lambda: plan.check_circuit(THETA, terms=(0, 0), **good), "for each of 3 copies"),
        (lambda: several.check_circuit(THETA, terms=(0, 0, 2), **good), "the observable's terms"),
        (lambda: several.check_circuit(THETA, **good), "rng is a seed"),
        (lambda: plan_of(amplitudes).check_circuit([0.1], **good), "a basis or product state"),
        (lambda: forward.work(10), "make this one with reverse=True"),
        (lambda: reverse.work(0), "shots must be a whole number from 1"),
        (lambda: forward.to("quil"), "written as qiskit, qasm3 or json"),
        (lambda: forward.reading(3), "a check reads no number"),
    ]:
        with pytest.raises(QupropError, match=words):
            wrong()
