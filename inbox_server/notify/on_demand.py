"""Loading `cryptography_of_push` when it is first needed."""

from functools import cache
from importlib import import_module
from types import ModuleType


@cache
def loaded() -> ModuleType:
    """The module. The first call takes a tenth of a second."""
    return import_module("inbox_server.notify.cryptography_of_push")
