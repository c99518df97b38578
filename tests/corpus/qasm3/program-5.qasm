OPENQASM 3.0;
include "stdgates.inc";
// a comment
const int n = 1;
const float[64] w = (pi/7);
const uint[16] k = 46;
gate my0(a0_0) b0 {
  sdg b0; x b0; inv @ rz(a0_0*3) b0; ry(a0_0/1) b0; gphase(a0_0*7);
}
qubit[3] q;
qubit[3] anc;
bit[3] c;
h q;
swap q[2], q[0];
cu(k, 2, ((pi)+(2.976))+(2.167*5), (n*6)+(w+8)) q[0], anc[1];
barrier anc;
my0(k) anc[0];
my0(pi) q[1];
z q[2];
my0((0.246+7)*(1.523/6)) anc[2];
cu(k, n, k, n*1) anc[2], anc[1];
id q;
ctrl @ inv @ rx(0.828) q[1], q[2];
sx anc[0];
rx((5)*(w)*7) q[0];
negctrl @ ry(8) anc[0], anc[2];
ctrl @ inv @ t q[2], q[1];
negctrl @ inv @ ry((6)+(5)+6) anc[2], q[0];
cu((0.824*7)+(2.998), n*2, (n*1)+(w*8), n) q[2], anc[1];
cx q[0], q[1];
barrier anc;
crz(pi) q[0], q[1];
cu((8+3)*(w+3), (k)*(2*1), (k/1)*(4), k) anc[2], q[1];
