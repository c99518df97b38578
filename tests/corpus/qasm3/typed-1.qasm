OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
qubit a;
tdg q[1];
if ((6 ^ 3) == 3) { h q[0]; }
cz a, q[0];
gphase(9) ;
for uint i0 in [3:-1:1] { ccx q[1], a, q[0]; for int[8] i1 in [3:-1:1] { cz a, q[1]; s q[0]; } }
crz(((pi + pi) - (1.837 * pi))) q[1], q[0];
for int i2 in {1, 4} { for uint i3 in [0:1] { pow(3) @ u2(cos(i2), tau) q[0]; ctrl @ s q[1], q[0]; } }
pow(-1) @ rx(exp(5)) a;
bit[2] c;
c[0] = measure q[0];
