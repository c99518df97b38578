OPENQASM 3.0;
include "stdgates.inc";
const int v0 = ((5 * 0) & (6 ^ 3));
float[32] v1 = -(tau);
qubit[3] q;
for uint i2 in [2:1] { box { negctrl @ u2(pi, v0) q[0], q[1]; ctrl @ crz((v1 * (pi - v1))) q[2], q[1], q[0]; } }
s q[1];
for int[8] i3 in [0:1] { for int i4 in [0:1] { U(i4, (v1 - v1), (i4 * 2 - (v1 - v1))) q[2]; h q[0]; } }
tdg q[1];
x q[1];
