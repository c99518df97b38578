"""The planner of coset blocks: which rotations are done together, on which piece of the state.

A rotation with mask x mixes amplitude j only with j xor x. A *run* of rotations whose x masks span a space V therefore
acts on every coset of V by itself, in cache. Inside a run, a *pass* visits tiles of four vectors (two dimensions of V)
and applies there, in registers, every rotation whose x lies in the tile. Rotations move past those they commute with,
so that runs and passes fill up. Rotations with a common x that commute become one *group*: one rotation by a summed
angle, looked up by the parities of their z masks (the pattern). Diagonal rotations are groups with x = 0.

The low `lane_bits` address bits are the lanes of a vector and never count: x modulo the lanes is what must be spanned.
In a batch plan the lanes are samples, and `lane_bits` is 0.

The plan is flat arrays for the kernels (native/state_vector/plan.hpp, struct Description, gives their meaning). The
rules above are carried out by native/state_vector/planner.cpp, in time linear in the rotations: it looks 192 of them
ahead.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import stim

from quprop.model import Model
from quprop.model.angle import Angle
from quprop.model.angle_table import Drivers
from quprop.model.x_rotations import Rotation

if TYPE_CHECKING:
    from quprop.simulate.state_vector.diagonals import Rewritten

MAX_BLOCK_BYTES = 1 << 19  # psi and lambda of a block: with what is read and written beside it, a second-level cache
ROTATION_BYTES = 3 << 10  # of a plan, for each rotation at most: random strings on few qubits; layers take half of it
SHARED_BYTES = 64 << 10  # a smaller state is not worth sharing between threads

planner = import_module("quprop.simulate._planner")


class Tables(NamedTuple):
    """Which rotations and strings are tables of diagonal sums (diagonals.py), as the kernels want it.

    diagonals: objects of the kernels. table, support: of every rotation, or empty. obs_table: of the last strings.
    """

    diagonals: list[Any]
    table: np.ndarray
    support: np.ndarray
    obs_table: np.ndarray


NO_TABLES = Tables([], np.empty(0, np.int32), np.empty(0, np.uint64), np.empty(0, np.int32))


def observables(model: Model) -> dict[str, np.ndarray]:
    """The distinct Pauli strings of all observables, and the observables as combinations of them."""
    strings: dict[tuple[int, int], int] = {}
    ptr, term, coefficient = [0], [], []
    for observable in model.observables:
        for pauli, c in observable.terms:
            term.append(strings.setdefault((pauli.x, pauli.z), len(strings)))
            coefficient.append(c)
        ptr.append(len(term))
    return {
        "obs_x": np.array([x for x, _ in strings], np.uint64),
        "obs_z": np.array([z for _, z in strings], np.uint64),
        "obs_ptr": np.array(ptr, np.int32),
        "obs_term": np.array(term, np.int32),
        "obs_coefficient": np.array(coefficient, float),
    }


def upper_bits(n_qubits: int, lane_bits: int) -> int:
    """Address bits above the lanes; at least two, the dimensions of a tile."""
    return max(n_qubits - lane_bits, 2)


def block_dimension(n_up: int, vector_bytes: int, batch: bool) -> int:
    """How many dimensions a run spans.

    A small state is one block; a larger one at least two, so that two threads share the work (of a batch they rather
    share the samples); blocks stay within the cache.
    """
    largest = (MAX_BLOCK_BYTES // (4 * vector_bytes)).bit_length() - 1
    if (4 * vector_bytes) << n_up < (2 * SHARED_BYTES if batch else SHARED_BYTES):
        return n_up
    return min(largest, n_up - 1)


def with_clifford(model: Model) -> Model:
    """The model's rotations followed by its residual Clifford, each gate as rotations by multiples of pi/2."""
    tail: list[Rotation] = []

    def rotate(angle: float, x: int, z: int) -> None:
        tail.append(Rotation(x, z, Angle(angle)))

    half = math.pi / 2
    for instruction in model.clifford.to_circuit("elimination"):
        targets = [t.value for t in instruction.targets_copy()]
        if instruction.name == "H":  # H = RY(pi/2) Z
            for q in targets:
                rotate(math.pi, 0, 1 << q)
                rotate(half, 1 << q, 1 << q)
        elif instruction.name == "S":
            for q in targets:
                rotate(half, 0, 1 << q)
        elif instruction.name in ("X", "Y", "Z"):
            for q in targets:
                rotate(math.pi, (instruction.name != "Z") << q, (instruction.name != "X") << q)
        elif instruction.name == "CX":  # exp(i pi/4 (1 - Z_c)(1 - X_t))
            for c, t in zip(targets[::2], targets[1::2], strict=True):
                rotate(-half, 0, 1 << c)
                rotate(-half, 1 << t, 0)
                rotate(half, 1 << t, 1 << c)
        else:
            raise AssertionError(f"stim wrote a gate that is not expected here: {instruction}")
    names = {f: getattr(model, f) for f in ("param_names", "param_sizes", "input_names", "input_sizes")}
    n, rotations = model.n_qubits, (*model.rotations, *tail)
    return Model._of(
        n_qubits=n, rotations=rotations, observables=(), state=model.state, clifford=stim.Tableau(n), **names
    )


def plan(
    model: Model,
    lane_bits: int,
    vector_bytes: int,
    dimension: int | None = None,
    rewritten: Rewritten | None = None,
    tables: Tables | None = None,
) -> dict[str, Any]:
    """The plan of a model for kernels of 2^lane_bits address lanes; of `rewritten` in its place, where sums are tables.

    `dimension` overrides how many dimensions a block has (tests want to meet every branch with small models).
    """
    sizes = (
        model.n_params,
        model.n_inputs,
        model.n_qubits if rewritten is None else rewritten.n,
        lane_bits,
        vector_bytes,
    )
    if rewritten is not None:
        of = rewritten.x, rewritten.z, rewritten.drivers, rewritten.strings
        return plan_of(*of, *sizes, dimension=dimension, tables=tables or NO_TABLES)
    x, z = np.array(model.x_masks, np.uint64), np.array(model.z_masks, np.uint64)
    return plan_of(x, z, model.drivers, observables(model), *sizes, dimension=dimension)


def plan_of(
    x: np.ndarray,
    z: np.ndarray,
    drivers: Drivers,
    strings: dict[str, np.ndarray],
    n_params: int,
    n_inputs: int,
    n_qubits: int,
    lane_bits: int,
    vector_bytes: int,
    dimension: int | None = None,
    tables: Tables = NO_TABLES,
) -> dict[str, Any]:
    """The plan of rotations with the masks x and z, and of strings as `observables` gives them, the last of which may
    be tables."""
    n_up = upper_bits(n_qubits, lane_bits)
    if dimension is None:
        dimension = block_dimension(n_up, vector_bytes, lane_bits == 0)
    dimension = max(2, min(dimension, n_up))
    if dimension < n_up:
        dimension = max(dimension, 3)  # two address bits and at least one mask
    driver = drivers.driver
    same = np.count_nonzero((x[1:] == x[:-1]) & (driver[1:] == driver[:-1]))
    real = len(strings["obs_x"]) - len(tables.obs_table)
    excitations = bool(2 * same >= len(x) > 1 and x.any())
    return {
        "n_up": n_up,
        "lane_bits": lane_bits,
        "n_params": n_params,
        "n_inputs": n_inputs,
        "x": x,
        "z": z,
        **drivers._asdict(),
        **planner.rotations(x, z, driver, tables.support, n_up, lane_bits, dimension, excitations),
        **strings,
        **planner.strings(strings["obs_x"][:real], strings["obs_z"][:real], n_up, lane_bits, dimension),
        **tables._asdict(),
    }
