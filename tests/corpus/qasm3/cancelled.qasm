OPENQASM 3.0;
include "stdgates.inc";
input float t;
qubit q;
ry(t - t) q;
ry(0*t + 1e-310) q;
