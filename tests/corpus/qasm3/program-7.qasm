OPENQASM 3.0;
include "stdgates.inc";
// a comment
const int n = 6;
const float[64] w = (pi/8);
const uint[16] k = 57;
gate my0(a0_0, a0_1) b0 {
  rx(a0_0/8) b0; gphase(a0_0/1);
}
gate my1(a1_0) b0, b1, b2 {
  cy b0, b1; crz(a1_0/5) b1, b0; gphase(a1_0*2);
}
qubit[3] q;
qubit[2] anc;
bit[3] c;
h q;
negctrl @ inv @ x anc[0], anc[1];
sdg q;
ctrl @ inv @ my0(1.224*5*4, n) anc[0], anc[1];
barrier anc;
negctrl @ inv @ sx anc[1], anc[0];
negctrl @ my0(k, (n)+(pi+4)) anc[1], anc[0];
ctrl @ inv @ id q[1], q[2];
negctrl @ inv @ crz(2.464) q[1], anc[0], anc[1];
barrier anc;
rx(n) q[1];
negctrl @ cz q[1], q[2], anc[0];
cry(k+4/7) anc[1], q[2];
ry(k*2) anc[0];
p((w*4)+((pi)*(pi))) anc[0];
negctrl @ ry(2) q[1], anc[1];
barrier anc;
cp(2) q[2], anc[1];
ctrl @ inv @ cy anc[0], q[1], q[0];
my0(w, 1.010) q[1];
cy anc[1], q[2];
negctrl @ ch q[0], q[1], anc[1];
barrier anc;
