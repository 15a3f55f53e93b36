"""What Python reads of a bundle."""
