OPENQASM 3.0;
include "stdgates.inc";
input angle p_0;
int v0 = (0 + 7);
const float v1 = pi;
const uint[16] v2 = (0 | 3);
float[32] v3 = float(4);
qubit[1] q;
h q[0];
U(1.890 ** 2, sqrt(v2), pi) q[0];
for int i4 in {1, 4} { for int[8] i5 in {1, 4} { tdg q[0]; inv @ U((pi - p_0) * 2, v0, v1) q[0]; } if ((i4 * v2) < i4) { pow(2) @ sx q[0]; } }
p((p_0 - (v1 * tau))) q[0];
for int i6 in [2:1] { p(((v3 + v3) * v3)) q[0]; s q[0]; }
v0 = v2;
rx(floor(v2)) q[0];
bit[1] c;
c = measure q;
