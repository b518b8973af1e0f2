"""How long a test waits for what must come about."""

from typing import Final

PATIENCE_SECONDS: Final = 45
"""Enough for a machine that does much else, and less than a test has, so that it still says what is missing."""
