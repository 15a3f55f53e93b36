"""What an output must look like: `grammar.py` says it, the rest prepares it for llguidance, which keeps to it."""
