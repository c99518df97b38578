OPENQASM 3.0;
include "stdgates.inc";
// a comment
qubit[3] q;
qubit[2] anc;
bit[3] c;
h q;
t anc[0];
inv @ cp(pi) q[2], anc[1];
negctrl @ inv @ t q[0], anc[1];
cu(pi, (5)+((pi/3)+6), pi, 5) q[1], anc[0];
negctrl @ cry(2.409) q[2], anc[1], q[0];
t anc;
cu(((pi)*(5))+((pi/3)*8), 5*2+6, (31/1)+((31)+(2.921)), (5)+(5*5)) anc[0], q[0];
