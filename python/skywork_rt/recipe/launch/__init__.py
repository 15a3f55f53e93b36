"""Several processes of one training: rank tables, and starting and watching the ranks."""
