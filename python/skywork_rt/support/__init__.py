"""What every room may use: the machine, the cache, downloads, progress bars, environment variables."""
