"""Every vector, in the order of the file."""

from inbox_server.conformance.vectors.accepted import accepted
from inbox_server.conformance.vectors.claims import audiences, claims, gaia, identities
from inbox_server.conformance.vectors.encoding import malformed, shapes
from inbox_server.conformance.vectors.headers import headers, signatures
from inbox_server.conformance.vectors.recipes import Recipes, Vector
from inbox_server.conformance.vectors.times import times

_PARTS = (accepted, shapes, malformed, headers, signatures, claims, identities, audiences, times, gaia)


def vectors(recipes: Recipes) -> list[Vector]:
    return [vector for part in _PARTS for vector in part(recipes)]
