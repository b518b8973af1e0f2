"""Check of the Matrix bot: its token is accepted, and is the token of the account that owners are shown."""

from inbox_server.checks.results import Findings, quoted
from inbox_server.config.config import Config
from inbox_server.config.secret import BadSecret, read_matrix_token
from inbox_server.notify.channel import Stopped
from inbox_server.notify.matrix import HomeServer, Limited, Refusal
from inbox_server.outgoing.fetch import Fetcher, Unreachable


async def check_matrix(config: Config, fetcher: Fetcher, findings: Findings) -> None:
    """Nothing is said when the operator has no bot."""
    if not config.matrix_homeserver:
        return
    where, page = f"{config.matrix_homeserver}", "docs/notifications.md, A Matrix bot"
    try:
        token = read_matrix_token(config.matrix_token_file)
        found = await HomeServer(fetcher, config.matrix_homeserver, token).whoami()
    except BadSecret as error:
        findings.fail("matrix", str(error), f"See {page}.")
    except Stopped:
        findings.fail("matrix", f"{where} refuses the bot's token", f"Log the bot in again, and restart: {page}.")
    except (Unreachable, Limited, Refusal) as error:
        said = "wants to be asked later" if isinstance(error, Limited) else "does not answer as a home server does"
        findings.fail("matrix", f"{where} {said}", "Is notify.matrix.homeserver right, and does it run?")
    else:
        if found == config.matrix_user_id:
            findings.ok("matrix", f"{where} knows the bot {found}")
        else:
            said = f"the token is that of {quoted(found)}, and notify.matrix.user_id is {config.matrix_user_id}"
            findings.fail("matrix", said, "Use the bot's own token: owners invite the account that they are shown.")
