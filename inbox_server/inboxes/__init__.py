"""The operations on an inbox: deliver, read, follow, change settings, and the limits on each."""
