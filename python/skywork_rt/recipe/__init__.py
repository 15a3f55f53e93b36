"""The recipe: preparing data for MindFormers and training with it."""
