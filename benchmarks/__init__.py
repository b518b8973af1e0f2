"""What the server costs, measured on this machine; `python -m benchmarks.speed` is the program."""
