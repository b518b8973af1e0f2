"""The table of token vectors, made for any time, audience and keys: the same that tests/vectors/tokens.json has.

A test compares both, so a token that this makes for a live server differs from the file's in nothing else.
"""
