"""How much of the same is tried: a part with the other tests, and all of it in `make long`."""

import pytest


def amounts(some: int, all_of_it: int) -> pytest.MarkDecorator:
    """The test runs with `amount` as the first number, and once more with the second, which takes longer."""
    return pytest.mark.parametrize(
        "amount", [some, pytest.param(all_of_it, marks=pytest.mark.long)], ids=["some", "all"]
    )
