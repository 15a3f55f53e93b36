"""Tool calls: how models write them, and how they are read while they come.

`formats/` has a file a format, `table.py` lists them and chooses one by a chat template; `parser.py` is for callers.
"""
