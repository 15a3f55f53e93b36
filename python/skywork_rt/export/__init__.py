"""From a checkpoint that others made to a bundle that the runtime opens."""
