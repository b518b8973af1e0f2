"""How much of the same is tried: a part with the other tests, and all of it in `make long`."""

from typing import Final

import pytest

_SECONDS: Final = 300


def amounts(some: int, all_of_it: int) -> pytest.MarkDecorator:
    """The test runs with `amount` as the first number, and once more with the second, which takes longer."""
    longer = pytest.param(all_of_it, marks=(pytest.mark.long, pytest.mark.timeout(_SECONDS, func_only=True)))
    return pytest.mark.parametrize("amount", [some, longer], ids=["some", "all"])
