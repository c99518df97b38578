OPENQASM 3.0;
include "stdgates.inc";
uint[4] a = 1;
qubit[4] q;
for uint i in [0:3] {
  if (bool(a[i])) x q[i];
}
