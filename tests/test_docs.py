"""The documentation says what the code does: tables, the example configuration, links, and one name for each file."""

import contextlib
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path

import pytest

from inbox_server import __version__
from inbox_server.config.file import parse_config, render_config
from inbox_server.errors import CODES
from inbox_server.http.capabilities import FEATURES, capabilities
from inbox_server.identity.keys import SigningKey
from inbox_server.store.sqlite.database import schema_steps, upgrade_steps
from release.version import is_newer
from tests.support.channels import all_channels

RECEIPT_KEY = SigningKey.from_seed(bytes(64)).public
ROOT = Path(__file__).parent.parent
FILES_OF_OPERATORS = [ROOT / "Containerfile", ROOT / "config.example.toml", *(ROOT / "systemd").iterdir()]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("[ce]*/*/README.md")])


def python(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def table_in(page: str, name: str) -> list[list[str]]:
    """The rows of the table between a page's markers, without its head."""
    text = (ROOT / page).read_text()
    match = re.search(rf"<!-- {name}: .*?-->\n(.*?)<!-- /{name} -->", text, re.DOTALL)
    assert match, f"{page} has no table {name}"
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in match[1].strip().splitlines()]
    return rows[2:]


def lines(rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def test_the_protocol_page_has_every_error_code() -> None:
    rows = [[f"`{name}`", str(code.status), code.title, code.remedy] for name, code in CODES.items()]
    assert lines(table_in("docs/protocol.md", "errors")) == lines(rows)


def test_the_protocol_page_has_every_limit() -> None:
    config = parse_config({"server": {"public_url": "https://inbox.example"}}, Path("/"))
    limits: Mapping[str, int] = capabilities(config, [], RECEIPT_KEY)["limits"]
    rows = [[f"`{name}`", f"{value:,}"] for name, value in limits.items()]
    assert lines(table_in("docs/protocol.md", "limits")) == lines(rows)


async def test_the_protocol_page_has_every_feature() -> None:
    async with all_channels() as channels:
        told = {*FEATURES, *(channel.kind.feature for channel in channels)}
    assert [name.strip("`") for name, _ in table_in("docs/protocol.md", "features")] == sorted(told)


def test_the_example_configuration_is_every_key_at_its_default() -> None:
    assert (ROOT / "config.example.toml").read_text() == render_config()


def test_the_threat_model_places_every_column_of_the_schema() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        upgrade_steps(db, ROOT, schema_steps())
        columns = {
            f"{table}.{column}"
            for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            for _, column, *_ in db.execute(f"PRAGMA table_info({table})")
        }
    section = (ROOT / "docs" / "threat-model.md").read_text().split("## What each column holds")[1].split("\n## ")[0]
    placed = re.findall(r"`(\w+\.\w+)`", section)
    assert sorted(placed) == sorted(columns)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_a_heading_lead_to_one(page: Path) -> None:
    for target, fragment in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
        there = (page.parent / target) if target else page
        anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings(there)]
        assert fragment in anchors, f"{page.name} links to {target}#{fragment}"


def test_pages_and_headings_that_messages_and_files_name_exist() -> None:
    """An error that sends an operator to "docs/backup.md, Restore" leads somewhere."""
    named = [*FILES_OF_OPERATORS, *(path for room in ("inbox_server", "tests", "release") for path in python(room))]
    for path in named:
        for page, heading in re.findall(r"\b(docs/[\w/-]+\.md)(?:, ([A-Z][\w ]+))?", path.read_text()):
            assert (ROOT / page).exists(), f"{path.name} names {page}"
            assert not heading or heading in headings(ROOT / page), f"{path.name} names {page}, {heading}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_mark_of_bold_text_stands_at_a_word(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`]*`", "code", page.read_text(), flags=re.DOTALL)
    assert re.findall(r"(?<!\S)\*\*(?!\S).*", prose) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_pages_name_exist(page: Path) -> None:
    for name in re.findall(r"`((?:inbox_server|tests|docs|systemd|\.ci)/[\w./-]+)`", page.read_text()):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_files_that_the_architecture_page_names_exist() -> None:
    for name in re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "architecture.md").read_text()):
        assert (ROOT / name).exists() or (ROOT / "inbox_server" / name).exists(), f"architecture.md names {name}"


def test_every_test_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "threat-model.md").read_text()))
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert sorted(name for name in named if f"def {name}(" not in tests) == []


def test_every_decision_has_a_number_of_its_own() -> None:
    pages = sorted((ROOT / "docs" / "decisions").iterdir())
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    assert [headings(page)[0].partition(".")[0] for page in pages] == [str(int(page.name[:4])) for page in pages]


def test_every_javascript_test_that_the_threat_model_names_exists() -> None:
    named = set(re.findall(r"“([^”]+)”", (ROOT / "docs" / "threat-model.md").read_text()))
    tests = "".join(path.read_text() for path in (ROOT / "clients" / "js" / "test").glob("*.test.mjs"))
    assert len(named) > 10
    assert sorted(name for name in named if f"test('{name}'" not in tests and f"  '{name}': async" not in tests) == []


def test_the_changelog_has_an_unreleased_heading() -> None:
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text()


def test_files_of_a_release_have_one_version_in_all_pages() -> None:
    """That of this release, or of the next; `make cut` writes it."""
    pattern = r"\b(?:inbox_server-|inbox-server_|message-inbox-client-)(\d+\.\d+\.\d+)(?=[-.])"
    named = {version for page in PAGES for version in re.findall(pattern, page.read_text())}
    assert len(named) == 1
    (version,) = named
    assert version == __version__ or is_newer(version, __version__)


def test_the_readme_is_one_screen() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 80


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for target in re.findall(r"`make ([a-z]+)`", page.read_text()):
            assert target in targets, f"{page.name} names make {target}"
