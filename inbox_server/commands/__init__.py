"""The commands of `inbox-server`, a file each: its arguments, what it does, what a person is told."""
