OPENQASM 3.0;
include "stdgates.inc";
@quprop.data
input float[64] x_0;
input array[float[64], 2] theta;
qubit[2] q;
rx(theta[0]*x_0) q[0];
ctrl @ ry(theta[1]**2 - 0.3) q[0], q[1];
