"""Identities: keys, names, addresses, and the keyed hashes that replace them on disk."""
