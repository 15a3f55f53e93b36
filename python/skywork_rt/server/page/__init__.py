"""The page at `/`: a chat in the browser. Its files are in `files/`, and the browser runs them as they are."""
