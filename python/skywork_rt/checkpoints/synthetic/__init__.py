"""Checkpoints of random weights, for tests and for the speed of shapes that nobody can download."""
