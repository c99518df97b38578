OPENQASM 3.0;
include "stdgates.inc";
input array[float[64], 3] w;
int[32] v0 = (3 + (2 & 6));
const int v1 = (6 % 3 & 5);
qubit[2] q;
swap q[1], q[0];
box { cp(v1) q[1], q[0]; u2(w[0] ** 2, ((v0 - v1) + arctan(v0))) q[0]; }
box { inv @ tdg q[0]; x q[0]; }
u2(0.461, v0) q[0];
inv @ rx((arctan(tau) + (v0 * 8))) q[0];
box { pow(-1) @ u3((-(w[1]) - w[1]), ((w[2] - w[0]) * 1.692 * 2), 2) q[0]; ctrl @ pow(2) @ tdg q[1], q[0]; }
for uint i2 in [0:1] { box { ry(w[2] * 2) q[1]; h q[1]; } }
