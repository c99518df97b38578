"""Circuits of plans, run on devices: real machines, their simulators, and quprop's own engine."""

from quprop.lazy import lazy, listing
from quprop.sampling.devices.device import (
    Counts,
    Device,
    DeviceCircuit,
    DeviceJob,
    FinishedJob,
    Limits,
    Outcomes,
    Prepared,
    Work,
)

__all__ = ["Counts", "Device", "DeviceCircuit", "DeviceJob", "FinishedJob", "Limits", "Outcomes", "Prepared", "Work"]

__getattr__, __dir__ = lazy(__name__), listing(__name__)
