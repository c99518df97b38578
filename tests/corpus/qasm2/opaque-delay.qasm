OPENQASM 2.0;
include "qelib1.inc";
opaque delay(param0) q0;
qreg q[1];
delay(10.0) q[0];
x q[0];
