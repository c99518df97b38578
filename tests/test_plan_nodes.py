"""`quprop plan --nodes`: what a state over many nodes takes, before any rank is started."""

import json
import re
import tracemalloc
from pathlib import Path

import pytest
from mpi import needs_mpi, run

import quprop as qpr
from quprop.cost import short_bytes
from quprop.errors import QupropError
from quprop.model import ansatz
from quprop.planning import plan_on_nodes
from quprop.planning.timing import BLOCKED, ROTATION, SWEEP
from quprop.simulate.distributed import bandwidth
from quprop.simulate.distributed.traffic import traffic


def fields_on(n, layers=1):
    """RX on every qubit and then RZZ on neighbours: within a layer all x masks are there, so each layer's rotations
    span n dimensions."""
    theta = qpr.params("theta", layers * (2 * n - 1))
    circuit = qpr.Circuit(n)
    k = iter(theta)
    for _ in range(layers):
        for q in range(n):
            circuit.rx(next(k), q)
        for q in range(n - 1):
            circuit.rzz(next(k), q, q + 1)
    return qpr.Model(circuit, "Z0 Z1 + Z2")


def fields_and_pairs(n):
    """X of each qubit and X X of each pair: whichever parities are the rank's, some string flips them."""
    return "+".join([*(f"X{q}" for q in range(n)), *(f"X{q} X{r}" for q in range(n) for r in range(q))])


def with_swaps(n):
    return qpr.Model(ansatz.hardware_efficient(n, 2), fields_and_pairs(n))


def test_memory_and_bytes_of_a_small_model_are_those_counted_by_hand():
    """7 qubits over 2 ranks are 64 amplitudes of 16 bytes each. Seven RX span seven dimensions, a rank has six bits, so
    one exchange of one bit, which moves half a vector: 512 bytes of psi forwards, 512 of psi and of lambda back."""
    found = plan_on_nodes(fields_on(7), 2, memory_per_node=1 << 30)
    assert (found.traffic.stretches, found.value.exchanges, found.gradient.exchanges) == (2, 1, 2)
    assert (found.value.rank_bytes, found.gradient.rank_bytes) == (512, 1536)
    assert (found.value.all_bytes, found.gradient.all_bytes) == (1024, 3072)
    assert (found.value.lower_bound_bytes, found.gradient.lower_bound_bytes) == (512, 1536)
    buffers, plan = 4 * (4 << 20), 3072 * 13  # of two chunks under way, sent and received; 13 rotations
    assert found.memory_node == found.traffic.memory == 2 * 1024 + buffers + plan
    assert (found.peers.exchanges, found.peers.rank_bytes) == (1, 1024)  # RX on the top qubit; RZZ are diagonal


def test_swaps_for_observables_are_exchanges_of_whole_vectors():
    circuit = qpr.Circuit(7).rx(qpr.params("theta", 1)[0], 0)
    found = plan_on_nodes(qpr.Model(circuit, fields_and_pairs(7)), 2)
    assert (found.traffic.stretches, found.traffic.swaps) == (1, 2)
    for row in (found.value, found.gradient):
        assert (row.exchanges, row.rank_bytes, row.lower_bound_bytes) == (2, 2 * 1024, 0)


def test_single_precision_moves_half_of_the_bytes():
    double, single = (plan_on_nodes(fields_on(8, 2), 4, precision=p) for p in ("double", "single"))
    assert double.gradient.rank_bytes == 2 * single.gradient.rank_bytes > 0
    assert double.peers.rank_bytes == 2 * single.peers.rank_bytes > 0


def test_a_training_has_the_exchanges_of_its_steps_and_these_of_their_samples():
    """One sample: psi is kept, and what observables need is sent once more; several: a value and a gradient each."""
    model = with_swaps(9)
    for samples in (1, 5):
        found = plan_on_nodes(model, 4, steps=7, samples=samples, bandwidth=1e9)
        swaps, value, gradient = found.traffic.swaps, found.value, found.gradient
        vector = 16 * 2**7
        assert swaps > 0 and found.step.exchanges == (
            gradient.exchanges + swaps if samples == 1 else 5 * (value.exchanges + gradient.exchanges)
        )
        assert found.step.rank_bytes == (
            gradient.rank_bytes + swaps * vector if samples == 1 else 5 * (value.rank_bytes + gradient.rank_bytes)
        )
        assert found.training == tuple(pytest.approx(7 * v, rel=1e-14) for v in found.step)
        assert found.training.exchange_seconds == pytest.approx(found.training.rank_bytes / 1e9)


def test_ranks_of_a_node_share_its_memory_and_count_as_ranks():
    model = fields_on(10, 2)
    found = plan_on_nodes(model, 2, ranks_per_node=4)
    assert found.traffic == traffic(model, 8) == plan_on_nodes(model, 8).traffic
    assert found.memory_node == 4 * found.traffic.memory
    assert found.gradient.all_bytes == 8 * found.gradient.rank_bytes


def test_seconds_of_exchange_are_bytes_over_bandwidth_and_unknown_without_one():
    model = fields_on(12, 2)
    slow, fast, none = (plan_on_nodes(model, 4, bandwidth=b) for b in (1e9, 3e9, None))
    assert slow.gradient.exchange_seconds == pytest.approx(slow.gradient.rank_bytes / 1e9)
    for name in ("value", "gradient", "step", "training", "peers"):
        seconds = [getattr(found, name).exchange_seconds for found in (slow, fast, none)]
        assert seconds[0] == pytest.approx(3 * seconds[1]) and seconds[1] > 0 and seconds[2] is None
    assert (slow.bandwidth_by, none.bandwidth_by) == ("given", None)
    assert "--bandwidth" in none.advice and "mpirun" in none.advice and "--bandwidth" not in slow.advice


def test_multiply_adds_are_shared_by_nodes_and_what_a_rotation_takes_besides_is_not():
    model = fields_on(20, 2)
    overhead = SWEEP + ROTATION * model.n_rotations
    for nodes in (1, 2, 8):
        seconds = plan_on_nodes(model, nodes, flops=1e9).gradient.compute_seconds
        adds = 12 * model.n_rotations * 2**20
        assert seconds - overhead == pytest.approx(adds / (BLOCKED * 1e9 * nodes), rel=1e-9)


@pytest.mark.parametrize("gib", [8, 16, 63, 64, 200, 1 << 20])
@pytest.mark.parametrize("each", [1, 2])
def test_the_fewest_nodes_are_the_first_power_of_two_with_room(gib, each):
    model = qpr.Model(ansatz.hardware_efficient(34, 2), "Z0 Z1")
    found = plan_on_nodes(model, 4, ranks_per_node=each, memory_per_node=gib << 30)
    room = [n for n in (1 << k for k in range(12)) if each * traffic(model, each * n).memory <= gib << 30]
    assert found.fewest_nodes == room[0]
    assert found.fits == (4 in room) and ("too little" in found.advice) == (not found.fits)


def test_a_node_without_room_for_any_share_says_so():
    found = plan_on_nodes(fields_on(12), 4, memory_per_node=1000)
    assert found.fewest_nodes is None and "no number of such nodes" in found.advice and not found.fits


@pytest.mark.parametrize("n", [34, 40])
def test_nothing_as_large_as_a_state_is_allocated(n):
    model = qpr.Model(ansatz.hardware_efficient(n, 3), "Z0 Z1")
    tracemalloc.start()
    try:
        found = plan_on_nodes(model, 64, memory_per_node=1 << 40)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 << 20 and found.memory_node > 2 * (16 << n - 6)
    assert found.gradient.exchanges > 0 and found.fewest_nodes <= 64


def test_a_hardware_efficient_layer_takes_one_exchange_at_most_and_gates_take_more():
    for layers in (4, 9):
        found = plan_on_nodes(qpr.Model(ansatz.hardware_efficient(36, layers), "Z0 Z1"), 16, memory_per_node=1 << 40)
        assert 0 < found.value.exchanges <= layers < found.peers.exchanges
        assert found.gradient.rank_bytes <= 1.2 * found.gradient.lower_bound_bytes


RUNS = {
    "described": ["hardware_efficient:36,4", "--nodes", "16", "--memory-per-node", "256", "--bandwidth", "12"],
    "problem": ["tfim", "--set", "n=36", "--nodes", "4", "--ranks-per-node", "2", "--steps", "50"],
    "samples": [
        "breast-cancer",
        "--set",
        "qubits=8",
        "--nodes",
        "2",
        "--batch",
        "32",
        "--bandwidth",
        "0.5",
        "--flops",
        "1e11",
    ],
    "one node": ["tfim", "--set", "n=12", "--nodes", "1"],
}


LABELS = {"value": "a value", "gradient": "a gradient", "step": "a step", "training": "the training"}


@pytest.mark.parametrize("arguments", RUNS.values(), ids=RUNS)
def test_what_is_printed_fits_80_columns_and_is_what_the_json_holds(quprop_in_80_columns, tmp_path, arguments):
    stdout, _ = quprop_in_80_columns("plan", *arguments, "--json", "nodes.json")
    found = json.loads((tmp_path / "nodes.json").read_text())
    assert found["kind"] == "nodes_plan" and found["by"] == "formula" and found["what"] == arguments[0]
    assert " ".join(stdout.split()).endswith(" ".join(found["advice"].split()))
    for name, label in LABELS.items():
        row = found["sent"][name]
        if row["rank_bytes"]:
            sizes = (short_bytes(row[k]) for k in ("rank_bytes", "lower_bound_bytes", "all_bytes"))
            assert re.search(rf"^{label} +[\d,.e]+ +{' +'.join(map(re.escape, sizes))}$", stdout, re.M), name
    assert (
        ("exchange: bytes over" in stdout)
        == ("bandwidth" in found)
        == ("exchange_seconds" in found["sent"]["gradient"])
    )
    assert "(formula)" in stdout and short_bytes(found["node_bytes"]) in stdout


def test_its_page_has_sizes_and_times_in_peoples_units(quprop, tmp_path):
    pytest.importorskip("jinja2")
    pytest.importorskip("plotly")
    quprop("plan", *RUNS["described"], "--json", "nodes.json", "--quiet")
    quprop("report", "nodes.json", "--out", "page.html")
    page, found = (tmp_path / "page.html").read_text(), json.loads((tmp_path / "nodes.json").read_text())
    for size in (found["node_bytes"], *(found["sent"]["gradient"][k] for k in ("rank_bytes", "all_bytes"))):
        assert short_bytes(size) in page
    assert "sent by a rank" in page and "time of exchange" in page and found["advice"] in page


def test_the_precision_of_a_problem_is_that_of_its_training(quprop, tmp_path):
    sent = []
    for precision in ("double", "single"):
        quprop("plan", "tfim", "--set", f"n=20,precision={precision}", "--nodes", "4", "--json", "p.json", "--quiet")
        found = json.loads((tmp_path / "p.json").read_text())
        assert found["state_precision"] == precision
        sent.append(found["sent"]["gradient"]["rank_bytes"])
    assert sent[0] == 2 * sent[1] > 0


def test_a_saved_model_is_planned_like_its_circuit_by_sizes(quprop, tmp_path):
    circuit = ansatz.hardware_efficient(12, 3)
    qpr.Model(circuit, "Z0 Z1").save(tmp_path / "model.json")
    found = []
    for what in ("model.json", "hardware_efficient:12,3"):
        quprop("plan", what, "--nodes", "4", "--memory-per-node", "8", "--json", "plan.json", "--quiet")
        found.append(json.loads((tmp_path / "plan.json").read_text()))
    known = {k: v for k, v in found[0].items() if k not in ("what", "traffic", "sent")}
    assert known == {k: found[1][k] for k in known}
    assert found[0]["sent"]["training"] == found[1]["sent"]["training"]


class Clocked:
    """Four ranks of which this is the second; each message takes a second of its clock, and the slowest rank twice as
    long."""

    rank, size, now = 1, 4, 0.0

    def __init__(self):
        self.comm, self.partners = self, []

    def Barrier(self):
        self.partners.append([])

    def Sendrecv(self, out, dest, recvbuf, source):
        assert out.nbytes == recvbuf.nbytes
        self.partners[-1].append((dest, source))
        self.now += 1.0

    def allgather(self, seconds):
        return [seconds, 2 * seconds, seconds, seconds]


def test_the_bandwidth_is_what_a_rank_sends_to_all_others_over_the_time_of_the_slowest(monkeypatch):
    ranks = Clocked()
    monkeypatch.setattr(bandwidth.time, "perf_counter", lambda: ranks.now)
    assert bandwidth.measured_bandwidth(ranks, 1000) == 3 * 1000 / (2 * 3.0)
    assert all(turn == [(2, 0), (3, 3), (0, 2)] for turn in ranks.partners) and len(ranks.partners) > 1
    ranks.size, ranks.rank = 1, 0
    assert bandwidth.measured_bandwidth(ranks) is None
    with pytest.raises(QupropError, match="size must be a whole number from 1"):
        bandwidth.measured_bandwidth(ranks, 0)


MEASURED = """
from quprop.simulate.distributed.bandwidth import measured_bandwidth
from quprop.simulate.distributed.ranks import world
ranks = world()
found = ranks.comm.gather(measured_bandwidth(ranks, 1 << 20))
if ranks.rank == 0:
    print(*found)
"""


COUNTED = """
import sys
import numpy as np
import quprop as qpr
from quprop.planning import plan_on_nodes
from quprop.simulate import get_engine
from quprop.simulate.distributed import Distributed
from quprop.simulate.distributed.ranks import world
from test_plan_nodes import with_swaps

model, ranks = with_swaps(11), world()
engine = get_engine(Distributed(ranks_per_state=ranks.size))
theta = np.random.default_rng(0).uniform(-1, 1, (2, model.n_params))
x, ones = np.zeros((1, 0)), np.ones((2, 1))

def step(samples):
    values, pullback = engine.vjp(model, theta[:samples], x)
    pullback(ones[:samples])

for name, samples, call in (
    ("value", 1, lambda: engine.values(model, theta[:1], x)),
    ("gradient", 1, lambda: engine.value_and_grad(model, theta[:1], x, ones[:1])),
    ("step", 1, lambda: step(1)),
    ("step", 2, lambda: step(2)),
):
    before = engine.moved.exchanges, engine.moved.bytes
    call()
    sent = engine.moved.exchanges - before[0], engine.moved.bytes - before[1]
    told = getattr(plan_on_nodes(model, ranks.size, samples=samples), name)
    if ranks.rank == 0:
        print(name, samples, *sent, told.exchanges, told.rank_bytes)
"""


@needs_mpi
@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_what_is_told_is_what_ranks_count_for_a_value_a_gradient_and_steps(ranks):
    done = run(ranks, "-c", COUNTED, cwd=Path(__file__).parent)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == 4 and plan_on_nodes(with_swaps(11), ranks).traffic.swaps > 0, done.stderr
    for name, samples, *counts in rows:
        assert counts[:2] == counts[2:] and int(counts[0]) > 0, (name, samples)


@needs_mpi
def test_ranks_measure_one_bandwidth():
    done = run(2, "-c", MEASURED)
    found = [float(word) for word in done.stdout.split()]
    assert len(found) == 2 and len({*found}) == 1 and 1e6 < found[0] < 1e13, done.stderr


@needs_mpi
def test_under_mpirun_a_plan_measures_the_bandwidth_unless_it_is_given(tmp_path):
    plan = ("-m", "quprop.cli", "plan", "tfim", "--set", "n=12", "--nodes", "2", "--json")
    for more, by in (((), "measured"), (("--bandwidth", "3"), "given")):
        done = run(2, *plan, tmp_path / by, *more)
        found = json.loads((tmp_path / by).read_text())
        assert done.returncode == 0 and done.stdout.count("a gradient") == 2, done.stderr  # of one rank: sent, and time
        assert found["bandwidth_by"] == by and f"GB/s a rank, {by}" in " ".join(done.stdout.split())
        row = found["sent"]["gradient"]
        assert row["exchange_seconds"] == pytest.approx(row["rank_bytes"] / found["bandwidth"])
    assert found["bandwidth"] == 3e9


NOISY = qpr.Model(qpr.Circuit(4).ry(qpr.params("theta", 1)[0], 0).depolarising(0.1, 0), "Z0")
WRONG = {
    "three nodes": (lambda m: plan_on_nodes(m, 3), "nodes must be a power of two, got 3: take 2 or 4"),
    "no node": (lambda m: plan_on_nodes(m, 0), "nodes must be a whole number from 1"),
    "half a node": (lambda m: plan_on_nodes(m, 1.5), "nodes must be a whole number from 1"),
    "six ranks": (lambda m: plan_on_nodes(m, 2, ranks_per_node=6), "ranks_per_node must be a power of two, got 6"),
    "more ranks than amplitudes": (lambda m: plan_on_nodes(m, 32), "take fewer ranks"),
    "no bandwidth": (lambda m: plan_on_nodes(m, 2, bandwidth=0), "bandwidth must be a positive number"),
    "negative bandwidth": (lambda m: plan_on_nodes(m, 2, bandwidth=-1e9), "bandwidth must be a positive number"),
    "nan": (lambda m: plan_on_nodes(m, 2, bandwidth=float("nan")), "bandwidth must be a positive number"),
    "no memory": (lambda m: plan_on_nodes(m, 2, memory_per_node=0), "memory_per_node must be a positive number"),
    "no flops": (lambda m: plan_on_nodes(m, 2, flops=0), "flops must be a positive number"),
    "no steps": (lambda m: plan_on_nodes(m, 2, steps=0), "steps must be a whole number from 1"),
    "half precision": (lambda m: plan_on_nodes(m, 2, precision="half"), 'precision is "double" or "single"'),
    "noise": (lambda _: plan_on_nodes(NOISY, 2), "model.noiseless()"),
    "too wide": (lambda _: plan_on_nodes(qpr.Model(qpr.Circuit(41), "Z0"), 2), "plan 40 qubits or fewer"),
}


@pytest.mark.parametrize("call, said", WRONG.values(), ids=WRONG)
def test_what_cannot_be_is_refused_in_one_sentence(call, said):
    with pytest.raises(QupropError, match=re.escape(said)) as caught:
        call(fields_on(8))
    assert "\n" not in str(caught.value)


BAD = {
    "tfim --nodes 3": "nodes must be a power of two",
    "tfim --nodes 2 --ranks-per-node 3": "ranks_per_node must be a power of two",
    "tfim --set n=4 --nodes 64": "take fewer ranks",
    "tfim --nodes 2 --bandwidth 0": "bandwidth must be a positive number",
    "tfim --nodes 2 --precision 0.1": "--precision has no part in exact gradients over --nodes",
    "tfim --nodes 2 --backend quprop": "--backend has no part",
    "tfim --nodes 2 --hardware superconducting": "--hardware has no part",
    "--nodes 2": "got no model",
    "mlp --nodes 2": "got the network mlp",
    "tfim --bandwidth 3 --precision 0.1": "give --nodes N too",
    "tfim --ranks-per-node 2 --precision 0.1": "give --nodes N too",
    "hardware_efficient:4,3 --set n=3 --nodes 2": "this circuit has none",
    "uccsd:4 --nodes 2": "needs more than numbers",
    "hardware_efficient:40,9999999 --nodes 2": "give smaller ones",
    "tfm --nodes 2": "did you mean 'tfim'?",
    "--machines --nodes 2": "stand alone",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_gets_one_sentence_and_status_2(quprop, arguments):
    stdout, stderr = quprop("plan", *arguments.split(), status=2)
    assert stdout == "" and BAD[arguments] in stderr and stderr.count("\n") == 1 and stderr.startswith("quprop: ")
