OPENQASM 2.0;
include "qelib1.inc";
qreg q[1];
rx(2^3/7) q[0];
