OPENQASM 3.0;
include "stdgates.inc";
// a comment
const int n = 2;
const float[64] w = (pi/2);
const uint[16] k = 18;
gate my0(a0_0, a0_1) b0, b1 {
  ctrl @ inv @ s b0, b1;
}
gate my1 b0, b1 {
  my0(8+3+7, pi*6) b0, b1; my0(((3)+(pi))*(pi), pi*7) b1, b0; gphase((pi)*(pi));
}
qubit[3] q;
qubit[1] anc;
bit[3] c;
h q;
p((pi/3)*(k/8)) anc[0];
my0(6, (1)*(k)) anc[0], q[1];
cu(pi, (pi)+(0.464), ((k)+(0.157))*(n), k) anc[0], q[1];
barrier anc;
h q[2];
id anc;
cry((pi)*(n)+4) q[1], q[2];
t q;
inv @ my1 q[0], anc[0];
ch anc[0], q[2];
