"""OpenQASM 2 and 3, in and out, with parameters.

    circuit = from_qasm(open("ansatz.qasm").read())        # input float[64] theta_0; ... become params("theta", n)
    print(to_qasm(circuit))                                # OpenQASM 3, parameters kept
    print(to_qasm(circuit, version=2, theta=values))       # OpenQASM 2 has none: numbers in their place

Reading needs the language's reference parser, the extra ``qasm``. Writing needs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from quprop.errors import QupropError, whole
from quprop.hybrid.qasm.parse import parse
from quprop.hybrid.qasm.read import Reader
from quprop.hybrid.qasm.write import write_2, write_3
from quprop.lazy import listing
from quprop.model import Model
from quprop.model.circuit import Circuit

__all__ = ["from_qasm", "to_qasm"]

__dir__ = listing(__name__)


@overload
def from_qasm(
    text: str, observables: None = None, *, inputs: str | Sequence[str] = (), max_gates: int = 1_000_000
) -> Circuit: ...
@overload
def from_qasm(
    text: str, observables: Any, *, inputs: str | Sequence[str] = (), max_gates: int = 1_000_000
) -> Model: ...
def from_qasm(
    text: str, observables: Any = None, *, inputs: str | Sequence[str] = (), max_gates: int = 1_000_000
) -> Circuit | Model:
    """The circuit of an OpenQASM 2 or 3 program, or its `Model` if observables are given.

    text: the program.
    Parameters: `input float theta;` and `input angle theta;` are parameters of one entry, `input array[float[64], 8]
    theta;` a vector. Scalars theta_0, theta_1, ... declared one after the other, from 0, are the vector theta, and so
    are _theta_0_, _theta_1_, ..., which Qiskit writes. So theta holds the program's inputs in the order of their
    declaration. Angles may be any polynomial of them.
    inputs: names of those that are data, x instead of theta; `@quprop.data` before a declaration says the same.

    Read: gate definitions, ctrl, negctrl, inv and pow, broadcasts over registers, aliases and slices, constants and
    classical variables whose values are known while reading, loops and conditions on them; hardware qubits, $k being
    qubit k. Measurements at the end, barriers, delays and resets of fresh qubits are left out, and so are global
    phases; a reset of a qubit that has been used is the channel of that name. The standard gates of both included files
    are known, and all of `GATES` with them.

    Each version has its own rules. In version 2 all numbers are real, 3/2 = 1.5, and words such as `input` are names.
    In version 3 whole numbers divide as such, 3/2 = 1; sized types have bits; a value of type angle is a fraction of
    2 pi, which wraps; and U has the phase of the specification, U(a, 0, 0) = e^{i a/2} RY(a), which controls make
    visible. Where the specification says nothing (overflow, -7/2), the program is refused. Two things are wider: an
    input of type angle is any real number, and so are the angles that gates are called with.

    max_gates: the number of gates and steps at which the program is refused as too large.

    Whatever else the program has, and any mistake in it, raises a `QupropError` with its line and column, from 1.

    Returns: Circuit, or Model if observables are given.
    Raises: QupropError, also where the parser `openqasm3` is not installed.

    >>> text = 'OPENQASM 3.0; include "stdgates.inc"; input float theta; qubit[1] q; ry(theta) q[0];'
    >>> qpr.expectation(qpr.from_qasm(text, "Z0"), [np.pi / 3]).round(6)
    array([0.5])
    """
    names = [inputs] if isinstance(inputs, str) else list(inputs)
    if isinstance(max_gates, bool) or not isinstance(max_gates, int) or max_gates < 1:
        raise QupropError(f"max_gates is a whole number, 1 or more, got {max_gates!r}")
    reader = Reader(*parse(text), names, max_gates)
    try:
        circuit = reader.read()
    except RecursionError:
        raise QupropError(
            "line 1, column 1: an expression or block is nested too deeply to be read; split it"
        ) from None
    return circuit if observables is None else Model(circuit, observables)


def to_qasm(
    circuit: Circuit,
    version: int = 3,
    *,
    theta: Any = None,
    x: Any = None,
    arrays: bool = False,
    measured: int = 0,
) -> str:
    """The circuit as an OpenQASM program; `from_qasm` reads it back as the same unitary with the same vectors.

    version 3 keeps the parameters, where `circuit.bound(theta)` has numbers: theta[k] is `input float[64] theta_k;`,
    which every reader knows, or with arrays=True an entry of `input array[float[64], n] theta;`. Data inputs are
    annotated `@quprop.data`. Gates that stdgates.inc lacks, and rotations about Pauli strings of several qubits, come
    as definitions.
    version 2 has no parameters: pass theta (n_params,) and x (n_inputs,), the values to write, in radians. Only gates
    of the first edition of qelib1.inc are used, so that every reader knows them.

    measured: so many of the first qubits are measured at the end, qubit k into bit k of c.

    A `DynamicCircuit` is written in version 3 with its measurements in the middle, into bits of m in the order they
    were made, and its gates under `if`; `from_qasm` reads no such program, but `from_qiskit` does by way of Qiskit. In
    version 2 its measurements are deferred to qubits of their own.

    Of channels only the full reset has a form in OpenQASM. A basis or product input state is written as gates; one
    given by amplitudes is refused. Floats are exact.

    Returns: str.
    Raises: QupropError for channels and states without a form, and values that do not fit.

    >>> print(qpr.to_qasm(qpr.Circuit(2).h(0).cx(0, 1)), end="")
    OPENQASM 3.0;
    include "stdgates.inc";
    qubit[2] q;
    h q[0];
    cx q[0], q[1];
    """
    measured = whole("measured", measured, 0)
    if isinstance(circuit, Circuit) and measured > (n := circuit.size_for_gates if version == 3 else circuit.n_qubits):
        raise QupropError(f"measured is at most the circuit's {n} qubits, got {measured}")
    if version == 2:
        if arrays:
            raise QupropError("OpenQASM 2 has no arrays; leave arrays out, or write version=3")
        return write_2(circuit, theta, x, measured)
    if version != 3:
        raise QupropError(f"version is 2 or 3, got {version!r}")
    if theta is not None or x is not None:
        raise QupropError(
            "OpenQASM 3 keeps the parameters by name; leave theta and x out, or write circuit.bound(theta, x)"
        )
    return write_3(circuit, arrays, measured)
