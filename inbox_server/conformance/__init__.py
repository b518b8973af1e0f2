"""The conformance suite: does a server anywhere speak docs/protocol.md, version 1? Asked over HTTP alone.

It imports nothing of the server, so that a mistake there is not made here too: every number and text is the page's.
"""
