OPENQASM 3.0;
include "stdgates.inc";
float[32] v0 = (float(pi) + 9);
qubit[3] q;
qubit a;
reset q[0];
p((pi + pi) ** 2) a;
for uint i1 in [0:1] { for int[8] i2 in [2:1] { negctrl @ ccx q[0], q[1], a, q[2]; rzz(((2 - 2) + 3.075)) q[0], q[1]; } u3(tau, 0.432, (tau + (9 * v0))) q[2]; }
box { rz(1.212) a; ccx q[1], q[0], a; }
for int i3 in {1, 4} { inv @ p(((pi - tau) + arctan(tau))) q[1]; box { ctrl @ p(i3) q[1], a; ctrl @ rx(pi) q[2], a; } }
u3((5 - 1), 9, (sqrt(tau) + -(pi))) a;
ctrl @ negctrl @ ctrl @ x a, q[0], q[2], q[1];
bit[3] c;
measure q -> c;
