"""Several server processes on one host: a parent that starts, watches and stops them, and what they get from it."""
