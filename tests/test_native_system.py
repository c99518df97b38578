"""How the native engine lives in a process: threads, signals, the GIL, forks, memory, choice of instruction set."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cases
import numpy as np
import pytest
from native_models import segmented_model
from test_native import HERE, NAMES, arguments, engine, results

import quprop as qpr

NONE = np.zeros((1, 0))


def long_model(n=18, layers=60):
    """A sweep of some seconds."""
    return qpr.Model(qpr.ansatz.hardware_efficient(n, layers), "Z0 Z1")


def python(code, **environment):
    """A fresh interpreter that runs `code` with the tests' folder on its path."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


# -- threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("name", NAMES)
def test_results_do_not_depend_on_the_number_of_threads(name, precision):
    model = cases.CASES[name].model
    for batch in (1, 17):
        given = arguments(model, batch)
        for block in (None, 3):
            one, two, three = (results(engine(precision, block=block, threads=t), model, *given) for t in (1, 2, 3))
            for key, value in one.items():
                assert np.array_equal(value, two[key]), f"{key} with 2 threads"
                assert np.array_equal(value, three[key]), f"{key} with 3 threads"


@pytest.mark.parametrize(("n", "batch"), [(15, 1), (17, 1), (12, 5), (5, 300)])
def test_nor_for_states_of_many_blocks_and_batches_of_many_vectors(n, batch):
    """Sums over chunks and samples are taken in a fixed order."""
    model = segmented_model(n, n, 4, n_inputs=0)
    theta = cases.values_for(model, batch)[0]
    weights = np.random.default_rng(1).normal(size=(batch, model.n_observables))
    for precision in ("double", "single"):
        found = []
        for threads in (1, 2, 3):
            values, pullback = engine(precision, threads=threads).vjp(model, theta, NONE)
            found.append((values, pullback(weights)[0], pullback(weights, True)[0]))
        for other in found[1:]:
            assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_several_python_threads_may_compute_at_once():
    """With one engine and one model, and with threads of its own in use."""
    model = segmented_model(1, 9, 4, n_inputs=0)
    thetas = cases.values_for(model, 40)[0]
    weights = np.ones((1, model.n_observables))
    shared = engine(threads=2)

    def gradient(theta):
        return shared.vjp(model, theta[None], NONE)[1](weights)[0]

    expected = [gradient(theta) for theta in thetas]
    with ThreadPoolExecutor(4) as pool:
        for actual, wanted in zip(pool.map(gradient, thetas), expected, strict=True):
            assert np.array_equal(actual, wanted)


def test_other_python_threads_go_on_during_a_sweep():
    """The GIL is released: a thread that needs it ticks while one gradient is computed by a single call."""
    model = long_model(17)
    theta = cases.values_for(model)[0]
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.002)

    qpr.expectation(model, theta, threads=1)  # planned and compiled
    other = threading.Thread(target=tick)
    other.start()
    time.sleep(0.02)
    began = time.perf_counter()
    qpr.value_and_grad(model, theta, threads=1)
    ended = time.perf_counter()
    done.set()
    other.join()
    inside = sum(began < t < ended for t in ticks)
    assert ended - began > 0.05, "the sweep is too short to tell"
    assert inside > (ended - began) / 0.002 / 20, f"{inside} ticks in {ended - began:.2f} s"


# -- signals ----------------------------------------------------------------------------------------------------------

INTERRUPTED = """
import time
import cases
import numpy as np
import quprop as qpr
model = qpr.Model(qpr.ansatz.hardware_efficient({n}, {layers}), "Z0 Z1")
theta = cases.values_for(model, {batch})[0]
print("ready", flush=True)
try:
    while True:
        qpr.value_and_grad(model, theta)
except KeyboardInterrupt:
    print("interrupted", flush=True)
small = qpr.Model(qpr.ansatz.hardware_efficient(4, 1), "Z0")
print(np.isfinite(qpr.value_and_grad(small, cases.values_for(small)[0])[1]).all(), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("n", "layers", "batch"), [(20, 400, None), (8, 50, 20_000)], ids=["one_state", "batch"])
def test_control_c_ends_a_long_sweep(n, layers, batch):
    """Within two seconds, by a KeyboardInterrupt that can be caught, and the engine works afterwards."""
    ends_by_control_c(INTERRUPTED.format(n=n, layers=layers, batch=batch))


def ends_by_control_c(program):
    """Of a program that says "ready", sweeps until it is interrupted, and then says so and that all is well."""
    child = python(program)
    try:
        assert child.stdout.readline() == "ready\n", child.stderr.read()
        time.sleep(1.0)
        child.send_signal(signal.SIGINT)
        began = time.perf_counter()
        out, err = child.communicate(timeout=20)
        took = time.perf_counter() - began
    finally:
        child.kill()
    assert out == "interrupted\nTrue\n", err
    assert child.returncode == 0
    assert took < 2, f"{took:.1f} s"


# -- processes --------------------------------------------------------------------------------------------------------

FORKED = """
import os, sys, warnings
import cases
import numpy as np
import quprop as qpr
warnings.simplefilter("ignore")  # Python warns of forks in a process that has threads: those are what is tested
model = cases.random_model(1, 12, 60)
theta = cases.values_for(model)[0]
w = np.ones(2)
before = qpr.value_and_grad(model, theta, weights=w, threads=2)[1]
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        same = all(np.array_equal(qpr.value_and_grad(model, theta, weights=w, threads=t)[1], before) for t in (2, 3, 1))
        os._exit(0 if same else 1)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
after = qpr.value_and_grad(model, theta, weights=w, threads=2)[1]
print(codes, np.array_equal(before, after))
"""


def test_forked_children_compute_with_threads_of_their_own():
    out, err = python(FORKED).communicate(timeout=60)
    assert out == "[0, 0, 0] True\n", err


FORKED_IN_A_SWEEP = """
import os, threading
import cases
import numpy as np
import quprop as qpr
model = cases.random_model(1, 12, 60)
theta = cases.values_for(model)[0]
w = np.ones(2)
before = qpr.value_and_grad(model, theta, weights=w, threads=2)[1]
long = qpr.Model(qpr.ansatz.hardware_efficient(17, 8), "Z0 Z1")
at = cases.values_for(long)[0]
wanted = qpr.value_and_grad(long, at, threads=2)[1]
done, right = threading.Event(), []

def sweep():
    while not done.is_set():
        right.append(np.array_equal(qpr.value_and_grad(long, at, threads=2)[1], wanted))

other = threading.Thread(target=sweep)
other.start()
codes = []
for _ in range(8):
    pid = os.fork()
    if pid == 0:
        same = all(np.array_equal(qpr.value_and_grad(model, theta, weights=w, threads=t)[1], before) for t in (2, 3, 1))
        os._exit(0 if same else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
done.set()
other.join()
print(codes, len(right) > 0 and all(right))
"""


def test_a_fork_during_a_sweep_of_another_thread_harms_neither():
    """The child has no thread that could give back what the sweep had taken."""
    child = python(FORKED_IN_A_SWEEP, PYTHONWARNINGS="ignore")
    try:
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert out == f"{[0] * 8} True\n", err


def _gradient(seed):
    model = cases.random_model(seed, 12, 60)
    return qpr.value_and_grad(model, cases.values_for(model)[0], weights=[1, 1], threads=2)[1]


@pytest.mark.parametrize(("start", "size"), [("fork", 2), ("spawn", 1)])
def test_processes_of_multiprocessing_compute_what_their_parent_does(start, size):
    """A pool of processes, made while the threads of this one are alive."""
    expected = [_gradient(seed) for seed in range(4)]
    with multiprocessing.get_context(start).Pool(size) as processes:
        found = processes.map_async(_gradient, range(4)).get(timeout=60)
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert np.array_equal(_gradient(0), expected[0])


LEFT = """
import threading, time
import cases
import quprop as qpr
model = qpr.Model(qpr.ansatz.hardware_efficient({n}, {layers}), "Z0 Z1")
theta = cases.values_for(model, {batch})[0]
begun = threading.Event()

def sweep():
    while True:
        begun.set()
        qpr.value_and_grad(model, theta, threads=2)

threading.Thread(target=sweep, daemon=True).start()
begun.wait()
time.sleep(0.2)
print("left", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("n", "layers", "batch"), [(18, 60, None), (8, 20, 2000), (6, 1, None)])
def test_the_interpreter_ends_during_a_sweep_of_a_daemon_thread(n, layers, batch):
    """At once and without a fault: the sweep's threads do not need what the interpreter takes down."""
    child = python(LEFT.format(n=n, layers=layers, batch=batch))
    try:
        assert child.stdout.readline() == "left\n", child.stderr.read()
        out, err = child.communicate(timeout=10)
    finally:
        child.kill()
    assert (out, err, child.returncode) == ("", "", 0)


@pytest.mark.slow
@pytest.mark.parametrize("isa", HERE)
def test_the_environment_chooses_the_instruction_set(isa):
    code = "import quprop.simulate; print(quprop.simulate.get_engine('native').isa)"
    assert python(code, QUPROP_ISA=isa).communicate(timeout=60)[0] == f"{isa}\n"


def test_an_unknown_instruction_set_is_one_sentence():
    with pytest.raises(qpr.QupropError, match="isa is one of avx512, avx2, base, got 'mmx'"):
        engine(isa="mmx")


# -- memory -----------------------------------------------------------------------------------------------------------


def resident():
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_memory_is_flat_over_ten_thousand_gradients():
    model = cases.CASES["hardware_efficient"].model
    batch_model = cases.CASES["inputs"].model
    theta = cases.values_for(model)[0]
    t, x = cases.values_for(batch_model, 20)

    def step(k):
        qpr.value_and_grad(model, theta + 1e-4 * k)
        if k % 10 == 0:
            qpr.vjp(batch_model, t[0], x)[1](np.ones(2), sum_theta=True)

    for k in range(500):
        step(k)
    before = resident()
    for k in range(10_000):
        step(k)
    assert resident() - before < 2 << 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_model_that_is_gone_leaves_nothing():
    """Plans and scratch go with the model; large states go back to the system after each call. In a process of its own,
    whose heap no other test has left in pieces."""
    code = """
import gc, os, cases, quprop as qpr
def resident(): return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
def use(seed):
    model = cases.random_model(seed, 10, 40)
    qpr.value_and_grad(model, cases.values_for(model)[0], weights=[1, 1])
for seed in range(50): use(seed)
gc.collect()
before = resident()
for seed in range(50, 1000): use(seed)
gc.collect()
small = resident() - before
large = qpr.Model(qpr.ansatz.hardware_efficient(23, 1), "Z0")
qpr.value_and_grad(large, cases.values_for(large)[0])
print(small, resident() - before)
"""
    stdout, stderr = python(code).communicate(timeout=300)
    assert stdout, stderr
    small, large = map(int, stdout.split())
    assert small < 8 << 20 and large < 32 << 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize("what", ["values", "value_and_grad", "vjp"])
def test_no_more_memory_is_taken_than_was_announced(precision, what):
    """Peak resident memory of a fresh process, less what it had before; n = 22 so that states dominate."""
    code = f"""
import cases, numpy as np, quprop as qpr
from quprop.simulate import get_engine
def peak(): return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM")) << 10
model = qpr.Model(qpr.ansatz.hardware_efficient(22, 1), "Z0 Z1")
theta = cases.values_for(model)[0]
small = qpr.Model(qpr.ansatz.hardware_efficient(6, 1), "Z0 Z1")
qpr.value_and_grad(small, cases.values_for(small)[0], precision={precision!r})
before = peak()
if {what!r} == "values":
    qpr.expectation(model, theta, precision={precision!r})
elif {what!r} == "value_and_grad":
    qpr.value_and_grad(model, theta, precision={precision!r})
else:
    qpr.vjp(model, theta, precision={precision!r})[1]([1.0])
print(peak() - before, get_engine("native", {precision!r}).memory(model, 1, {what!r}))
"""
    out, err = python(code).communicate(timeout=120)
    used, announced = map(int, out.split())
    assert used <= announced + (8 << 20), f"used {used >> 20} MiB, announced {announced >> 20} MiB {err}"
    assert announced <= 2 * used


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("n, layered", [(4, False), (8, False), (12, True), (16, True)])
def test_no_more_memory_is_taken_by_a_long_list_than_was_announced(n, layered):
    """Where the plan dominates: peak of a fresh process, less what the model holds itself."""
    code = f"""
import cases, quprop as qpr
from quprop.simulate.state_vector.native import NativeEngine
from test_native_system import resident
def peak(): return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM")) << 10
if {layered}:
    model = qpr.Model(qpr.ansatz.hardware_efficient({n}, 40_000 // (2 * {n})), "Z0 Z1")
else:
    model = cases.random_model(0, {n}, 40_000)
engine = NativeEngine(tables=False, symmetries=False)
announced, theta, before = engine.memory(model, 1, "hvp"), cases.values_for(model)[0], resident()
qpr.hvp(model, theta, v_theta=theta, weights=[1.0] * model.n_observables, engine=engine)
print(peak() - before, announced)
"""
    out, err = python(code).communicate(timeout=120)
    assert out, err
    used, announced = map(int, out.split())
    assert used <= announced <= 4 * used, f"used {used >> 20} MiB, announced {announced >> 20} MiB"


MILLION = """
import cases, quprop as qpr
from test_native_system import resident
circuit = qpr.ansatz.hardware_efficient(10, 50_000)
before = resident()
model = qpr.Model(circuit, "Z0 Z1")
used = resident() - before
print(len(qpr.value_and_grad(model, cases.values_for(model)[0])[1]), used)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_model_of_a_million_rotations_takes_less_than_half_a_gibibyte():
    """Its times are in `benchmarks/first_use.py --million`."""
    out, err = python(MILLION).communicate(timeout=300)
    assert out, err
    rotations, used = map(int, out.split())
    assert rotations == 1_000_000 and used < 1 << 29
