"""Other servers that acknowledge what they are given: one file for each, `contract.py` for what they have in common."""
