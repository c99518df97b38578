OPENQASM 3.0;
include "stdgates.inc";
angle[8] t = pi;
t += pi;
qubit q;
rx(t) q;
