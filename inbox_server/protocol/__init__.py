"""What goes over the wire: tokens, request bodies, and the feed as JSON."""
