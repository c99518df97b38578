OPENQASM 3.0;
include "stdgates.inc";
input float x;
qubit q;
rx((x + 1)**3000) q;
