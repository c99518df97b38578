OPENQASM 2.0;
include "qelib1.inc";
// a comment
gate my0(a0_0) b0 {
  h b0; sx b0; t b0; p(a0_0) b0;
}
qreg im[3];
qreg in[3];
creg c[3];
h im;
ry(2.126) in[0];
tdg in;
cry(pi) in[0], im[1];
t in[1];
cp((pi)^0/5) im[0], in[1];
y im;
u3(exp(1.011), ((pi)+(0.103))^1/5, (pi)^0/3+2) in[2];
my0(cos(1.151)) im[0];
cx in[2], im[1];
