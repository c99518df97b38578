"""Written by tools/gate_stubs.py from the tables of gates and channels."""

from typing import Self, SupportsFloat, SupportsIndex

from quprop.model.angle import Angle

AngleLike = Angle | SupportsFloat

class GateMethods:
    def x(self, qubit: SupportsIndex, /) -> Self:
        """Append x(qubit): [[0, 1], [1, 0]]."""

    def y(self, qubit: SupportsIndex, /) -> Self:
        """Append y(qubit): [[0, -i], [i, 0]]."""

    def z(self, qubit: SupportsIndex, /) -> Self:
        """Append z(qubit): diag(1, -1)."""

    def h(self, qubit: SupportsIndex, /) -> Self:
        """Append h(qubit): (X + Z) / sqrt(2)."""

    def s(self, qubit: SupportsIndex, /) -> Self:
        """Append s(qubit): diag(1, i)."""

    def sdg(self, qubit: SupportsIndex, /) -> Self:
        """Append sdg(qubit): diag(1, -i)."""

    def sx(self, qubit: SupportsIndex, /) -> Self:
        """Append sx(qubit): [[1 + i, 1 - i], [1 - i, 1 + i]] / 2."""

    def sxdg(self, qubit: SupportsIndex, /) -> Self:
        """Append sxdg(qubit): [[1 - i, 1 + i], [1 + i, 1 - i]] / 2."""

    def t(self, qubit: SupportsIndex, /) -> Self:
        """Append t(qubit): diag(1, exp(i pi/4))."""

    def tdg(self, qubit: SupportsIndex, /) -> Self:
        """Append tdg(qubit): diag(1, exp(-i pi/4))."""

    def cx(self, control: SupportsIndex, target: SupportsIndex, /) -> Self:
        """Append cx(control, target): controlled X."""

    def cy(self, control: SupportsIndex, target: SupportsIndex, /) -> Self:
        """Append cy(control, target): controlled Y."""

    def cz(self, control: SupportsIndex, target: SupportsIndex, /) -> Self:
        """Append cz(control, target): controlled Z."""

    def swap(self, qubit_0: SupportsIndex, qubit_1: SupportsIndex, /) -> Self:
        """Append swap(qubit_0, qubit_1): (II + XX + YY + ZZ) / 2."""

    def iswap(self, qubit_0: SupportsIndex, qubit_1: SupportsIndex, /) -> Self:
        """Append iswap(qubit_0, qubit_1): exp(i pi/4 (XX + YY))."""

    def ecr(self, qubit_0: SupportsIndex, qubit_1: SupportsIndex, /) -> Self:
        """Append ecr(qubit_0, qubit_1): (XI - YX) / sqrt(2)."""

    def rx(self, angle: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append rx(angle, qubit): exp(-i angle X / 2), in radians."""

    def ry(self, angle: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append ry(angle, qubit): exp(-i angle Y / 2), in radians."""

    def rz(self, angle: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append rz(angle, qubit): exp(-i angle Z / 2), in radians."""

    def p(self, angle: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append p(angle, qubit): diag(1, exp(i angle)), in radians."""

    def u(self, theta: AngleLike, phi: AngleLike, lam: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append u(theta, phi, lam, qubit): [[cos(theta/2), -exp(i lam) sin(theta/2)], [exp(i phi) sin(theta/2), exp(i
        (phi + lam)) cos(theta/2)]], in radians."""

    def rxx(self, angle: AngleLike, qubit_0: SupportsIndex, qubit_1: SupportsIndex, /) -> Self:
        """Append rxx(angle, qubit_0, qubit_1): exp(-i angle XX / 2), in radians."""

    def ryy(self, angle: AngleLike, qubit_0: SupportsIndex, qubit_1: SupportsIndex, /) -> Self:
        """Append ryy(angle, qubit_0, qubit_1): exp(-i angle YY / 2), in radians."""

    def rzz(self, angle: AngleLike, qubit_0: SupportsIndex, qubit_1: SupportsIndex, /) -> Self:
        """Append rzz(angle, qubit_0, qubit_1): exp(-i angle ZZ / 2), in radians."""

    def rzx(self, angle: AngleLike, qubit_0: SupportsIndex, qubit_1: SupportsIndex, /) -> Self:
        """Append rzx(angle, qubit_0, qubit_1): exp(-i angle ZX / 2), in radians."""

    def crx(self, angle: AngleLike, control: SupportsIndex, target: SupportsIndex, /) -> Self:
        """Append crx(angle, control, target): controlled exp(-i angle X / 2), in radians."""

    def cry(self, angle: AngleLike, control: SupportsIndex, target: SupportsIndex, /) -> Self:
        """Append cry(angle, control, target): controlled exp(-i angle Y / 2), in radians."""

    def crz(self, angle: AngleLike, control: SupportsIndex, target: SupportsIndex, /) -> Self:
        """Append crz(angle, control, target): controlled exp(-i angle Z / 2), in radians."""

    def cp(self, angle: AngleLike, control: SupportsIndex, target: SupportsIndex, /) -> Self:
        """Append cp(angle, control, target): controlled diag(1, exp(i angle)), in radians."""

    def ccx(self, control_0: SupportsIndex, control_1: SupportsIndex, target: SupportsIndex, /) -> Self:
        """Append ccx(control_0, control_1, target): doubly controlled X."""

    def ccz(self, control_0: SupportsIndex, control_1: SupportsIndex, target: SupportsIndex, /) -> Self:
        """Append ccz(control_0, control_1, target): doubly controlled Z."""

    def depolarising(self, p: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append depolarising(p, qubit): X, Y or Z, each with probability p/3."""

    def depolarising2(self, p: AngleLike, qubit_0: SupportsIndex, qubit_1: SupportsIndex, /) -> Self:
        """Append depolarising2(p, qubit_0, qubit_1): each of the 15 Pauli strings but the identity with probability
        p/15."""

    def bit_flip(self, p: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append bit_flip(p, qubit): X with probability p."""

    def phase_flip(self, p: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append phase_flip(p, qubit): Z with probability p."""

    def bit_phase_flip(self, p: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append bit_phase_flip(p, qubit): Y with probability p."""

    def amplitude_damping(self, gamma: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append amplitude_damping(gamma, qubit): |1> decays to |0> with probability gamma: a = sqrt(1 - gamma), b = 1
        - gamma, c = gamma; observables: X -> a X, Y -> a Y, Z -> b Z + c I."""

    def generalised_amplitude_damping(self, gamma: AngleLike, excited: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append generalised_amplitude_damping(gamma, excited, qubit): damping towards a state that is |1> with
        probability excited: a = sqrt(1 - gamma), b = 1 - gamma, c = gamma (1 - 2 excited); observables: X -> a X, Y ->
        a Y, Z -> b Z + c I."""

    def phase_damping(self, lam: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append phase_damping(lam, qubit): coherence is lost with Kraus operators diag(1, sqrt(1 - lam)), diag(0,
        sqrt(lam)): a = sqrt(1 - lam), b = 1, c = 0; observables: X -> a X, Y -> a Y, Z -> b Z + c I."""

    def thermal_relaxation(
        self, t1: AngleLike, t2: AngleLike, time: AngleLike, qubit: SupportsIndex, /, excited: AngleLike = 0.0
    ) -> Self:
        """Append thermal_relaxation(t1, t2, time, qubit, excited=0): relaxation for a time, to a state that is |1> with
        probability excited: a = exp(-time/t2), b = exp(-time/t1), c = (1 - b)(1 - 2 excited); one unit for all times;
        observables: X -> a X, Y -> a Y, Z -> b Z + c I."""

    def reset(self, qubit: SupportsIndex, /, probability: AngleLike = 1.0) -> Self:
        """Append reset(qubit, probability=1): the qubit is set to |0> with this probability p: a = b = 1 - p, c = p;
        observables: X -> a X, Y -> a Y, Z -> b Z + c I."""

    def reset_error(self, p0: AngleLike, p1: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append reset_error(p0, p1, qubit): the qubit is set to |0> with probability p0 and to |1> with probability
        p1: a = b = 1 - p0 - p1, c = p0 - p1; observables: X -> a X, Y -> a Y, Z -> b Z + c I."""

    def readout_error(self, p10: AngleLike, p01: AngleLike, qubit: SupportsIndex, /) -> Self:
        """Append readout_error(p10, p01, qubit): the qubit's bit is misread, 0 as 1 with probability p10 and 1 as 0
        with probability p01: b = 1 - p10 - p01, c = p01 - p10; afterwards only I and Z of this qubit can be measured;
        observables: X -> a X, Y -> a Y, Z -> b Z + c I."""
