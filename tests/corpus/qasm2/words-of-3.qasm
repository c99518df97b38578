OPENQASM 2.0;
include "qelib1.inc";
qreg in[2];
qreg input[1];
creg output[1];
x in[1];
h input[0];
