"""How a version is cut, and how everything that is released is built from a commit. Run from the repository's root."""
