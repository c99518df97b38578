"""Devices by name, and other people's objects as devices: the file that adapts each is imported when one comes."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from inspect import signature
from typing import Any

from quprop.errors import QupropError, nearest, shown
from quprop.sampling.devices.device import Device

_MODULE = "quprop.hybrid.devices"
_QISKIT = f"{_MODULE}.qiskit", "QiskitDevice"
_BRAKET = f"{_MODULE}.braket", "BraketDevice"
_PENNYLANE = f"{_MODULE}.pennylane", "PennyLaneDevice"
_ESTIMATOR = f"{_MODULE}.qiskit_estimator", "QiskitEstimator"

# By the package that an object's type, or one that it derives from, is of.
LIBRARIES = {
    "qiskit": _QISKIT,
    "qiskit_aer": _QISKIT,
    "qiskit_ibm_runtime": _QISKIT,
    "braket": _BRAKET,
    "pennylane": _PENNYLANE,
}
# What names begin with. The whole name is handed on.
NAMES = {
    "aer": _QISKIT,
    "fake_": _QISKIT,
    "ibm:": _QISKIT,
    "ibm_": _QISKIT,
    "braket": _BRAKET,
    "arn:": _BRAKET,
    "pennylane:": _PENNYLANE,
}
_SHOWN = ["quprop", "aer", "fake_manila", "ibm:NAME", "braket", "braket:NAME", "pennylane:NAME", "module:function"]
_MEMBERS = ("prepare", "submit", "find", "seconds", "price", "definition", "limits", "name")


def device_of(given: Any, **options: Any) -> Device:
    """A device: something that runs the circuits of plans and counts outcomes.

    given: "quprop", quprop's own engine; "aer", "fake_manila" (any fake backend of IBM's, with its noise), "ibm:NAME"
        (with the account that was saved on this machine); "braket" for its local simulator, "braket:NAME" or an ARN;
        "pennylane:NAME" for one of its devices; a backend, sampler or device object of Qiskit, Braket or PennyLane; or
        "module:function", a function of yours that returns any of these. A device comes back as it is.
    options: of the device, such as twirl=8 on Qiskit's.

    Returns: Device, with `prepare`, `submit`, `find`, `seconds`, `price`, `limits` and `definition`.
    Raises: QupropError for unknown names, objects that cannot run circuits, libraries that are not installed, and as
    the device does for its options.

    >>> qpr.device("quprop").name
    'quprop'
    """
    if isinstance(given, str):
        return _named(given, options)
    if all(hasattr(given, member) for member in _MEMBERS):
        if options:
            raise QupropError(f"a device has its options already, got {', '.join(options)}; make it with them")
        found: Device = given
        return found
    for kind in type(given).__mro__:
        library = kind.__module__.split(".")[0]
        if library in LIBRARIES:
            return _made(LIBRARIES[library], given, options)
    if callable(getattr(given, "run", None)):  # a sampler of somebody's, by what it can
        return _made(_QISKIT, given, options)
    raise QupropError(
        "a device is a name such as 'quprop' or 'aer', or an object of Qiskit, Braket or PennyLane that runs circuits, "
        f"got {shown(given)}"
    )


def estimator_of(given: Any) -> Any | None:
    """An EstimatorV2 of Qiskit's as what `PlanCircuits.estimate_by` takes; None for what is no estimator.

    Raises: QupropError for an estimator of another interface.
    """
    if not any("Estimator" in kind.__name__ for kind in type(given).__mro__):
        return None
    return given if callable(getattr(given, "expectations", None)) else _made(_ESTIMATOR, given, {})


def _named(name: str, options: dict[str, Any]) -> Device:
    if name == "quprop":
        return _made(("quprop.sampling.devices.own", "OwnDevice"), None, options)
    for start, where in NAMES.items():
        if name == start or (name.startswith(start) and not start[-1].isalpha()) or name.startswith(f"{start}:"):
            return _made(where, name, options)
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        return device_of(_called(name), **options)
    raise QupropError(f"no device has the name {shown(name)}; {nearest(name, _SHOWN)}")


def _made(where: tuple[str, str], given: Any, options: dict[str, Any]) -> Device:
    make: Callable[..., Device] = getattr(import_module(where[0]), where[1])
    arguments = () if given is None else (given,)
    try:
        signature(make).bind(*arguments, **options)
    except TypeError as error:
        known = [p.name for p in signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY]
        raise QupropError(f"{where[1]}: {error}; its options are {', '.join(known)}") from None
    return make(*arguments, **options)


def _called(name: str) -> Any:
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise QupropError(
            f"{name!r} names no function of yours ({error}); write module:function, the module on Python's path"
        ) from None
    if not callable(found):
        raise QupropError(f"{name!r} is no function; it takes nothing and returns a device")
    return found()


__all__ = ["LIBRARIES", "NAMES", "device_of", "estimator_of"]
