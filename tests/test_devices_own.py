"""Laws of quprop's own engine as a device: counts follow the exact distribution, seeds repeat them, jobs are kept."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from device_laws import SETTINGS, check_counts, random_circuit, random_work, truth
from hypothesis import given, settings
from hypothesis import strategies as st

import quprop as qpr
from quprop.sampling.devices.device import DeviceCircuit, Limits, Work
from quprop.sampling.devices.own import OwnDevice
