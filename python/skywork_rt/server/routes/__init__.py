"""The routes, a file each; `table` lists them."""
