"""Models whose rotations commute: exact and sampled expectation values at any number of qubits."""
