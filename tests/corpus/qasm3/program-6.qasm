OPENQASM 3.0;
include "stdgates.inc";
// a comment
gate my0(a0_0) b0, b1 {
  cu(a0_0*6, a0_0/3, a0_0/6, a0_0*1) b0, b1; negctrl @ inv @ sx b1, b0; gphase(a0_0/7);
}
qubit[2] q;
qubit[2] anc;
bit[2] c;
h q;
sdg q[1];
tdg q;
cp((5*7)+(5)) q[0], q[1];
cy anc[0], q[1];
barrier anc;
cu(4, 2*2, (93)+(5)*8, pi) q[0], anc[0];
barrier anc;
my0((1.761)+(5)) q[0], anc[1];
sdg anc;
cx q[0], q[1];
cp(5) q[1], anc[0];
