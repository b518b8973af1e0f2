"""The Debian package, as Debian's own checker sees it."""

from pathlib import Path

import pytest

from tests.hosting.machine import output

pytestmark = [pytest.mark.hosting, pytest.mark.timeout(120, func_only=True)]


def test_lintian_finds_nothing_for_which_there_is_no_reason(dist: Path) -> None:
    (package,) = dist.glob("*.deb")
    assert output("lintian", "--fail-on=error,warning", "--allow-root", package) == ""
