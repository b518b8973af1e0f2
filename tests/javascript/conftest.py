"""What the tests of the JavaScript client share."""

import pytest

from tests.support.javascript import Node, build_client, open_node, search_path


@pytest.fixture(scope="session")
def node() -> Node:
    found = open_node(search_path())
    build_client(search_path())
    return found
