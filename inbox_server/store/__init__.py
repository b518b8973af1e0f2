"""What is kept, and how: the contract (`contract.py`), the SQLite store, and the thread that writes."""
