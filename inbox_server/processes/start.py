"""Starting several server processes on what the configuration says."""

import os
from collections.abc import Callable, Mapping
from functools import partial

from inbox_server.config.config import Config
from inbox_server.inboxes.on_host import OnHost
from inbox_server.processes.member import Line, Member
from inbox_server.processes.places import held_for_children, opened_by_child, places_of
from inbox_server.processes.supervisor import Supervisor
from inbox_server.systemd import notify, watchdog_seconds


def run_processes(
    config: Config,
    processes: int,
    work: Callable[[Member], int],
    *,
    announce: Callable[[str], None],
    reload: Callable[[], None],
    environment: Mapping[str, str] = os.environ,
) -> int:
    """Run until SIGTERM or SIGINT; returns an exit code. `work` is what each process does, and returns its own.

    `reload` makes this process read the configuration again. Raises `BadConfig` or `CannotListen`.
    """
    host, watchdog = OnHost(processes), watchdog_seconds(environment, os.getpid())
    sockets = tuple(config.data_dir / f"process-{number}" for number in range(1, processes + 1))
    with held_for_children(places_of(config, environment)) as held:

        def become(number: int, line: Line) -> int:
            host.process = number - 1
            with opened_by_child(held) as places:
                return work(Member(number, line, places, host, sockets, watchdog))

        supervisor = Supervisor(processes, become, announce=announce, tell=partial(notify, environment), reload=reload)
        return supervisor.run()
