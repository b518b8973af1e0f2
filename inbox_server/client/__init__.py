"""The other side of the wire, for apps in Python: keys, ECIES, tokens, buckets, cards, and the five steps.

It imports nothing of the server but what both sides share (addresses, keys, strict JSON, look-ups).
"""
