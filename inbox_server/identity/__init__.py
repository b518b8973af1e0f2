"""Who somebody is: keys, names, addresses, and the keyed hashes that stand for them on disk."""
