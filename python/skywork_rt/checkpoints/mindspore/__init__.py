"""What MindSpore and MindFormers write: their names of tensors, their wire format, their strategy files."""
