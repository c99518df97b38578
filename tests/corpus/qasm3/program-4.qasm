OPENQASM 3.0;
include "stdgates.inc";
// a comment
gate my0(a0_0, a0_1) b0 {
  rz(a0_1/2) b0; rz(a0_0/3) b0; gphase(a0_0/1);
}
gate my1 b0, b1 {
  cy b1, b0; sx b0;
}
qubit[3] q;
qubit[3] anc;
bit[3] c;
h q;
crz(1+8) anc[1], q[1];
id q;
rx(pi*2) anc[1];
negctrl @ inv @ cx anc[1], anc[0], q[2];
id anc;
negctrl @ inv @ crx((6)*(3)) anc[2], q[2], q[0];
ctrl @ my1 anc[2], q[0], anc[0];
ch anc[0], anc[1];
cu(((8)+(93))*((pi/5)), 8, (pi*7)*(1), 93) q[0], anc[0];
cx anc[2], q[0];
t q;
tdg anc[1];
cp(2.680) anc[2], anc[1];
