OPENQASM 2.0;
include "qelib1.inc";
qreg q[65536];
x q[0];
