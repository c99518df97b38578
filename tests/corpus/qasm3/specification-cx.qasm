OPENQASM 3.0;
gate X q { U(pi, 0, pi) q; gphase(-pi/2); }
gate H q { U(pi/2, 0, pi) q; gphase(-pi/4); }
gate CX c, t { ctrl @ X c, t; }
qubit[2] r;
H r[0]; H r[1]; CX r[0], r[1];
