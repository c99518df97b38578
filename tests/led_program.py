"""What `test_distributed_train.py` runs on every rank: a program that rank 0 leads, and the command line with slow or
failing engines."""

import json
import os
import sys
import time
from functools import partial

import numpy as np

import quprop as qpr
from quprop.errors import QupropError
from quprop.simulate import get_engine
from quprop.simulate.distributed.engine import DistributedEngine
from quprop.simulate.distributed.ranks import world
from quprop.simulate.distributed.serve import MODELS, leading, together
from quprop_cli import main


def model(n=3, at=0):
    a, b = qpr.params("a", 2)
    return qpr.Model(qpr.Circuit(n).ry(a, 0).rx(b, 1).cx(0, 1).rx(0.1 * at, 0), ["Z0", "X1"])


class Counting:
    """An engine that refuses, fails and counts; all ranks must have made the same calls."""

    name = "counting"

    def __init__(self, settings, precision, threads):
        self.inner, self.calls = get_engine("reference", precision, threads), []

    def values(self, of, theta, x):
        if theta[0, 0] > 100:
            raise QupropError("too large")
        if theta[0, 0] < -100 and world().rank == 1:
            raise ValueError("lost\nmy way")
        found = self.inner.values(of, theta, x)
        self.calls.append(f"values {found.tolist()}")
        return found

    def vjp(self, of, theta, x):
        self.calls.append(f"vjp {theta.sum()}")
        values, inner = self.inner.vjp(of, theta, x)

        def pullback(cotangent, sum_theta=False):
            self.calls.append(f"pullback of {theta.sum()} at {cotangent.sum()} {sum_theta}")
            return inner(cotangent, sum_theta)

        return values, pullback

    def told(self):
        everybody = world().comm.allgather(self.calls)
        assert all(calls == everybody[0] for calls in everybody), everybody
        return everybody[0]


def where(ranks, text):
    return ranks.comm.allgather(f"{text}{ranks.rank}")


def protocol(out):
    led, point, x = leading().engine("double", 1), np.array([[0.3, 0.4]]), np.empty((1, 0))
    values, old = led.vjp(model(), point, x)
    new = led.vjp(model(), 2 * point, x)[1]
    cotangent = np.array([[1.0, 2.0]])
    found = [old(cotangent)[0], new(cotangent, sum_theta=True)[0], old(cotangent)[0]]
    refused = ""
    try:
        led.values(model(), 1000 * point, x)
    except QupropError as error:
        refused = str(error)
    many = [model(at=k) for k in range(2 * MODELS + 3)]
    for k in (*range(len(many)), 0, len(many) - 1, 1):
        led.values(many[k], point + k, x)
    told = led.told()
    ranks = leading().everywhere("led_program:where", "rank ")
    expected = [qpr.vjp(model(), k * point[0])[1](cotangent[0])[0].tolist() for k in (1, 2)]
    out.write(json.dumps([values.tolist(), [f.tolist() for f in found], expected, refused, told, ranks]))


def failure(_):
    leading().engine("double", 1).values(model(), np.array([[-1000.0, 0.0]]), np.empty((1, 0)))
    world().comm.Barrier()


def cut(_):
    """Ctrl-C within a call, where nothing waits for its end."""
    leading().last_words = lambda: "continue at sea"
    leading().everywhere("led_program:sleeping", os.getpid())


def sleeping(ranks, pid):
    if ranks.rank == 0:
        raise KeyboardInterrupt
    ranks.comm.Barrier()


def script(folder):
    """What a reader of `qpr.lead` writes."""

    def program():
        done = qpr.train(model(), params=[0.3, 0.4], steps=5, loss=qpr.Expectation((1.0, 2.0)), **how)
        print(done.loss)
        sys.exit("done")

    how = {"out": folder, "engine": qpr.Distributed(), "progress": True}
    try:
        program()
    except QupropError as error:  # of each rank
        print(error)
    qpr.lead(program)


def slow(seconds, kept):
    """Every gradient of every rank takes a while."""

    def vjp(self, *arguments):
        time.sleep(seconds)
        return kept(self, *arguments)

    DistributedEngine.vjp = vjp


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    if name == "train":
        slow(float(rest[0]), DistributedEngine.vjp)
        sys.argv = ["quprop", *rest[1:]]
        main()
    elif name == "script":
        script(rest[0])
    elif name == "without":
        sys.modules["mpi4py"] = None
        sys.argv = ["quprop", *rest]
        main()
    else:
        with open(rest[0], "a") as out:
            together(partial(globals()[name], out), Counting)
