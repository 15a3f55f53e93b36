"""Training with MindFormers' Trainer, checked before it starts and watched while it runs.

What needs neither MindSpore nor MindFormers (settings, schema, checks of files) is in modules that import neither;
`step_cell`, `monitor` and whatever else runs inside of a step import them, and are themselves imported late.
"""
