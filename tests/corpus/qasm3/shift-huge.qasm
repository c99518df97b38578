OPENQASM 3.0;
include "stdgates.inc";
const uint a = 1 << 99999999;
qubit q;
rx(a) q;
