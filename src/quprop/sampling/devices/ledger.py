"""What was handed in to a device and what came back, kept in a run's folder so that no shot is paid twice.

    jobs.jsonl              one line an event, flushed to the disk before the next thing happens
    counts/TAG.npz          the counts of a job

The first line names the ledger. A round is written down with all its jobs before the first of them is submitted, each
with the tag by which the device finds it; a job's id follows once it is submitted, and the hash of its counts once
they are kept. So whatever a process died of, the next one knows of each job that it was never submitted, that it is to
be collected, or what it gave. Counts are data that somebody paid for: all are kept, some 10 bytes a distinct outcome
before compression.
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quprop.errors import QupropError
from quprop.files import JsonLines, make_folder, read_bytes, write_atomically
from quprop.sampling.devices.device import Limits, Outcomes
from quprop.sampling.devices.spending import Spending

FORMAT = "quprop-jobs"
FORMAT_VERSION = 1
MOST_COUNTS = 1 << 32  # bytes of a file of counts


@dataclass
class JobRecord:
    """tag: by which the device finds it; work: its `digest`; id: None until it is submitted, "" where nobody else
    finds it; counts: the hash of their file."""

    tag: str
    work: str
    plan: Spending
    id: str | None = None
    counts: str | None = None


@dataclass
class RoundRecord:
    """Its jobs, as they were packed with the limits that the device had then."""

    work: str
    limits: Limits
    jobs: list[JobRecord] = field(default_factory=list)


class JobLedger:
    """path: the run's folder; None keeps nothing, for runs without one. One process at a time writes it. seed: of what
    devices draw by themselves; a ledger that is there has its own."""

    def __init__(self, path: Path | None = None, seed: int = 0) -> None:
        self.path, self.seed = path, seed
        self.rounds: dict[str, RoundRecord] = {}
        self.run = secrets.token_hex(8)
        self._lines: JsonLines | None = None
        self._jobs: dict[str, JobRecord] = {}
        self.spent = Spending()  # all that was handed in, or will be before anything new is
        if path is not None:
            file = path / "jobs.jsonl"
            self._lines = JsonLines(file, f"another process is running in {path}: wait for it, or choose another place")
            try:
                self._read(self._lines.load())
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def begin(self, key: str, work: str, limits: Limits, jobs: Sequence[tuple[str, Spending]]) -> RoundRecord:
        """Written down before anything of the round is submitted."""
        made = [JobRecord(f"quprop-{self.run}-{key}-{k}", one, plan) for k, (one, plan) in enumerate(jobs)]
        self._write(
            {
                "round": key,
                "work": work,
                "limits": list(limits),
                "jobs": [{"tag": j.tag, "work": j.work, **j.plan.as_dict()} for j in made],
            }
        )
        return self._begun(key, RoundRecord(work, limits, made))

    def submitted(self, job: JobRecord, identity: str) -> None:
        self._write({"tag": job.tag, "id": identity})
        job.id = identity

    def replace(self, job: JobRecord) -> None:
        """A job that is lost is to be run again: under a new tag, and paid once more."""
        base, _, number = job.tag.partition("+")
        tag = f"{base}+{int(number or 0) + 1}"
        self._write({"tag": job.tag, "again": tag})
        self._again(job, tag)

    def keep(self, job: JobRecord, outcomes: Sequence[Outcomes], bits: Sequence[int]) -> None:
        """The counts of a job, setting after setting; bits: how many qubits each measured."""
        if self.path is None:
            return
        data = _packed(job, outcomes, bits)
        make_folder(self.path / "counts")
        write_atomically(self._file(job), data)
        digest = hashlib.sha256(data).hexdigest()
        self._write({"tag": job.tag, "counts": digest})
        job.counts = digest

    def counts(self, job: JobRecord) -> list[Outcomes] | None:
        """What `keep` kept, None if it did not come to that."""
        if self.path is None:
            return None
        file = self._file(job)
        try:
            data = read_bytes(file, MOST_COUNTS)
        except FileNotFoundError:
            return None
        changed = QupropError(
            f"{file} is not what was kept of job {job.id or job.tag}: it was changed since; put the file back, or move "
            "it away to collect the job again"
        )
        if job.counts is not None and hashlib.sha256(data).hexdigest() != job.counts:
            raise changed
        try:
            found = _unpacked(data, job)
        except Exception as error:  # what was changed makes the decoders fail in many ways
            raise changed from error
        if job.counts is None:  # killed between the file and its line
            digest = hashlib.sha256(data).hexdigest()
            self._write({"tag": job.tag, "counts": digest})
            job.counts = digest
        return found

    # -- lines --------------------------------------------------------------------------------------------------------

    def _file(self, job: JobRecord) -> Path:
        assert self.path is not None
        return self.path / "counts" / f"{job.tag}.npz"

    def _write(self, row: dict[str, Any]) -> None:
        if self._lines is not None:
            self._lines.append(row)
            self._lines.sync()

    def _begun(self, key: str, found: RoundRecord) -> RoundRecord:
        self.spent += sum((job.plan for job in found.jobs), Spending())
        if self.path is not None:
            self.rounds[key] = found
            self._jobs |= {job.tag: job for job in found.jobs}
        return found

    def _again(self, job: JobRecord, tag: str) -> None:
        self.spent += job.plan
        job.tag, job.id, job.counts = tag, None, None
        self._jobs[tag] = job

    def _read(self, rows: list[dict[str, Any]]) -> None:
        assert self.path is not None and self._lines is not None
        if not rows:
            self._write({"format": FORMAT, "version": FORMAT_VERSION, "run": self.run, "seed": self.seed})
            return
        file = self._lines.path
        head = rows[0]
        if head.get("format") != FORMAT or not isinstance(head.get("run"), str) or type(head.get("seed")) is not int:
            raise QupropError(f"{file} is no list of quprop's jobs: move it away, or choose another folder")
        if head.get("version") != FORMAT_VERSION:
            raise QupropError(
                f"{file} has version {head.get('version')}, this quprop reads {FORMAT_VERSION}: take the quprop that "
                "wrote it"
            )
        self.run, self.seed = head["run"], head["seed"]
        for number, row in enumerate(rows[1:], 2):
            try:
                self._event(row)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise QupropError(
                    f"line {number} of {file} is no event of a job: it was changed since; put the file back, or start "
                    "a new run in another folder"
                ) from None

    def _event(self, row: dict[str, Any]) -> None:
        if "round" in row:
            jobs = []
            for given in row["jobs"]:
                plan = {k: v for k, v in given.items() if k not in ("tag", "work")}
                jobs.append(JobRecord(given["tag"], given["work"], Spending(**plan)))
            self._begun(row["round"], RoundRecord(row["work"], Limits(*row["limits"]), jobs))
            return
        job = self._jobs[row["tag"]]
        if "id" in row:
            job.id = row["id"]
        elif "again" in row:
            self._again(job, row["again"])
        else:
            job.counts = row["counts"]


# -- files of counts --------------------------------------------------------------------------------------------------


def _packed(job: JobRecord, outcomes: Sequence[Outcomes], bits: Sequence[int]) -> bytes:
    wide = -(-max(bits, default=1) // 8)
    values = [int(v).to_bytes(wide, "little") for o, _ in outcomes for v in o]
    entries: dict[str, Any] = {
        "meta": np.frombuffer(json.dumps({"tag": job.tag, "work": job.work}).encode(), np.uint8),
        "outcomes": np.frombuffer(b"".join(values), np.uint8).reshape(len(values), wide),
        "counts": np.concatenate([n for _, n in outcomes]),
        "distinct": np.array([len(n) for _, n in outcomes]),
        "bits": np.array(bits),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **entries)
    return buffer.getvalue()


def _unpacked(data: bytes, job: JobRecord) -> list[Outcomes]:
    content = io.BytesIO(data)
    with zipfile.ZipFile(content) as archive:
        if archive.testzip() is not None:
            raise ValueError
    content.seek(0)
    with np.load(content, allow_pickle=False) as file:
        entries = {name: file[name] for name in file.files}
    meta = json.loads(entries["meta"].tobytes())
    if meta["tag"] != job.tag or meta["work"] != job.work:
        raise ValueError
    found, start = [], 0
    for distinct, bits in zip(entries["distinct"].tolist(), entries["bits"].tolist(), strict=True):
        part = slice(start, start := start + distinct)
        values = [int.from_bytes(row.tobytes(), "little") for row in entries["outcomes"][part]]
        found.append((np.array(values, np.int64 if bits < 63 else object), entries["counts"][part]))
    if start != len(entries["counts"]) or start != len(entries["outcomes"]):
        raise ValueError
    return found
