"""Readers of checkpoints, which export and convert share. `open_source` in `open` finds the right one."""
