"""Circuits drawn as text and SVG: every gate is there, in its order, on its wires; what is left out is said."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from cases import CASES

import quprop as qpr
from quprop.model.channels import CHANNELS
from quprop.model.gates import GATES

THETA, X = qpr.params("theta", 400), qpr.inputs("x", 4)
SVG = "{http://www.w3.org/2000/svg}"


def wires(text):
    """The lines of each qubit, put together where the drawing goes on below: {"q0": "─┤H├──●──", ...}."""
    found = {}
    for line in text.splitlines():
        if match := re.match(r"(q\d+): +?(?=[─┤╡])(.*)", line.rstrip()):
            found[match[1]] = found.get(match[1], "") + match[2]
    return found


def read_back(text):
    """[(name, qubits)] of a drawing on one line of one-qubit boxes and of what ●, ⊕ and × are joined by │ and ┼."""
    rows = text.splitlines()
    rows = [row.ljust(max(map(len, rows))) for row in rows]
    gates = []
    for column in range(len(rows[0])):
        group = {}
        for row, line in enumerate(rows):
            if line[column] in "●⊕×":
                group[row // 2] = line[column]
            if group and (row + 1 == len(rows) or rows[row + 1][column] not in "│┼●⊕×"):
                symbols = "".join(sorted(group.values(), key="●⊕×".index))
                name = {"●⊕": "cx", "●●": "cz", "××": "swap", "●●⊕": "ccx"}[symbols]
                gates.append((column, name, tuple(sorted(group, key=lambda q: ("●⊕×".index(group[q]), q)))))
                group = {}
    for q, line in enumerate(rows[::2]):
        gates += [(m.start() + 1, m[1].lower(), (q,)) for m in re.finditer(r"┤(\w+)(?:\([^┤├]*\))?├", line)]
    return [gate[1:] for gate in sorted(gates)]


def in_order(gates, n):
    """For each qubit, the gates that meet it."""
    return {q: [g for g in gates if q in g[1]] for q in range(n)}


@pytest.mark.parametrize("seed", range(20))
def test_a_drawing_read_back_has_each_qubits_gates_in_order(seed):
    rng, n = np.random.default_rng(seed), 4
    circuit, written = qpr.Circuit(n), []
    for _ in range(14):
        name = rng.choice(["h", "x", "s", "t", "rx", "cx", "cz", "swap", "ccx"])
        qubits = tuple(int(q) for q in rng.permutation(n)[: GATES[name].n_qubits])
        circuit.gate(str(name), *([THETA[int(rng.integers(9))]] * GATES[name].n_angles), *qubits)
        written.append(
            (str(name), (*sorted(qubits[:-1]), qubits[-1]) if name in ("cx", "ccx") else tuple(sorted(qubits)))
        )
    assert in_order(read_back(str(circuit.draw(width=1000))), n) == in_order(written, n)


@pytest.mark.parametrize("width", [24, 40, 80])
def test_a_drawing_that_is_wrapped_says_the_same_as_one_line(width):
    circuit = qpr.ansatz.hardware_efficient(4, 3)
    wide, narrow = str(circuit.draw(width=10_000)), str(circuit.draw(width=width))
    assert max(map(len, narrow.splitlines())) <= width < max(map(len, wide.splitlines()))

    def bare(text):
        return {q: re.sub("─", "", line) for q, line in wires(text).items()}

    assert bare(narrow) == bare(wide) and len(bare(wide)) == 4


@pytest.mark.parametrize("name", GATES)
def test_every_gate_is_drawn_on_its_qubits_and_no_other(name):
    gate = GATES[name]
    qubits = (3, 1, 2)[: gate.n_qubits]
    drawn = qpr.Circuit(5).gate(name, *THETA[: gate.n_angles], *qubits).draw()
    lines = wires(str(drawn))
    acted = {q for q in range(5) if re.search(r"[●⊕×┤]", lines[f"q{q}"])}
    assert acted == set(qubits)
    angles = "".join(lines.values())
    assert all(f"θ[{k}]" in angles for k in range(gate.n_angles))
    titles = [t.text for t in ET.fromstring(drawn.svg).iter(f"{SVG}title")]
    assert any(t.split("(")[0].split(" ")[0] == name and t.endswith(" ".join(map(str, qubits))) for t in titles[1:])


@pytest.mark.parametrize("name", CHANNELS)
def test_every_channel_is_drawn_on_its_qubits_between_double_lines(name):
    noise = CHANNELS[name]
    strengths = (0.2, 0.3, 0.1)[: len(noise.strengths) - len(noise.defaults)]
    qubits = (2, 0)[: noise.n_qubits]
    drawn = qpr.Circuit(3).channel(name, *strengths, *qubits).draw()
    lines = wires(str(drawn))
    assert {q for q in range(3) if f"╡{name}" in lines[f"q{q}"]} == set(qubits)
    assert all(f"{s:g}" in "".join(lines.values()) for s in strengths)
    assert drawn.svg.count("stroke-dasharray") == len(qubits)


def test_a_rotation_about_a_string_is_one_box_that_other_wires_pass():
    circuit = qpr.Circuit(4).rotation("X0 Y2", 2 * THETA[3] + 0.1)
    assert str(circuit.draw()) == (
        "q0: ─┤X 2*θ[3]+0.1├──\n"
        "     │            │\n"
        "q1: ─┼────────────┼──\n"
        "     │            │\n"
        "q2: ─┤Y           ├──\n"
        "\n"
        "q3: ─────────────────"
    )


def test_a_controlled_gate_is_joined_to_its_control_over_the_wires_between():
    assert str(qpr.Circuit(3).crx(X[1], 2, 0).cx(0, 1).draw()) == (
        "q0: ─┤RX(x[1])├──●──\n         │       │\nq1: ─────┼───────⊕──\n         │\nq2: ─────●──────────"
    )


def test_a_pauli_channel_and_an_input_state_are_drawn():
    circuit = qpr.Circuit(2, "01").pauli_channel({"XZ": 0.1, "IY": 0.2}, 0, 1)
    text = str(circuit.draw())
    assert text.startswith("from |01>\n") and text.count("╡pauli_channel") == 2 and "(0.1, 0.2)" in text
    assert "from" not in str(qpr.Circuit(2).h(0).draw())


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_circuit_and_model_is_drawn_as_text_and_well_formed_svg(name):
    model = CASES[name].model
    for drawn in (model.draw(), qpr.Circuit(3).append(qpr.Circuit(2).h(1)).draw()):
        ET.fromstring(drawn.svg)
        assert str(drawn).count("q0: ") >= 1


# -- what is left out -------------------------------------------------------------------------------------------------


def test_of_a_long_circuit_both_ends_are_drawn_and_the_rest_is_counted():
    circuit = qpr.Circuit(2)
    for k in range(300):
        circuit.rx(THETA[k], k % 2)
    drawn = circuit.draw(most_gates=18)
    text = str(drawn)
    found = sorted(int(k) for k in re.findall(r"θ\[(\d+)\]", text))
    assert found == [*range(7), *range(293, 300)]
    assert text.endswith(f"Left out: {300 - len(found)} gates in the middle of 300.")
    assert f"Left out: {300 - len(found)} gates in the middle of 300." in drawn.svg
    assert text.count("…") == 2  # a wire each


def test_of_a_wide_circuit_the_first_and_last_qubits_are_drawn_and_the_gates_of_the_others_counted():
    n = 50
    circuit = qpr.Circuit(n)
    for q in range(n):
        circuit.h(q)
    circuit.cx(0, 25).cx(0, 49).cx(20, 30)
    drawn = circuit.draw(most_qubits=6)
    lines = wires(str(drawn))
    assert list(lines) == ["q0", "q1", "q2", "q47", "q48", "q49"]
    assert "Left out: qubits 3 to 46 and 45 gates on them alone." in str(drawn)
    assert sum(line.count("┤H├") for line in lines.values()) == 6
    assert lines["q0"].count("●") == 2 and lines["q49"].count("⊕") == 1
    ET.fromstring(drawn.svg)


def test_a_million_rotations_in_arrays_are_drawn_without_making_gates_of_them():
    circuit = qpr.ansatz.iqp(60, gates=[(q, p) for q in range(60) for p in range(q)])
    held = len(circuit.steps)
    assert "gates in the middle" in str(circuit.draw()) and len(circuit.steps) == held


@pytest.mark.parametrize("call", [{"form": "png"}, {"width": 3}, {"most_gates": 0}, {"most_qubits": 1}, {"width": "a"}])
def test_a_drawing_that_makes_no_sense_is_refused(call):
    with pytest.raises(qpr.QupropError, match=r"drawn as|must be a whole number"):
        qpr.Circuit(2).h(0).draw(**call)


# -- SVG --------------------------------------------------------------------------------------------------------------


def busy():
    circuit = qpr.ansatz.data_reuploading(3, 4, 3).copy()
    circuit.depolarising(0.01, 1).rotation("X0 Z2", -1.25 * THETA[7] + 0.123456).depolarising2(0.002, 0, 2)
    circuit.generalised_amplitude_damping(0.125, THETA[12], 2).u(THETA[100], THETA[101], 2 * THETA[102], 1).iswap(0, 2)
    return circuit.exp({"X0 X1": 1.0, "Y0 Y1": 1.0}, THETA[9]).crz(-0.5 * THETA[200] + 1, 2, 0).ccx(2, 0, 1)


def numbers(element, *names):
    return [float(element.get(name)) for name in names]


def test_boxes_and_texts_of_an_svg_do_not_overlap_and_stay_inside():
    root = ET.fromstring(busy().draw("svg").svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    boxes = [numbers(r, "x", "y", "width", "height") for r in root.iter(f"{SVG}rect")]
    assert len(boxes) > 40
    for i, (x, y, w, h) in enumerate(boxes):
        assert x >= 0 and x + w <= width and y >= 0 and y + h <= height
        for a, b, c, d in boxes[:i]:
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y
    texts = []
    for t in root.iter(f"{SVG}text"):
        if t.get("class") in ("letter", "under"):
            x, y, size = numbers(t, "x", "y", "font-size")
            texts.append((x - 0.3 * size * len(t.text), y - 0.8 * size, 0.6 * size * len(t.text), size))
    for i, (x, y, w, h) in enumerate(texts):
        inside = [(a, b, c, d) for a, b, c, d in boxes if a <= x and x + w <= a + c and b <= y and y + h <= b + d + 1]
        assert len(inside) == 1
        for a, b, c, d in texts[:i]:
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y


def test_no_wire_of_an_svg_runs_through_a_box():
    root = ET.fromstring(busy().draw().svg)
    boxes = [numbers(r, "x", "y", "width", "height") for r in root.iter(f"{SVG}rect")]
    lines = [numbers(w, "x1", "x2", "y1") for w in root.iter(f"{SVG}line") if w.get("class") == "wire"]
    for x1, x2, wire in lines:
        on_it = [(x, w) for x, y, w, h in boxes if y < wire < y + h]
        assert all(x2 <= x + 0.1 or x + w - 0.1 <= x1 for x, w in on_it)
    assert lines and boxes


def test_an_svg_has_the_colours_of_its_page():
    svg = busy().draw().svg
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg))
    assert colours == {"none", "currentColor", "#0072B2", "#009E73"}


def test_form_chooses_what_is_printed_and_what_a_notebook_shows():
    circuit = qpr.Circuit(2).h(0)
    both, text, svg = circuit.draw(), circuit.draw("text"), circuit.draw("svg")
    assert repr(both) == str(both) == str(text) and both._repr_html_() == str(svg) == svg._repr_html_()
    assert text._repr_html_() is None and str(svg).startswith("<svg ")
