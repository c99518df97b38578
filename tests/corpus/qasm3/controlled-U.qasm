OPENQASM 3.0;
include "stdgates.inc";
qubit[2] r; h r[0]; ctrl @ U(pi/2, 0, 0) r[0], r[1];
