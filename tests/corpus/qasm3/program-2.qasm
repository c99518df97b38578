OPENQASM 3.0;
include "stdgates.inc";
// a comment
gate my0(a0_0) b0 {
  p(a0_0/8) b0; id b0;
}
gate my1(a1_0, a1_1) b0, b1 {
  cz b1, b0; crz(a1_1/4) b0, b1; cx b1, b0;
}
qubit[3] q;
qubit[1] anc;
bit[3] c;
h q;
cu(41, 1*2+4, (pi/3)/7+6, ((0.959)+(1))*(1)) q[0], anc[0];
swap q[2], anc[0];
id q;
cu((7)+(pi), 1*1, (pi/3), (41)*(41)*8) anc[0], q[1];
rx((1)+(1)*3) q[0];
barrier anc;
id q[0];
barrier anc;
negctrl @ swap q[1], q[0], anc[0];
