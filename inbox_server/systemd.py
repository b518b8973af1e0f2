"""Telling systemd that the service is up (sd_notify(3)): it is reloaded only then."""

import socket
from collections.abc import Mapping


def notify_ready(environment: Mapping[str, str]) -> None:
    """Do so if systemd asked for it, with `Type=notify`. Raises OSError when it does not listen."""
    path = environment.get("NOTIFY_SOCKET")
    if path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            # An @ stands for the zero byte of an abstract name.
            sending.sendto(b"READY=1", f"\0{path[1:]}" if path.startswith("@") else path)
