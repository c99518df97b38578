OPENQASM 3.0;
include "stdgates.inc";
input float p_0;
@quprop.data
input angle p_1;
input float p_2;
float v0 = pi;
const float[64] v1 = 6;
qubit[3] q;
qubit a;
for int[8] i2 in [0:1] { for int[8] i3 in {1, 4} { inv @ rzz(((2 + p_1) + i3)) q[0], q[1]; } tdg q[1]; }
for int[8] i4 in [2:1] { for int i5 in [0:2] { u3(i5, tau, (p_2 - p_2) ** 2) a; crz((p_1 + p_0)) q[1], a; } inv @ cz q[0], q[2]; }
for uint i6 in [2:1] { tdg q[0]; }
inv @ u2(p_1, p_2) a;
v0 = sin(6);
bit[3] c;
c[0] = measure q[0];
