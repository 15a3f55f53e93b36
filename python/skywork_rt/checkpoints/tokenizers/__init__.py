"""Tokenizer files as checkpoints have them, and the vocabulary that a bundle gets."""
