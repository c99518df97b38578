OPENQASM 2.0;
include "qelib1.inc";
// a comment
gate my0(a0_0, a0_1) b0 {
  u3(a0_1, a0_1, 4) b0; u3(a0_1/5, a0_1, (a0_0)*(a0_0)) b0;
}
gate my1(a1_0) b0, b1, b2 {
  crx(sin(1.867)) b2, b1; u3((0.653)^1/8, a1_0, 1.209+3*4) b1; my0(1.903, a1_0) b1; id b2;
}
qreg stretch[3];
qreg delay[3];
creg c[3];
h stretch;
z delay[2];
y delay;
u3(6, 3, exp(1.505)) delay[2];
my1(((6)^1/8)^1/6) stretch[1], delay[1], stretch[0];
my0((pi+7)^0/6, (pi)+(5)/3) stretch[2];
barrier delay;
h delay;
x stretch[0];
y stretch[0];
