"""All checks of a deployment from inside. They only read, and write nothing anywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from inbox_server.checks.database_server import check_database_server
from inbox_server.checks.deployment import check_config, check_data_dir, check_database, check_disk, check_secret
from inbox_server.checks.liveness import check_running
from inbox_server.checks.matrix import check_matrix
from inbox_server.checks.name_chain import check_chain, check_services
from inbox_server.checks.results import Findings
from inbox_server.outgoing.fetch import open_fetcher
from inbox_server.outgoing.guard import guard_with

_READ_SECONDS: Final = 10  # enough for some GB; while a reader is active, acknowledged texts are not blanked


async def check_deployment(
    path: Path,
    findings: Findings,
    *,
    name: str | None,
    app: str | None,
    seconds: float,
    clock: Callable[[], float],
) -> None:
    """Check the deployment of the configuration at `path`; with `name` and `app`, also that name's chain."""
    config = check_config(path, findings)
    if config is None:
        return
    secret = check_secret(config, findings)
    has_data_dir = check_data_dir(config, findings)
    if secret and config.store_url:
        await check_database_server(config, secret, findings, clock=clock)
    elif secret and has_data_dir:
        check_database(config, secret, findings, seconds=_READ_SECONDS)
    if not config.store_url:
        check_disk(config, findings)
    await check_running(config, findings, seconds=seconds, clock=clock)
    async with open_fetcher(allow=config.outgoing_allow, guard=guard_with(config.outgoing_nat64)) as fetcher:
        await check_services(config, name, fetcher, findings, seconds=seconds, clock=clock)
        await check_matrix(config, fetcher, findings)
        if name and app:
            await check_chain(name, app, config, fetcher, findings)
    findings.skip(
        "proxy log",
        "only the proxy's own configuration tells whether it logs addresses and paths, as most do",
        "Turn that off: docs/install.md, In front of it.",
    )
    findings.skip(
        "outside", "what apps meet is not seen from here", f"Elsewhere: inbox-server ping {config.public_url}"
    )
