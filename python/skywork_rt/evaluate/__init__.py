"""How good a model's answers are, by the harnesses of others."""
