"""What may happen to an inbox: deliver, read, follow, settings, and the limits on each."""
