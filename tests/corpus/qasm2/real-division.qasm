OPENQASM 2.0;
include "qelib1.inc";
qreg q[1];
rx(2 + 3 - 1/5) q[0];
rx(7/2) q[0];
