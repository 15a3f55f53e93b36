"""Tools of a request: what may be called, what must be, how the conversation says it, and the calls of an answer."""
