"""Plans: what training would cost at any size, by formulas that equal counted runs at small size.

structure.py    the shape of a model that exists
named.py        shapes of circuits that are described by their sizes
costs.py        one gradient of a shape (sampling/shape.py), by the formula that each method has
check.py        the formulas against counted runs
feasible.py     what can be done at all: the one rule of plans and comparisons
timing.py       what simulators take: timed, or a law
training.py     steps, machines
on_device.py    circuits compiled for a device that exists, and counted
nodes.py        exact gradients by one state over many nodes
advice.py       what a plan recommends, in sentences
classical.py    networks: plain descent and the Carleman loop
physical.py     physical qubits, by Microsoft's estimator (optional)
presets.py      published plans
figure.py       time against the number of parameters
"""

from quprop.lazy import lazy, listing
from quprop.planning.named import named_shape, summary
from quprop.planning.nodes import NodesPlan, plan_on_nodes
from quprop.planning.on_device import DevicePlan, plan_on_device
from quprop.planning.structure import shape_of
from quprop.planning.training import TrainingPlan, plan_training
from quprop.sampling.shape import Shape, Wanted

__all__ = [
    "DevicePlan",
    "NodesPlan",
    "Shape",
    "TrainingPlan",
    "Wanted",
    "named_shape",
    "plan_on_device",
    "plan_on_nodes",
    "plan_training",
    "shape_of",
    "summary",
]

__getattr__, __dir__ = lazy(__name__), listing(__name__)
