"""Changes of bytes, of trees and of what JSON holds, for `formats`, and what several formats check."""

from __future__ import annotations

import copy
import json
import math
import random
from typing import Any

import numpy as np
from fuzzing import Wrong

ODD: list[Any] = [None, True, False, 0, 1, -1, 2, 3, 1.5, -0.0, 1e308, 1e-320, math.nan, math.inf, 2**63, 10**30]
ODD += ["", " ", "X0", "Z9999999999", "theta[0]", "x[1]*x[1]", '<b id="zz">&\'', "\0", "é\n", "1", "x" * 100]
ODD += [[], {}, [[]], [0] * 5]
MARKUP = '<b id="zz">'
SMALL = 6  # qubits up to which values are compared


def changed_bytes(rng: random.Random, data: bytes, other: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(out) + 1)
        to = min(len(out), at + rng.choice([1, 1, 2, 4, 8, 64]))
        kind = rng.randrange(5)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at:to] = rng.randbytes(to - at)
        elif kind == 2:
            del out[at : to if rng.random() < 0.8 else None]
        elif kind == 3:
            out[at:at] = out[at:to]
        else:
            start = rng.randrange(len(other) + 1)
            out[at:to] = other[start : start + to - at]
    return bytes(out)


def places(tree: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything in a tree."""
    found, todo = [], [tree]
    while todo:
        node = todo.pop()
        keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            found.append((node, key))
            todo.append(node[key])
    return found


def odd(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(ODD))


def nudged(rng: random.Random, value: Any) -> Any:
    """Something of the same type, mostly."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice([value + 1, value - 1, -value, 2 * value, float(value)])
    if isinstance(value, float):
        return rng.choice([-value, value * rng.uniform(0.5, 2), value + 1, value * 1e9, 0.0])
    if isinstance(value, str) and value:
        k = rng.randrange(len(value))
        return value[:k] + rng.choice(["", value[k] * 2, rng.choice("XYZ019 []*-+é<"), value[::-1]]) + value[k + 1 :]
    if isinstance(value, list) and value:
        return rng.choice([value[::-1], value[1:], value + value[:1], rng.sample(value, len(value))])
    return odd(rng)


def change_tree(rng: random.Random, tree: Any, other: Any) -> None:
    """A few places of a tree of dictionaries and lists get other content, in place."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        spots = places(tree)
        if not spots:
            return
        container, key = rng.choice(spots)
        kind = rng.randrange(10)
        if kind < 5:
            container[key] = nudged(rng, container[key])
        elif kind < 7:
            container[key] = odd(rng)
        elif kind == 7:
            del container[key]
        elif kind == 8 and (donors := places(other)):
            donor, name = rng.choice(donors)
            container[key] = json.loads(json.dumps(donor[name]))
        elif isinstance(container, dict):
            container[nudged(rng, key) if rng.random() < 0.5 else str(odd(rng))] = container.pop(key)


def changed_json(rng: random.Random, data: bytes, other: bytes) -> bytes:
    if rng.random() < 0.1:
        return changed_bytes(rng, data, other)
    try:
        tree, donor = [json.loads(data)], json.loads(other)
        change_tree(rng, tree, donor)
        return json.dumps(tree[0] if tree else None).encode()
    except (ValueError, RecursionError):
        return changed_bytes(rng, data, other)


def finite(what: str, *arrays: Any) -> None:
    for array in arrays:
        if not np.isfinite(array).all():
            raise Wrong(f"{what} is not finite", array)


def numbers(count: int) -> np.ndarray:
    return np.cos(1.0 + np.arange(count))


def random_string(rng: random.Random, n: int) -> str:
    qubits = rng.sample(range(n), rng.randint(1, min(n, 3)))
    return " ".join(f"{rng.choice('XYZ')}{q}" for q in sorted(qubits))
