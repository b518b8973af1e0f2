"""What `ping` sees of a server from outside, and what `doctor` sees of a deployment from inside."""
