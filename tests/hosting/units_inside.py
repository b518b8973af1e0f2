"""Run in the machine, as root: install the units as docs/install.md says, and try them.

Prints a line for each check, and at the end how many passed. Standard library only.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

COMMAND = "/opt/inbox-server/bin/inbox-server"
FOLDER = Path("/etc/inbox-server")
UNITS = Path("/etc/systemd/system")
SOURCE = Path("/root/units")
URL = "http://127.0.0.1:8710"
MOST_EXPOSURE = 1.1
SECONDS = 30.0


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 — the console is all that others see


def run(*command: str, code: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def shown(name: str, unit: str = "inbox-server.service") -> str:
    return run("systemctl", "show", "--value", "--property", name, unit).strip()


def restart(times: int = 1) -> None:
    for _ in range(times):
        run("systemctl", "reset-failed", "inbox-server")  # or systemd refuses the sixth start within ten seconds
        run("systemctl", "restart", "inbox-server")


def main_process() -> int:
    number = int(shown("MainPID"))
    assert number, "the service does not run"
    return number


def status(port: int, path: str) -> int:
    asking = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    with contextlib.closing(asking):
        asking.request("GET", path)
        return asking.getresponse().status


def until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < end, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(0.1)


@contextlib.contextmanager
def asking_all_the_time() -> Iterator[list[str]]:
    """Requests one after the other in the background; yields what went wrong with any of them.

    A connection that the server closes as it stops, before it has read a request, is asked again, as clients do.
    """
    wrong: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                if (code := status(8710, "/.well-known/message-inbox")) != 200:
                    wrong.append(str(code))
            except ConnectionResetError:  # RemoteDisconnected is one
                continue
            except OSError as error:
                wrong.append(str(error))

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield wrong
    finally:
        stop.set()
        asker.join()


def the_service_starts_and_says_when_it_is_up() -> None:
    run(COMMAND, "init", str(FOLDER), "--url", URL, "--registration", "open")
    config = FOLDER / "config.toml"
    text = config.read_text()
    for old, new in (
        ('data_dir = "data"', 'data_dir = "/var/lib/inbox-server"'),
        ("open_to_keys = false", "open_to_keys = true"),
        ('services = ["https://api.hiro.so"]', "services = []"),  # there is no network
    ):
        assert old in text
        text = text.replace(old, new)
    config.write_text(text)
    shutil.copy(SOURCE / "inbox-server.service", UNITS)
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", "inbox-server")
    assert status(8710, "/.well-known/message-inbox") == 200  # at once: it is up when `systemctl start` returns
    assert status(8711, "/ready") == 200


def it_runs_as_nobody_in_particular_and_its_data_is_private() -> None:
    process = Path("/proc", str(main_process()))
    assert process.stat().st_uid >= 61184  # a user that exists only while the service runs
    data = Path("/var/lib/private/inbox-server")
    assert (data.stat().st_uid, data.stat().st_mode & 0o77) == (process.stat().st_uid, 0)
    assert Path("/var/lib/private").stat().st_mode & 0o77 == 0
    assert (FOLDER / "secret").stat().st_uid == 0  # it gets a copy, as a credential


def what_the_unit_exposes_is_little() -> None:
    said = run("systemd-analyze", "security", "--no-pager", "inbox-server.service")
    match = re.search(r"Overall exposure level for inbox-server\.service: ([\d.]+)", said)
    assert match, said[-300:]
    assert float(match[1]) <= MOST_EXPOSURE


def an_app_can_claim_deliver_list_and_delete() -> None:
    report = json.loads(run(COMMAND, "ping", URL, "--json", "--quick"))
    assert report["ok"], report
    assert "deliver" in {check["check"] for check in report["checks"] if check["verdict"] == "ok"}


def the_operators_commands_work_beside_it() -> None:
    run(COMMAND, "doctor", "--config", f"{FOLDER}/config.toml")
    run(COMMAND, "invite", "new", "--config", f"{FOLDER}/config.toml")
    run(COMMAND, "backup", "--config", f"{FOLDER}/config.toml", "/root/copy.sqlite3")
    assert status(8711, "/ready") == 200


def a_reload_changes_what_can_change() -> None:
    process = main_process()
    config = FOLDER / "config.toml"
    config.write_text(config.read_text().replace("inbox_per_hour = 6000", "inbox_per_hour = 5000"))
    run("systemctl", "reload", "inbox-server")
    until(lambda: "reloaded: limits.inbox_per_hour" in run("journalctl", "-u", "inbox-server"), "the log says so")
    assert main_process() == process


def without_the_socket_unit_a_restart_refuses_some() -> None:
    """So that the next check means something."""
    with asking_all_the_time() as wrong:
        restart(3)
    assert wrong


def with_the_socket_unit_a_restart_refuses_nobody() -> None:
    run("systemctl", "stop", "inbox-server")
    shutil.copy(SOURCE / "inbox-server.socket", UNITS)
    run("systemctl", "daemon-reload")
    run("systemctl", "enable", "--now", "inbox-server.socket")
    assert status(8710, "/.well-known/message-inbox") == 200  # the first request starts the service
    assert shown("ActiveState") == "active"
    with asking_all_the_time() as wrong:
        restart(5)
    assert not wrong, wrong[:3]
    assert status(8711, "/ready") == 200


def what_is_killed_comes_back() -> None:
    process = main_process()
    os.kill(process, signal.SIGKILL)
    until(lambda: int(shown("MainPID")) not in (process, 0), "another process")
    assert status(8710, "/.well-known/message-inbox") == 200


def what_hangs_is_restarted_by_the_watchdog() -> None:
    drop_in = UNITS / "inbox-server.service.d"
    drop_in.mkdir()
    (drop_in / "soon.conf").write_text("[Service]\nWatchdogSec=4\n")
    run("systemctl", "daemon-reload")
    restart()
    process = main_process()
    time.sleep(10)  # it lives, so nothing happens
    assert main_process() == process
    os.kill(process, signal.SIGSTOP)
    until(lambda: int(shown("MainPID")) not in (process, 0), "another process")
    assert "Watchdog timeout" in run("journalctl", "-u", "inbox-server")
    assert status(8710, "/.well-known/message-inbox") == 200


def a_stop_is_a_clean_one() -> None:
    run("systemctl", "stop", "inbox-server.socket", "inbox-server.service")
    assert shown("Result") == "success"
    assert not Path("/var/lib/private/inbox-server/inbox.sqlite3-wal").exists()


CHECKS = (
    the_service_starts_and_says_when_it_is_up,
    it_runs_as_nobody_in_particular_and_its_data_is_private,
    what_the_unit_exposes_is_little,
    an_app_can_claim_deliver_list_and_delete,
    the_operators_commands_work_beside_it,
    a_reload_changes_what_can_change,
    without_the_socket_unit_a_restart_refuses_some,
    with_the_socket_unit_a_restart_refuses_nobody,
    what_is_killed_comes_back,
    what_hangs_is_restarted_by_the_watchdog,
    a_stop_is_a_clean_one,
)


def main() -> int:
    failed = 0
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            check()
        except Exception as error:  # noqa: BLE001 — the other checks still tell something
            failed += 1
            say(f"FAILED  {name}: {type(error).__name__}: {error}")
        else:
            say(f"ok      {name}")
    if failed:
        say(
            subprocess.run(
                ["journalctl", "-u", "inbox-server", "-n", "40", "--no-pager"],
                capture_output=True,
                text=True,
                check=False,
            ).stdout
        )
    say(f"{len(CHECKS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
