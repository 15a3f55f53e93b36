"""What a model needs and how fast it can run on a device, reckoned from its shape without running it."""
