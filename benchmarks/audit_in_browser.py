"""How long an audit of 10,000 entries with as many receipts takes in Chromium: `python -m benchmarks.audit_in_browser`.

The server is in the page's memory (clients/js/test/liar.mjs): no network is measured. Needs Chromium, Node and npm.
"""

import asyncio
import shutil
from pathlib import Path
from typing import Final

from tests.support.javascript import build_client, open_node, search_path

_ENTRIES: Final = 10_000
_TIMES: Final = 5
_HERE: Final = Path(__file__).parent / "browser"
_ROOT: Final = Path(__file__).parent.parent


async def measure() -> None:
    path = search_path()
    build_client(path)
    node = open_node(path, _ROOT / "tests" / "browser")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    measured = await node.run(_HERE / "run.mjs", {"chromium": chromium, "entries": _ENTRIES, "times": _TIMES})
    print(f"audits of {_ENTRIES:,} entries in Chromium {measured['browser']}, one after the other:")
    for audit in measured["audits"]:
        print(f"{audit['seconds']:.2f} s, {audit['processor']:.2f} s of them processor time")


if __name__ == "__main__":
    asyncio.run(measure())
