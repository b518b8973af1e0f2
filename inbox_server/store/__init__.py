"""Storage: the contract (`contract.py`) and the SQLite store."""
