"""The configuration: its types, its table of keys, how values are checked, and the files."""
