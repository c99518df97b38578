OPENQASM 2.0;
include "qelib1.inc";
// a comment
gate my0(a0_0) b0 {
  u3((a0_0)^1/4, 1.103, exp(1.574)) b0; u3(sqrt(1.392), sqrt(1.324), cos(1.081)) b0;
}
gate my1(a1_0, a1_1) b0, b1 {
  my0(sqrt(1.266)) b0; u3((a1_1)^0/5, pi, a1_1) b0;
}
qreg pow[3];
qreg input[1];
creg c[3];
h pow;
ch pow[1], pow[2];
barrier input;
u3(4, pi, (pi)*(1.517)) pow[0];
u3(exp(0.531), 6/1, 1) pow[0];
barrier input;
z input[0];
my1(exp(0.381), 8) input[0], pow[2];
barrier input;
u3(pi, pi+1, (1.395)^1/7) pow[2];
crz(0.228) input[0], pow[1];
rz(exp(0.650)) pow[1];
cz input[0], pow[1];
cry(pi) input[0], pow[2];
cx input[0], pow[0];
p(cos(0.661)) pow[0];
barrier input;
y input;
u3(((pi)^1/8)^1/1, ((pi)^2/2)^1/8, pi) pow[0];
t input;
u3(3, pi, sqrt(1.931)) pow[2];
u3(sin(0.421), 0.355, pi) pow[0];
barrier input;
crx(sqrt(1.352)) input[0], pow[0];
cry(2.826) pow[2], pow[1];
