"""Notifications: telling an owner elsewhere that something waits. One may be lost; what waits is in the list."""
