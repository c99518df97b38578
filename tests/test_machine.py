"""What this process may use: the least of the machine, its control groups, their parents, and the shell's limits."""

import json
import subprocess
import sys

import pytest

from quprop import machine

GIB = 1 << 30


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Builds a machine of 8 free GiB and 64 processors with the given groups: {path: {file: text}}."""

    def build(cgroup, mounts, groups, processors=64):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:  {8 * GIB >> 10} kB\n")
        (tmp_path / "proc/self/cgroup").write_text(cgroup)
        lines = [f"{i} 1 0:{i} {m}" for i, m in enumerate(mounts, 30)]
        (tmp_path / "proc/self/mountinfo").write_text("\n".join(lines).replace("@", str(tmp_path)) + "\n")
        for path, files in groups.items():
            (tmp_path / path).mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (tmp_path / path / name).write_text(f"{content}\n")
        monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
        monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: set(range(processors)), raising=False)

    return build


V2 = "/ @/cg rw,nosuid - cgroup2 cgroup2 rw"


def test_without_groups_the_system_decides(system):
    system("0::/\n", [V2], {"cg": {}})
    assert machine.available_bytes() == 8 * GIB and machine.usable_processors() == 64


def test_a_nested_group_has_no_more_than_its_parents(system):
    own = {"memory.max": "max", "memory.current": GIB, "cpu.max": "max 100000"}
    slice_ = {
        "memory.max": 3 * GIB,
        "memory.current": 2 * GIB,
        "memory.stat": f"anon 5\ninactive_file {GIB // 2}\nfile 7",
        "cpu.max": "250000 100000",
    }
    system("0::/user.slice/run.scope\n", [V2], {"cg": {}, "cg/user.slice": slice_, "cg/user.slice/run.scope": own})
    assert machine.available_bytes() == 3 * GIB - 2 * GIB + GIB // 2
    assert machine.usable_processors() == 3


def test_the_groups_own_limit_counts_where_it_is_the_least(system):
    groups = {
        "cg/a": {"memory.max": 6 * GIB, "memory.current": GIB},
        "cg/a/b": {"memory.max": 2 * GIB, "memory.current": 3 * GIB, "cpu.max": "50000 100000"},
    }
    system("0::/a/b\n", [V2], groups)
    assert machine.available_bytes() == 0  # more is used than may be: the limit was lowered
    assert machine.usable_processors() == 1


def test_a_container_whose_root_is_its_own_group_reads_its_limit(system):
    """Docker without a namespace: the path says where outside, the mount's root is the same place."""
    limit = {"memory.max": 2 * GIB, "memory.current": GIB}
    system("0::/docker/abc\n", ["/docker/abc @/cg rw - cgroup2 cgroup rw"], {"cg": limit})
    assert machine.available_bytes() == GIB


def test_a_group_outside_of_what_is_mounted_reads_the_mount(system):
    system("0::/../other\n", [V2], {"cg": {"memory.max": 2 * GIB, "memory.current": GIB}})
    assert machine.available_bytes() == GIB


def test_version_1_has_a_tree_for_each_resource(system):
    memory = {
        "memory.limit_in_bytes": 4 * GIB,
        "memory.usage_in_bytes": 3 * GIB,
        "memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB}",
    }
    unlimited = {"memory.limit_in_bytes": 9223372036854771712, "memory.usage_in_bytes": GIB}
    cpu = {"cpu.cfs_quota_us": 150000, "cpu.cfs_period_us": 100000}
    free = {"cpu.cfs_quota_us": -1, "cpu.cfs_period_us": 100000}
    system(
        "9:name=systemd:/x\n4:memory:/job/step\n3:cpu,cpuacct:/job\n0::/\n",
        [
            "/ @/memory rw - cgroup cgroup rw,memory",
            "/ @/cpu\\040and\\040more rw - cgroup cgroup rw,cpu,cpuacct",
            "/ @/unified rw - cgroup2 cgroup2 rw",
        ],
        {
            "memory": unlimited,
            "memory/job": memory,
            "memory/job/step": unlimited,
            "cpu and more": free,
            "cpu and more/job": cpu,
            "unified": {},
        },
    )
    assert machine.available_bytes() == 2 * GIB and machine.usable_processors() == 2


def test_files_that_say_nothing_are_no_limits(system):
    system("nonsense\n0::/a\n", ["x y", V2], {"cg/a": {"memory.max": "?", "memory.current": "", "cpu.max": "1"}})
    assert machine.available_bytes() == 8 * GIB and machine.usable_processors() == 64


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_the_shells_limit_is_kept(name):
    resource = pytest.importorskip("resource")
    limit = 1400 << 20

    def bound():
        resource.setrlimit(getattr(resource, name), (limit, limit))

    code = "import json, quprop as q; from quprop.machine import available_bytes as f\nfree = f()\n"
    code += "try: q.state(q.Model(q.Circuit(27).h(0), 'Z0'), [])\n"
    code += "except q.QupropError as e: print(json.dumps([free, str(e)]))"
    done = subprocess.run([sys.executable, "-c", code], preexec_fn=bound, capture_output=True, text=True)
    free, said = json.loads(done.stdout)
    assert 0 < free < limit and "free" in said, done.stderr
