"""Where Gaia hubs differ from each other: what this one does, and what the real hub 2.8.1 on a disk does.

`running_world(…, rules=STRICT)` and `inbox-server dev --strict-hub` run the strict hub. A test asks for it with
`@pytest.mark.parametrize("hub_rules", [STRICT])`, and for both with `@pytest.mark.both_hubs`.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class HubRules:
    writes_in_place: bool = False
    """An upload first empties the file, which then grows; meanwhile the hub serves it with the old ETag."""
    requires_hub_url: bool = False
    """`requireCorrectHubUrl`: a token without `hubUrl` is refused."""
    has_whitelist: bool = False
    """Only addresses in `Hub.whitelist` may write, and addresses that they vouch for in an association token."""
    knows_not_modified: bool = True
    """A read with the file's ETag in `If-None-Match` is answered 304."""
    has_folders: bool = False
    """A path is a file or a folder: storing below a file, or over a folder, is a 500, reading a folder ends the
    connection without an answer, and two slashes are one."""
    read_path: str = "/hub/"
    """The path of the read URL's prefix."""
    is_express: bool = False
    """The 404 for a missing file is HTML, and text and JSON files are marked as UTF-8 (`express.py`)."""


STRICT: Final = HubRules(
    writes_in_place=True,
    requires_hub_url=True,
    has_whitelist=True,
    knows_not_modified=False,
    has_folders=True,
    read_path="/",
    is_express=True,
)
