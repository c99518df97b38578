OPENQASM 3.0;
include "stdgates.inc";
qubit[65536] q;
for int i in [0:100000] { let a = q[0:-1]; }
