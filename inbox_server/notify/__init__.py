"""Notifications: telling an owner that something waits. A notification may be lost; the entry is in the inbox."""
