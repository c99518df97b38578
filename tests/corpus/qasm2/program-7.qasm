OPENQASM 2.0;
include "qelib1.inc";
// a comment
gate my0(a0_0, a0_1) b0 {
  p(a0_1) b0;
}
gate my1 b0, b1 {
  id b0; cz b0, b1; u3((exp(1.044))^0/8, 1, pi/8) b0; cry((pi/4)*(1.573)) b1, b0;
}
qreg int[3];
qreg a_b[2];
creg c[3];
h int;
crx(1.224) int[1], a_b[0];
my1 a_b[0], int[2];
sdg int;
cx int[2], a_b[1];
p(0.971) int[1];
cx a_b[1], int[2];
id a_b[0];
barrier a_b;
my0(pi, sqrt(0.148)) int[2];
s a_b;
sdg int[0];
rz(pi) int[2];
h int[0];
barrier a_b;
sdg int[2];
u3(((pi)^1/5)*(pi/2), (pi)+(pi), (pi)^2/7) a_b[0];
rz(cos(0.683)) int[0];
ch int[2], a_b[1];
