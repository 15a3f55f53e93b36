"""An HTTP server with OpenAI's routes over `AsyncGenerator`; needs the extra `serve`. docs/server.md is its manual.

`settings` is the table of its options, `app` makes the ASGI application of them, and `process` runs that application
in this process until it is told to stop. Of the rest, `schemas` says what a request may hold, `routes` has a file a
route, `shapes` writes answers as OpenAI does, `limits` bounds what clients may take, `models` opens bundles and drops
them, `work` runs prompts and ends them when their client is gone, and `metrics` and `log` tell what happened.
"""
