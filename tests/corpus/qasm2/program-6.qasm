OPENQASM 2.0;
include "qelib1.inc";
// a comment
gate my0(a0_0) b0, b1 {
  u3(a0_0, ((pi)^2/1)^2/2, 3) b1; ch b1, b0;
}
qreg delay[2];
qreg pow[2];
creg c[2];
h delay;
cy pow[0], delay[0];
rz(sqrt(0.224)) delay[0];
ry(6) delay[1];
tdg pow;
my0(pi/5+3) delay[1], pow[0];
tdg pow;
crz(sqrt(1.299)) pow[0], delay[1];
crz((pi)^2/4) delay[0], pow[0];
u3(pi*8, 2.876, pi) delay[1];
u3(pi, (7)^2/5, exp(1.216)) pow[0];
my0((sin(1.444))+(0.853/7)) pow[0], delay[1];
cy pow[0], pow[1];
u3((pi)+(pi)+4, 4, (pi)*(pi)) delay[0];
swap pow[0], delay[0];
crz(((pi)+(pi))+(pi)) delay[0], pow[1];
z delay;
