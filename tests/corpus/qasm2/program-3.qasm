OPENQASM 2.0;
include "qelib1.inc";
// a comment
gate my0(a0_0, a0_1) b0, b1 {
  t b1;
}
gate my1 b0 {
  u3(cos(1.215), sin(1.917), ((2.119)^0/8)^0/3) b0; t b0; p((sin(1.932))*((pi)*(pi))) b0;
}
qreg angle[3];
qreg let[1];
creg c[3];
h angle;
u3(((0.961)*(pi))^2/7, pi, pi) angle[2];
u3(sqrt(1.571)*5, pi, pi) angle[1];
h angle;
cx angle[1], angle[0];
id angle;
my0(exp(0.941), 2.149) angle[2], angle[0];
cp(cos(1.364)) angle[2], angle[1];
rz(2*5) angle[2];
u3(sin(1.559)+2, 2.557, (pi)^0/8) angle[1];
u3(pi, exp(0.943), pi) let[0];
barrier let;
ch angle[0], angle[1];
cry((pi*2)*(exp(0.715))) let[0], angle[1];
