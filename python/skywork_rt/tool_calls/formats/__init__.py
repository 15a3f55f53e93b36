"""The formats, a file each; `table.py` lists them."""
