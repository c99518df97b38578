"""What of Qiskit a user may pass as a device, and how each is run: Aer directly, all others by a sampler.

Aer's own `run` binds all settings of a circuit itself and counts outcomes. Its sampler, and Qiskit's for any backend,
keep every shot and unpack it in Python.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np

from quprop.errors import QupropError, nearest, shown
from quprop.hybrid.devices.qiskit_circuits import REGISTER, of_bits, of_hex
from quprop.lazy import missing
from quprop.sampling.devices.device import Limits, Outcomes

try:
    from qiskit.circuit import ControlledGate
    from qiskit.primitives import BackendSamplerV2, StatevectorSampler
    from qiskit.providers import BackendV2
    from qiskit.transpiler import PassManager
    from qiskit.transpiler.passes import Optimize1qGatesDecomposition
except ImportError:
    raise missing("Qiskit's devices need Qiskit 2", "qiskit") from None

_EXECUTIONS = 10_000_000  # of one job of IBM's sampler: settings times shots
_OWN_TAG = re.compile(r"quprop-(\d+)-(\w*)")  # of a job: its seed, and which work it is
# What is handed to samplers that take any circuit; all of it is read by `from_qiskit` too.
GATES = ["h", "x", "y", "z", "s", "sdg", "sx", "sxdg", "t", "tdg", "rx", "ry", "rz", "p", "cx", "cz", "swap", "reset"]
_AER_GATES = ["ecr", "rxx", "ryy", "rzz", "rzx", "u"]
_EACH = {"max_parallel_experiments": 0}  # a circuit on each core; all cores on one small circuit are many times slower
_OURS = ("shots", "seed_simulator", "parameter_binds", "memory")  # options of Aer's `run` that are not the user's


class Pub(NamedTuple):
    circuit: Any  # compiled
    values: np.ndarray  # (R, its parameters), in Qiskit's order
    shots: int  # of every setting


class Running(Protocol):
    """Pubs that run somewhere. id: "" where no other process can find them."""

    @property
    def id(self) -> str: ...

    def outcomes(self) -> list[list[Outcomes]]:
        """Of each pub's settings."""
        ...


class Found(NamedTuple):
    running: Running
    seed: int
    digest: str


class QiskitSource:
    """Runs pubs. name: as people call it. backend: what circuits are compiled for, None for any circuit; machine: what
    knows durations and errors, where that is another one. basis: names of gates, where there is no backend."""

    def __init__(self, name: str, backend: Any, *, machine: Any = None, basis: Sequence[str] | None = None) -> None:
        self.name, self.backend, self.basis = name, backend, basis
        self.machine = backend if machine is None else machine

    @property
    def limits(self) -> Limits:
        if self.backend is None:
            return Limits()
        return Limits(qubits=self.backend.num_qubits, circuits=self.backend.max_circuits)

    @property
    def target(self) -> Any:
        return getattr(self.backend, "target", None)

    @property
    def constraints(self) -> dict[str, Any]:
        """What Qiskit's compiler is told."""
        if self.basis is None:
            return {"backend": self.backend}
        return {"basis_gates": self.basis, "coupling_map": getattr(self.backend, "coupling_map", None)}

    @property
    def one_qubit_passes(self) -> Any:
        """Runs of gates on one qubit as few of the backend's own."""
        given = {"target": self.target} if self.basis is None else {"basis": list(self.basis)}
        return PassManager([Optimize1qGatesDecomposition(**given)])

    def run(self, pubs: Sequence[Pub], seed: int, tag: str, digest: str) -> Running:
        """seed: of what draws at random here; tag, digest: kept with a job that other processes can find."""
        raise NotImplementedError

    def find(self, tag: str) -> Found | None:
        return None


class _Aer(QiskitSource):
    def __init__(self, backend: Any, options: Mapping[str, Any], *, name: str = "aer", machine: Any = None) -> None:
        super().__init__(name, backend, machine=machine)
        known = [key for key, _ in backend.options.items() if key not in _OURS]
        wrong = next((key for key in options if key not in known), None)
        if wrong is not None:
            raise QupropError(f"Aer has no option {shown(wrong)} that can be set here; {nearest(str(wrong), known)}")
        self._options = {**_EACH, **options}
        native = set(backend.target.operation_names)
        if "noise_model" in options and self.noise_model is not None:
            self.basis = sorted(native & set(self.noise_model.basis_gates))
        elif "ccx" in native:  # all that Aer has; three qubits do not go with a coupling map
            self.basis = sorted(native & {*GATES, *_AER_GATES})

    @property
    def noise_model(self) -> Any:
        return self._options.get("noise_model", getattr(self.backend.options, "noise_model", None))

    def run(self, pubs: Sequence[Pub], seed: int, tag: str, digest: str) -> Running:
        groups: dict[int, list[int]] = {}
        for i, pub in enumerate(pubs):
            groups.setdefault(pub.shots, []).append(i)
        jobs = []
        for k, (shots, members) in enumerate(groups.items()):
            circuits, binds = [], []
            for i in members:
                for circuit, bind in _bindings(pubs[i]):
                    circuits.append(circuit)
                    binds.append(bind)
            with said(f"{self.name} did not take the job"):
                job = self.backend.run(
                    circuits,
                    shots=shots,
                    seed_simulator=simulator_seed(seed, k),
                    parameter_binds=binds,
                    **self._options,
                )
            jobs.append((job, members))
        return _AerRunning(self.name, jobs, pubs)


def simulator_seed(seed: int, part: int = 0) -> int:
    """Simulators give circuit i of a run the seed + i, or + 2113 i, and 0 may mean none: what they get is mixed, so
    that neighbouring seeds share no draws."""
    return int(np.random.SeedSequence([seed, part]).generate_state(1)[0] >> 1) + 1


def _bindings(pub: Pub) -> Iterator[tuple[Any, dict[Any, list[float]]]]:
    """Circuits with the values that Aer binds in them. It binds the angles of controlled gates wrongly (0.18), so that
    circuits with such are bound before."""
    circuit, values, _ = pub
    if values.shape[1] and not turns_controlled(circuit):
        yield circuit, dict(zip(circuit.parameters, values.T.tolist(), strict=True))
        return
    for row in values:
        yield circuit.assign_parameters(row), {}


def turns_controlled(circuit: Any) -> bool:
    """Whether a controlled gate has an open angle."""
    return any(step.is_parameterized() and isinstance(step.operation, ControlledGate) for step in circuit.data)


class _AerRunning:
    id = ""

    def __init__(self, name: str, jobs: list[tuple[Any, list[int]]], pubs: Sequence[Pub]) -> None:
        self._name, self._jobs, self._pubs = name, jobs, pubs

    def outcomes(self) -> list[list[Outcomes]]:
        found: list[list[Outcomes]] = [[] for _ in self._pubs]
        for job, members in self._jobs:
            with said(f"{self._name} failed"):
                result = job.result()
            wrong = next((r.status for r in result.results if not r.success), result.status)
            if not result.success:
                raise QupropError(f"{self._name} failed: {wrong}")
            each = iter(result.results)
            for i in members:
                circuit, values, _ = self._pubs[i]
                found[i] = [of_hex(next(each).data.counts, circuit.num_clbits) for _ in values]
        return found


class _Sampler(QiskitSource):
    """made: the sampler with this seed and these tags, where it takes them."""

    def __init__(self, name: str, backend: Any, made: Callable[[int, list[str]], Any], **more: Any) -> None:
        super().__init__(name, backend, **more)
        self._made = made

    def run(self, pubs: Sequence[Pub], seed: int, tag: str, digest: str) -> Running:
        tags = [*([tag] if tag else []), f"quprop-{seed}-{digest}"]
        with said(f"{self.name} did not take the job"):
            job = self._made(seed, tags).run([tuple(pub) for pub in pubs])
        return SamplerRunning(self.name, job, [pub.circuit.num_clbits for pub in pubs], self._id(job))

    def _id(self, job: Any) -> str:
        return ""


class SamplerRunning:
    """A job of a sampler. bits: of each pub, None for those of the result."""

    def __init__(self, name: str, job: Any, bits: Sequence[int] | None, id: str) -> None:
        self._name, self._job, self._bits, self.id = name, job, bits, id

    def outcomes(self) -> list[list[Outcomes]]:
        who = f"job {self.id} of {self._name}" if self.id else f"the job of {self._name}"
        with said(f"{who} gave no result"):
            arrays = [pub.data[REGISTER] for pub in self._job.result()]
        bits = [a.num_bits for a in arrays] if self._bits is None else self._bits
        return [of_bits(a, n) for a, n in zip(arrays, bits, strict=True)]


class _Runtime(_Sampler):
    """IBM's sampler on a real machine. Its jobs have tags: the user's, the one of the work, and the seed."""

    @property
    def limits(self) -> Limits:
        shots = getattr(_configuration(self.backend), "max_shots", None)
        return Limits(self.backend.num_qubits, None, shots, _EXECUTIONS)

    def _id(self, job: Any) -> str:
        return str(job.job_id())

    def find(self, tag: str) -> Found | None:
        if not tag:
            return None
        with said(f"{self.name} could not be asked for its jobs"):
            jobs = self.backend.service.jobs(limit=None, backend_name=self.backend.name, job_tags=[tag])
            # a job without a result is the last choice
            jobs = sorted(jobs, key=lambda job: str(job.status()) in ("CANCELLED", "ERROR"))
        for job in jobs:
            own = next((match for t in job.tags if (match := _OWN_TAG.fullmatch(t))), None)
            if own is not None:
                running = SamplerRunning(self.name, job, None, str(job.job_id()))
                return Found(running, int(own[1]), own[2])
        return None


def source_of(given: Any, options: Mapping[str, Any]) -> QiskitSource:
    """What runs circuits on `given`: a backend, a sampler, a session or batch of IBM's, or a name.

    Raises: QupropError for names that nothing has, and for what has no shots.
    """
    if isinstance(given, str):
        return _named(given, options)
    kinds = _kinds(given)
    if "Session" in kinds or "Batch" in kinds:
        return _of_runtime(ibm_runtime().SamplerV2(mode=given, options=dict(options)))
    if isinstance(given, BackendV2):
        return _of_backend(given, options)
    name = type(given).__name__
    if any("Estimator" in kind for kind in kinds):
        raise QupropError(
            f"{name} gives expectation values, and a device counts outcomes; pass its backend, or a SamplerV2"
        )
    if (
        any(kind in ("BackendV1", "BaseSamplerV1", "BaseSampler") for kind in kinds)
        or getattr(given, "version", 2) == 1
    ):
        raise QupropError(f"{name} is of Qiskit's interface V1; pass a BackendV2 or a SamplerV2")
    if not callable(getattr(given, "run", None)):
        raise QupropError(
            f"a device of Qiskit is a BackendV2, a SamplerV2, or a name such as 'aer', 'fake_manila' or "
            f"'ibm:NAME', got {shown(given)}"
        )
    if is_of(given, "qiskit_aer", "SamplerV2"):
        if given.options.backend_options and options:
            raise QupropError("options of Aer stand in its sampler; set them there, or pass an AerSimulator")
        own = {k: v for k, v in given.options.run_options.items() if k not in _OURS}
        return _Aer(given._backend, {**own, **options})
    if isinstance(given, BackendSamplerV2):
        own = dict(given.options.run_options or {})
        return _of_backend(given.backend, {**own, **options})
    if options:
        raise QupropError(f"options of {name} stand in the sampler itself; set {shown(next(iter(options)))} there")
    if isinstance(given, StatevectorSampler):
        return _Sampler(name, None, lambda seed, _: StatevectorSampler(seed=seed), basis=GATES)
    if is_of(given, "quprop", "QupropSampler"):
        noise = given._noise_model
        basis = GATES if noise is None else sorted(noise.basis_gates)
        return _Sampler(name, None, lambda seed, _: _reseeded(given, seed), basis=basis)
    if is_of(given, "qiskit_ibm_runtime", "BasePrimitiveV2"):
        return _of_runtime(given)
    backend = getattr(given, "backend", None)
    backend = backend() if callable(backend) and not isinstance(backend, BackendV2) else backend
    backend = backend if isinstance(backend, BackendV2) else None
    if is_of(backend, "qiskit_ibm_runtime", "IBMBackend"):
        raise QupropError(
            f"jobs of {type(given).__module__}.{name} have no tags, by which they would be found again; pass its "
            "backend, or a SamplerV2 of qiskit_ibm_runtime"
        )
    return _Sampler(name, backend, lambda *_: given, basis=None if backend is not None else GATES)


def _named(name: str, options: Mapping[str, Any]) -> QiskitSource:
    if name == "aer":
        return _of_backend(_aer().AerSimulator(**_EACH), options)
    if name.startswith("fake"):
        try:
            from qiskit_ibm_runtime import fake_provider
        except ImportError:
            raise missing("fake backends come with qiskit-ibm-runtime", "ibm") from None
        found = {}
        for label in dir(fake_provider):
            made = getattr(fake_provider, label)
            if isinstance(made, type) and issubclass(made, BackendV2):
                found["fake_" + _plain(label)] = made
        asked = "fake_" + _plain(name)
        if asked not in found:
            raise QupropError(f"qiskit-ibm-runtime has no fake backend {shown(name)}; {nearest(asked, found)}")
        return _of_backend(found[asked](), options)
    if name.startswith(("ibm:", "ibm_")):
        return _of_backend(_saved(name.removeprefix("ibm:")), options)
    raise QupropError(f"a device of Qiskit is named 'aer', 'fake_NAME' or 'ibm:NAME', got {shown(name)}")


def _plain(label: str) -> str:
    """ "FakeManilaV2", "fake_manila": "manila"."""
    return label.lower().replace("_", "").removeprefix("fake").removesuffix("v2")


def _saved(name: str) -> Any:
    """The backend of the account that the user has saved. What it is reached with is never looked at here."""
    runtime = ibm_runtime()
    try:
        service = runtime.QiskitRuntimeService()
    except Exception as error:
        raise QupropError(
            f"IBM's service was not reached ({type(error).__name__}); save an account once with "
            "QiskitRuntimeService.save_account, or pass the backend of a service that you made"
        ) from None
    try:
        return service.backend(name)
    except Exception as error:
        with said("IBM's service did not list its backends"):
            names = [backend.name for backend in service.backends()]
        raise QupropError(
            f"the account has no backend {shown(name)} ({type(error).__name__}); {nearest(name, names)}"
        ) from None


def _of_backend(backend: Any, options: Mapping[str, Any]) -> QiskitSource:
    if is_of(backend, "qiskit_aer", "AerBackend"):
        made_from = backend.name.removeprefix("aer_simulator_from(").removesuffix(")")
        return _Aer(backend, options, name="aer" if made_from.startswith("aer") else made_from)
    if is_of(backend, "qiskit_ibm_runtime", "IBMBackend"):
        return _of_runtime(ibm_runtime().SamplerV2(mode=backend, options=dict(options)))
    if is_of(backend, "qiskit_ibm_runtime", "FakeBackendV2") or is_of(backend, "qiskit", "GenericBackendV2"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a gate's error is not physical, which Aer mends itself
            simulator = _aer().AerSimulator.from_backend(backend, **_EACH)
        return _Aer(simulator, options, name=backend.name, machine=backend)

    def made(seed: int, tags: list[str]) -> Any:
        seeded = {"seed_simulator": simulator_seed(seed)} if hasattr(backend.options, "seed_simulator") else {}
        return BackendSamplerV2(backend=backend, options={"run_options": dict(options), **seeded})

    return _Sampler(backend.name or type(backend).__name__, backend, made)


def _of_runtime(sampler: Any) -> QiskitSource:
    backend = sampler.backend()
    twirling = getattr(sampler.options, "twirling", None)
    if any(getattr(twirling, key, None) is True for key in ("enable_gates", "enable_measure")):
        raise QupropError(
            "IBM's own twirling rounds shots up, and quprop runs as many as were planned; leave it off and give the "
            "device twirl=K"
        )
    real = is_of(backend, "qiskit_ibm_runtime", "IBMBackend")

    def made(seed: int, tags: list[str]) -> Any:
        options = copy.deepcopy(sampler.options)
        if real:
            own = options.environment.job_tags
            options.environment.job_tags = [*(own if isinstance(own, list) else []), *tags]
        elif hasattr(options, "simulator"):
            options.simulator.seed_simulator = simulator_seed(seed)
        mode = backend if sampler.mode is None else sampler.mode
        return type(sampler)(mode=mode, options=options)

    return (_Runtime if real else _Sampler)(backend.name, backend, made)


def _reseeded(sampler: Any, seed: int) -> Any:
    again = copy.copy(sampler)
    again._rng = np.random.default_rng(seed)
    return again


def repetition_delay(machine: Any) -> float | None:
    """Seconds from the end of one shot to the start of the next; None where the machine does not say."""
    delay = getattr(_configuration(machine), "default_rep_delay", None)
    return None if delay is None else float(delay)


def _configuration(machine: Any) -> Any:
    made = getattr(machine, "configuration", None)
    try:
        return made() if callable(made) else None
    except Exception:  # of a machine that has none
        return None


def readout_errors(source: QiskitSource, layout: Sequence[int]) -> list[tuple[float, float]] | None:
    """Of the device's qubits: the probabilities of reading 1 after 0, and 0 after 1."""
    if isinstance(source, _Aer):
        return [_misread(source.noise_model, q) for q in layout]
    measure = source.target["measure"] if source.target is not None and "measure" in source.target else {}
    properties = getattr(source.machine, "properties", None)
    known = properties() if callable(properties) else None
    found = []
    for q in layout:
        try:
            pair = known.qubit_property(q) if known is not None else {}
            found.append((float(pair["prob_meas1_prep0"][0]), float(pair["prob_meas0_prep1"][0])))
            continue
        except (KeyError, AttributeError):
            pass
        mean = getattr(measure.get((q,)), "error", None)
        if mean is None:
            return None
        found.append((float(mean), float(mean)))
    return found


def _misread(noise: Any, qubit: int) -> tuple[float, float]:
    """Of Aer's noise model, the default where the qubit has none of its own."""
    error = None if noise is None else noise._local_readout_errors.get((qubit,), noise._default_readout_error)
    if error is None:
        return 0.0, 0.0
    table = np.asarray(error.probabilities, float)
    return float(table[0, 1]), float(table[1, 0])


@contextmanager
def said(what: str) -> Iterator[None]:
    """Failures of a library as one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of IBM's sampler, which is to be replaced by another
            yield
    except QupropError:
        raise
    except Exception as error:
        raise QupropError(f"{what} ({type(error).__name__}: {error})") from error


def _kinds(given: Any) -> list[str]:
    return [c.__name__ for c in type(given).__mro__]


def is_of(given: Any, library: str, name: str) -> bool:
    """Whether it is of this class, without importing its library."""
    return any(c.__name__ == name and c.__module__.split(".")[0] == library for c in type(given).__mro__)


def _aer() -> Any:
    try:
        import qiskit_aer
    except ImportError:
        raise missing("this device is simulated by Qiskit Aer", "aer") from None
    return qiskit_aer


def ibm_runtime() -> Any:
    try:
        import qiskit_ibm_runtime
    except ImportError:
        raise missing("IBM's machines need qiskit-ibm-runtime", "ibm") from None
    return qiskit_ibm_runtime


__all__ = [
    "GATES",
    "Pub",
    "QiskitSource",
    "Running",
    "SamplerRunning",
    "ibm_runtime",
    "is_of",
    "readout_errors",
    "repetition_delay",
    "said",
    "simulator_seed",
    "source_of",
    "turns_controlled",
]
