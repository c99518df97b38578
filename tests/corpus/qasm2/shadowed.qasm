OPENQASM 2.0;
include "qelib1.inc";
gate foo(pi) a { rx(pi) a; }
qreg q[1];
foo(0.3) q[0];
