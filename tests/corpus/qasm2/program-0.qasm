OPENQASM 2.0;
include "qelib1.inc";
// a comment
qreg angle[3];
qreg delay[2];
creg c[3];
h angle;
t delay[0];
cp(pi) delay[0], angle[0];
cx angle[0], delay[1];
cy angle[1], angle[0];
ch angle[1], delay[0];
rz(pi) delay[1];
