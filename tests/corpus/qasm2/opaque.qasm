OPENQASM 2.0;
include "qelib1.inc";
opaque magic(a,b) q,r;
qreg q[1];
x q[0];
