"""Circuits of plans, run on devices: real machines, their simulators, and quprop's own engine."""

from quprop.lazy import listing
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

__dir__ = listing(__name__)
