"""A message-ID inbox server that keeps nothing but "Bob got something"."""

__version__ = "0.2.0"
