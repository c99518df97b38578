"""Rounds of circuits on a device: jobs, counts, the ledger and the budget, whatever happens in between."""

import json
import os
import signal
from collections import Counter

import numpy as np
import pytest
from faults import calls_of, killed_at

import quprop as qpr
from quprop import Circuit, params
from quprop.sampling.devices import DeviceCircuit, Limits, Work
from quprop.sampling.devices.ledger import JobLedger
from quprop.sampling.devices.own import OwnDevice
from quprop.sampling.devices.packing import merge, pack
from quprop.sampling.devices.runner import Runner
from quprop.sampling.devices.spending import BudgetSpent, Spending


def circuit(n=2, angles=3, measured=None):
    a = params("angle", angles)
    made = Circuit(n)
    for i in range(angles):
        made.ry(a[i], i % n)
        made.cx(i % n, (i + 1) % n)
    return DeviceCircuit(made, tuple(range(n)) if measured is None else measured, angles)


def work_of(given, shots, seed=0):
    shots = np.asarray(shots, np.int64)
    return Work(given, np.random.default_rng(seed).normal(size=(len(shots), given.n_params)), shots)


class Service(OwnDevice):
    """Remembers what it is asked, and has a price."""

    def __init__(self, seconds_a_shot=None, dollars=None, **options):
        super().__init__(**options)
        self.asked, self.found, self.order = [], [], []
        self.seconds_a_shot, self.dollars = seconds_a_shot, dollars

    def submit(self, work, *, seed, tag):
        self.asked.append((tag, seed, work))
        self.order.append("submit")
        job, order = super().submit(work, seed=seed, tag=tag), self.order

        class Waiting:
            id = job.id

            def result(self):
                order.append("result")
                return job.result()

        return Waiting()

    def find(self, tag, work):
        self.found.append(tag)
        return super().find(tag, work)

    def seconds(self, work):
        return self.seconds_a_shot and self.seconds_a_shot * sum(int(w.shots.sum()) for w in work)

    def price(self, work):
        return self.dollars and self.dollars * sum(len(w.shots) for w in work)


def paid(folder):
    """The whole lines of a service that remembers."""
    file = folder / "paid.jsonl"
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def same(found, other):
    return all(
        np.array_equal(a, b)
        for one, two in zip(found, other, strict=True)
        for x, y in zip(one, two, strict=True)
        for a, b in zip(x, y, strict=True)
    )


# -- packing ----------------------------------------------------------------------------------------------------------


def test_a_batch_of_parameter_shift_is_one_job_and_two_where_a_job_has_2000_circuits():
    shots = np.full(2560, 100)  # 40 parameters, 2 circuits each, 32 samples
    assert len(pack(shots, Limits())) == 1
    assert [len(job) for job in pack(shots, Limits(circuits=2000))] == [2000, 560]


@pytest.mark.parametrize("seed", range(30))
def test_every_shot_is_in_one_job_and_no_limit_is_broken(seed):
    rng = np.random.default_rng(seed)
    shots = rng.integers(1, rng.integers(2, 200), size=rng.integers(1, 60))
    most = [None if rng.random() < 0.4 else int(rng.integers(1, 150)) for _ in range(3)]
    limits = Limits(None, *most)
    jobs = pack(shots, limits)
    total = Counter()
    for job in jobs:
        assert job and job == sorted(job)
        assert limits.circuits is None or len(job) <= limits.circuits
        assert limits.executions is None or sum(n for _, n in job) <= limits.executions
        assert limits.shots is None or max(n for _, n in job) <= limits.shots
        for i, n in job:
            assert n >= 1
            total[i] += n
    assert [total[i] for i in range(len(shots))] == shots.tolist()
    if limits.circuits is None or limits.executions is None:  # then as few jobs as can be
        size = min(m for m in (limits.shots, limits.executions, 10**9) if m is not None)
        settings = int(sum(-(-n // size) for n in shots))
        least = max(
            1 if limits.circuits is None else -(-settings // limits.circuits),
            1 if limits.executions is None else -(-int(shots.sum()) // limits.executions),
        )
        assert len(jobs) == least


def test_no_setting_is_cut_where_that_saves_no_job():
    jobs = pack(np.array([6, 6, 6]), Limits(executions=7))
    assert jobs == [[(0, 6)], [(1, 6)], [(2, 6)]]
    assert len(pack(np.array([6, 6, 6, 6, 6, 6, 6]), Limits(executions=7))) == 6  # 42 shots, and no fewer than 6


def test_large_settings_stand_beside_small_ones_where_both_limits_hold():
    shots = np.array([90, 90, 90, 90, 1, 1, 1, 1])
    assert len(pack(shots, Limits(circuits=2, executions=91))) == 4


def test_settings_of_one_circuit_are_one_work_of_a_job():
    a, b = circuit(), circuit(3, 2)
    again = circuit()
    assert a is not again and a.key == again.key
    merged = merge([work_of(a, [1, 2]), work_of(b, [3]), work_of(again, [4, 5], seed=1)])
    assert [w.circuit.key for w in merged.work] == [a.key, b.key]
    assert [w.shots.tolist() for w in merged.work] == [[1, 2, 4, 5], [3]]
    assert [p.tolist() for p in merged.places] == [[0, 1], [4], [2, 3]]


# -- what a round gives -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [Limits(), Limits(circuits=2), Limits(shots=7), Limits(None, 3, 9, 20)])
def test_counts_come_in_the_order_asked_with_all_their_shots(limits):
    """Angles of 0 and pi: each setting has one outcome, which names it."""
    circuits = []
    for n in (2, 3):
        a = params("angle", n)
        made = Circuit(n)
        for q in range(n):
            made.rx(a[q], q)
        circuits.append(DeviceCircuit(made, tuple(reversed(range(n))), n))
    rng, work, expected = np.random.default_rng(1), [], []
    for i in (0, 1, 0, 1, 1):
        bits = rng.integers(0, 2, size=(rng.integers(1, 5), circuits[i].n_params))
        work.append(Work(circuits[i], np.pi * bits, rng.integers(1, 30, size=len(bits))))
        expected.append([int("".join(map(str, row)), 2) for row in bits])  # qubit 0 is the highest bit
    device = Service(limits=limits)
    runner = Runner(device)
    counts = runner.run(work, "a")
    for w, found, names in zip(work, counts, expected, strict=True):
        for (outcomes, times), shots, name in zip(found, w.shots, names, strict=True):
            assert outcomes.tolist() == [name] and times.tolist() == [shots]
    shots = sum(int(w.shots.sum()) for w in work)
    assert runner.executed.shots == runner.planned.shots == shots
    assert runner.executed.rotations == sum(int(w.shots.sum()) * w.circuit.rotations for w in work)
    assert runner.executed == runner.planned and runner.executed.jobs == len(device.asked)
    assert runner.executed.circuits == sum(len(w.shots) for _, _, job in device.asked for w in job)


def test_all_jobs_are_handed_in_before_any_is_waited_for():
    device = Service(limits=Limits(circuits=1))
    Runner(device).run([work_of(circuit(), [10, 10, 10])], "a")
    assert device.order == ["submit"] * 3 + ["result"] * 3


def test_draws_come_from_the_seed_the_round_and_the_job_alone():
    work = [work_of(circuit(), [50] * 4)]

    def run(seed=0, key="a", before=()):
        device = Service(limits=Limits(circuits=2))
        runner = Runner(device, ledger=JobLedger(seed=seed))
        for other in before:
            runner.run(work, other)
        return runner.run(work, key), [s for _, s, _ in device.asked[-2:]]

    first, seeds = run()
    again, same_seeds = run(before=("b", "c"))
    assert same(first, again) and seeds == same_seeds and len(set(seeds)) == 2
    assert not set(run(seed=1)[1]) & set(seeds) and not set(run(key="b")[1]) & set(seeds)


def test_work_without_settings_is_no_job():
    device = Service()
    empty = Work(circuit(), np.empty((0, 3)), np.empty(0, np.int64))
    assert Runner(device).run([empty], "a") == [[]] and not device.asked


def test_the_widest_outcomes_are_kept_exactly(tmp_path):
    """Of more qubits than a machine word has bits."""
    made = DeviceCircuit(Circuit(100), tuple(range(100)), 0)
    work = [Work(made, np.empty((1, 0)), np.array([3]))]

    class Wide(Service):
        def submit(self, work, *, seed, tag):
            counts = [[(np.array([1 << 99, 5], object), np.array([1, 2]))]]
            return type("Job", (), {"id": "x", "result": lambda self: counts})()

    first = Runner(Wide(), ledger=JobLedger(tmp_path))
    found = first.run(work, "a")
    first.ledger.close()
    assert found[0][0][0].tolist() == [5, 1 << 99] and found[0][0][1].tolist() == [2, 1]
    assert same(Runner(Wide(), ledger=JobLedger(tmp_path)).run(work, "a"), found)


# -- what is refused --------------------------------------------------------------------------------------------------


def one_sentence(error):
    text = str(error.value)
    assert "\n" not in text and (";" in text or ":" in text)
    return text


def test_a_device_that_is_too_small_or_cannot_run_a_circuit_gets_nothing():
    device = Service(limits=Limits(qubits=2))
    with pytest.raises(qpr.QupropError, match="has 2 qubits, and this circuit needs 3") as error:
        Runner(device).run([work_of(circuit(2), [5]), work_of(circuit(3), [5])], "a")
    one_sentence(error)

    class Picky(Service):
        def prepare(self, circuits):
            raise qpr.QupropError("this device knows no cx: take another")

    device = Picky(limits=Limits(circuits=1))
    with pytest.raises(qpr.QupropError, match="knows no cx"):
        Runner(device).run([work_of(circuit(), [5, 5])], "a")
    assert not device.asked


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([[(np.array([0]), np.array([9]))]], "9 outcomes of a setting with 10 shots"),
        ([[(np.array([0, 1]), np.array([11, -1]))]], "of something else"),
        ([[(np.array([4]), np.array([10]))]], "outcome 4 of 2 measured qubits"),
        ([[(np.array([-1]), np.array([10]))]], "of something else"),
        ([[(np.array([0]), np.array([10]))] * 2], "counts of 2 settings in 1 circuit, expected 1 in 1"),
        ([], "counts of 0 settings"),
    ],
)
def test_counts_of_something_else_are_refused(counts, words, tmp_path):
    class Wrong(Service):
        def submit(self, work, *, seed, tag):
            return type("Job", (), {"id": "x", "result": lambda self: counts})()

    with pytest.raises(qpr.QupropError, match=words) as error:
        Runner(Wrong(), ledger=JobLedger(tmp_path)).run([work_of(circuit(), [10])], "a")
    one_sentence(error)
    assert not (tmp_path / "counts").exists()


# -- the ledger -------------------------------------------------------------------------------------------------------

LIMITS = Limits(circuits=2)


def rounds():
    return {f"r{k}": [work_of(circuit(), [20, 30, 40], seed=k), work_of(circuit(3, 2), [10, 5], k)] for k in range(3)}


def run_all(folder, **options):
    """Three rounds of three jobs on a service that remembers."""
    runner = Runner(Service(limits=LIMITS, folder=folder / "service", **options), ledger=JobLedger(folder))
    try:
        return runner, [runner.run(work, key) for key, work in rounds().items()]
    finally:
        runner.ledger.close()


def test_kept_counts_are_used_and_nothing_is_submitted_again(tmp_path):
    runner, found = run_all(tmp_path)
    again, kept = run_all(tmp_path)
    assert not again.device.asked and not again.device.found
    assert all(same(a, b) for a, b in zip(found, kept, strict=True))
    assert again.executed == runner.executed and again.ledger.spent == runner.ledger.spent == runner.planned
    assert len(paid(tmp_path / "service")) == 9


@pytest.mark.parametrize("most", [8, pytest.param(None, marks=pytest.mark.slow)])
def test_a_process_killed_at_any_call_pays_no_shot_twice_and_loses_no_result(most, tmp_path):
    (tmp_path / "whole").mkdir()
    _, whole = run_all(tmp_path / "whole")
    (tmp_path / "counted").mkdir()
    count = calls_of(lambda: run_all(tmp_path / "counted"))
    for k in range(1, count + 1, 1 if most is None else count // most):
        folder = tmp_path / str(k)
        folder.mkdir()
        assert killed_at(k, lambda folder=folder: run_all(folder))
        before = {row["tag"] for row in paid(folder / "service")}
        again, found = run_all(folder)
        assert all(same(a, b) for a, b in zip(found, whole, strict=True)), k
        tags = [row["tag"] for row in paid(folder / "service")]
        assert len(tags) == len(set(tags)) == 9 and before <= set(tags)
        assert not before & {tag for tag, _, _ in again.device.asked}
        assert sum(row["shots"] for row in paid(folder / "service")) == again.ledger.spent.shots == 315


def test_a_job_of_which_only_the_service_knows_is_found_by_its_tag(tmp_path):
    """The process died, or its connection, after the service had taken the job and before it could say so."""

    class Cut(Service):
        def submit(self, work, *, seed, tag):
            super().submit(work, seed=seed, tag=tag)
            raise ConnectionError

    runner = Runner(Cut(limits=LIMITS, folder=tmp_path / "service"), ledger=JobLedger(tmp_path))
    with pytest.raises(ConnectionError):
        runner.run(rounds()["r0"], "r0")
    runner.ledger.close()
    again, _ = run_all(tmp_path)
    tags = [row["tag"] for row in paid(tmp_path / "service")]
    assert len(tags) == len(set(tags)) == 9 and tags[0] in again.device.found
    assert tags[0] not in {tag for tag, _, _ in again.device.asked}


def test_rounds_are_written_down_before_they_are_submitted_and_ids_before_they_are_waited_for(tmp_path):
    file = tmp_path / "jobs.jsonl"

    class Looking(Service):
        def submit(self, work, *, seed, tag):
            assert f'"tag": "{tag}"' in file.read_text()
            job = super().submit(work, seed=seed, tag=tag)

            class Waiting:
                id = job.id

                def result(self):
                    assert f'"id": "{job.id}"' in file.read_text()
                    return job.result()

            return Waiting()

    Runner(Looking(limits=LIMITS, folder=tmp_path / "service"), ledger=JobLedger(tmp_path)).run(rounds()["r0"], "r0")


def test_counts_of_other_work_are_refused(tmp_path):
    run_all(tmp_path)
    other = rounds()["r0"]
    other[0].values[0, 0] += 0.1
    fewer = [Work(w.circuit, w.values, w.shots + 1) for w in rounds()["r0"]]
    for work in (other, fewer, rounds()["r0"][:1]):
        runner = Runner(Service(), ledger=JobLedger(tmp_path))
        with pytest.raises(qpr.QupropError, match="counts of r0 that are kept are those of other circuits") as error:
            runner.run(work, "r0")
        one_sentence(error)
        runner.ledger.close()
    close = rounds()["r0"]
    close[0].values[0, 0] += 1e-15  # the last digit, as another machine may have it
    assert Runner(Service(), ledger=JobLedger(tmp_path)).run(close, "r0")


def test_a_round_keeps_the_jobs_it_was_begun_with_where_the_limits_change(tmp_path):
    _, found = run_all(tmp_path)
    runner = Runner(Service(limits=Limits(circuits=1)), ledger=JobLedger(tmp_path))
    assert same(runner.run(rounds()["r1"], "r1"), found[1]) and not runner.device.asked


def test_counts_that_were_changed_are_refused_and_those_that_are_gone_are_collected_again(tmp_path):
    _, found = run_all(tmp_path)
    files = sorted((tmp_path / "counts").iterdir())
    assert len(files) == 9
    data = bytearray(files[0].read_bytes())
    data[len(data) // 2] ^= 1
    files[0].write_bytes(data)
    with pytest.raises(qpr.QupropError, match="is not what was kept of job") as error:
        run_all(tmp_path)
    one_sentence(error)
    files[0].unlink()
    files[4].write_bytes(files[5].read_bytes())  # those of another job
    with pytest.raises(qpr.QupropError, match="is not what was kept of job"):
        run_all(tmp_path)
    files[4].unlink()
    again, kept = run_all(tmp_path)
    assert all(same(a, b) for a, b in zip(found, kept, strict=True)) and not again.device.asked
    assert len(again.device.found) == 1 and len(paid(tmp_path / "service")) == 9


class Forgetful(Service):
    """Jobs fail, or are forgotten."""

    failing = 0

    def submit(self, work, *, seed, tag):
        job, self.failing = super().submit(work, seed=seed, tag=tag), self.failing - 1

        class Failed:
            id = job.id

            def result(self):
                raise qpr.QupropError("the job has expired: hand it in again")

        return Failed() if self.failing >= 0 else job

    def find(self, tag, work):
        self.found.append(tag)


def test_a_lost_job_is_paid_again_with_consent_only(tmp_path):
    device = Forgetful(limits=LIMITS, folder=tmp_path / "service")
    device.failing = 1
    first = Runner(device, ledger=JobLedger(tmp_path))
    with pytest.raises(qpr.QupropError, match=r"has expired: hand it in again; rerun_lost=True pays"):
        first.run(rounds()["r0"], "r0")
    first.ledger.close()
    assert len(list((tmp_path / "counts").iterdir())) == 2  # the others were paid, and are there
    again = Runner(device, ledger=JobLedger(tmp_path))
    with pytest.raises(qpr.QupropError, match=r"no longer knows job job-000001.*rerun_lost=True") as error:
        again.run(rounds()["r0"], "r0")
    one_sentence(error)
    again.ledger.close()
    assert len(paid(tmp_path / "service")) == 3
    consent = Runner(device, ledger=JobLedger(tmp_path), rerun_lost=True)
    counts = consent.run(rounds()["r0"], "r0")
    consent.ledger.close()
    assert [int(n.sum()) for found in counts for _, n in found] == [20, 30, 40, 10, 5]
    lines = paid(tmp_path / "service")
    assert len(lines) == 4 and sum(line["shots"] for line in lines) == consent.spent.shots == 155
    assert consent.executed.shots == 105
    last = Runner(Forgetful(), ledger=JobLedger(tmp_path))  # and that is known from then on
    assert same(last.run(rounds()["r0"], "r0"), counts) and last.spent == consent.spent


def test_a_job_that_nobody_else_can_find_is_run_again_with_the_same_draws(tmp_path):
    """A simulator in this process: its job has no id."""

    def run():
        runner = Runner(Service(limits=LIMITS), ledger=JobLedger(tmp_path))
        try:
            return runner.run(rounds()["r0"], "r0")
        finally:
            runner.ledger.close()

    first = run()
    for file in list((tmp_path / "counts").iterdir())[:2]:
        file.unlink()
    assert same(run(), first)


@pytest.mark.parametrize("line", ['{"tag": "unknown", "id": "1"}', '{"round": "x"}', "{}"])
def test_a_ledger_that_was_changed_is_refused(tmp_path, line):
    run_all(tmp_path)
    file = tmp_path / "jobs.jsonl"
    rows = file.read_text().splitlines()
    file.write_text("\n".join([rows[0], line, *rows[1:]]) + "\n")
    with pytest.raises(qpr.QupropError, match=r"line 2 of .*jobs.jsonl is no event of a job") as error:
        JobLedger(tmp_path)
    one_sentence(error)
    file.write_text("\n".join([line, *rows]) + "\n")
    with pytest.raises(qpr.QupropError, match="no list of quprop's jobs"):
        JobLedger(tmp_path)


def test_a_ledger_keeps_its_seed(tmp_path):
    JobLedger(tmp_path, 5).close()
    assert JobLedger(tmp_path, 6).seed == 5


def test_one_process_at_a_time_has_the_ledger(tmp_path):
    held = JobLedger(tmp_path)
    with pytest.raises(qpr.QupropError, match="another process is running"):
        JobLedger(tmp_path)
    held.close()
    JobLedger(tmp_path).close()


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
def test_what_is_interrupted_while_it_waits_is_collected_afterwards(tmp_path):
    class Slow(Service):
        def submit(self, work, *, seed, tag):
            job = super().submit(work, seed=seed, tag=tag)

            class Waiting:
                id = job.id

                def result(self):
                    os.kill(os.getpid(), signal.SIGINT)
                    return job.result()

            return Waiting()

    runner = Runner(Slow(limits=LIMITS, folder=tmp_path / "service"), ledger=JobLedger(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        runner.run(rounds()["r0"], "r0")
    runner.ledger.close()
    again, _ = run_all(tmp_path)
    assert len(paid(tmp_path / "service")) == 9 and len(again.device.asked) == 6 and len(again.device.found) == 3


# -- the budget -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [{"shots": 250}, {"seconds": 2.5}, {"dollars": 1.3}])
def test_a_budget_is_never_exceeded(tmp_path, limit):
    """Rounds of 105 shots, 1.05 s and 5 circuits at 10 cents: two of them fit."""
    budget = qpr.DeviceBudget(**limit)
    service = {"limits": LIMITS, "folder": tmp_path / "service", "seconds_a_shot": 0.01, "dollars": 0.1}
    runner = Runner(Service(**service), ledger=JobLedger(tmp_path), budget=budget)
    runner.run(rounds()["r0"], "r0")
    runner.run(rounds()["r1"], "r1")
    with pytest.raises(BudgetSpent, match=r"resume=True and a larger one") as error:
        runner.run(rounds()["r2"], "r2")
    one_sentence(error)
    assert len(runner.device.asked) == 6
    unit, most = next(iter(limit.items()))
    assert getattr(runner.spent, unit) <= most
    runner.ledger.close()
    again = Runner(Service(**service), ledger=JobLedger(tmp_path), budget=budget)  # it is one budget of the whole run
    for key in ("r0", "r1"):
        again.run(rounds()[key], key)
    with pytest.raises(BudgetSpent):
        again.run(rounds()["r2"], "r2")
    assert not again.device.asked and again.spent == runner.spent


def test_a_budget_that_just_fits_is_spent_to_the_last_shot():
    runner = Runner(Service(), budget=qpr.DeviceBudget(shots=105))
    runner.run(rounds()["r0"], "r0")
    assert runner.spent.shots == 105


def test_a_budget_in_units_that_the_device_does_not_tell_is_refused():
    device = Service()
    for unit in ("seconds", "dollars"):
        with pytest.raises(qpr.QupropError, match=f"does not say what its circuits cost in {unit}") as error:
            Runner(device, budget=qpr.DeviceBudget(**{unit: 1})).run(rounds()["r0"], "r0")
        one_sentence(error)
    assert not device.asked


@pytest.mark.parametrize("bad", [{}, {"shots": 0}, {"shots": 1.5}, {"seconds": -1}, {"dollars": float("nan")}])
def test_what_is_no_budget_is_refused(bad):
    with pytest.raises(qpr.QupropError):
        qpr.DeviceBudget(**bad)


def test_spendings_add_up_and_what_is_not_known_stays_unknown():
    a, b = Spending(1, 2, 3, 4, 0.5, None), Spending(1, 1, 1, 1, 1.0, 2.0)
    assert a + b == Spending(2, 3, 4, 5, 1.5, None)
    assert str(a + b) == "2 jobs, 3 circuits, 4 shots, 1.5 s of the machine"
