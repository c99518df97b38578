OPENQASM 3.0;
include "stdgates.inc";
qubit q;
rx(pi*(1/2)) q;
rx(2 + 3 - 1/5) q;
rx(7/2) q;
