"""The two things of the curve P-256 that every server needs: its own public point, and whether a browser's is one.

`cryptography` does both, and takes 8 MB, so it is loaded only where something is signed or encrypted
(`notify/on_demand.py`). The one multiplication by a secret number is done at the start, when nobody can measure it.

Source: NIST SP 800-186, section 3.2.1.3.
"""

from typing import Final

POINT_BYTES: Final = 65  # SEC 1 section 2.3.3, uncompressed
ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_PRIME: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_BASE: Final = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

Point = tuple[int, int, int]
"""X, Y and Z for the point with x = X / Z² and y = Y / Z³, so that only the last step divides, which is slow."""


def public_point(private: int) -> bytes:
    """The uncompressed public point of a private number from 1 to `ORDER` - 1. Takes 1 to 2 ms."""
    point: Point | None = None
    added = (*_BASE, 1)
    while private:
        if private & 1:
            point = _add(point, added)
        private >>= 1
        added = _double(added)
    if point is None:
        raise ValueError("there is no point of 0")
    x, y, z = point
    inverse = pow(z, -1, _PRIME)
    numbers = x * inverse**2 % _PRIME, y * inverse**3 % _PRIME
    return b"\x04" + b"".join(number.to_bytes(32, "big") for number in numbers)


def is_point(raw: bytes) -> bool:
    """Whether this is a public key that can be encrypted to: an uncompressed point on the curve."""
    if len(raw) != POINT_BYTES or raw[0] != 4:
        return False
    x, y = int.from_bytes(raw[1:33], "big"), int.from_bytes(raw[33:], "big")
    return x < _PRIME and y < _PRIME and (y * y - (x * x - 3) * x - _B) % _PRIME == 0


def _add(one: Point | None, other: Point) -> Point:
    """The sum of two points that are neither the same nor each other's opposites; None is the point at infinity."""
    if one is None:
        return other
    (x, y, z), (other_x, other_y, other_z) = one, other
    square, other_square = z * z % _PRIME, other_z * other_z % _PRIME
    x, y = x * other_square % _PRIME, y * other_z * other_square % _PRIME
    run, rise = (other_x * square - x) % _PRIME, (other_y * z * square - y) % _PRIME
    run_square = run * run % _PRIME
    sum_x = (rise * rise - run_square * (run + 2 * x)) % _PRIME
    return sum_x, (rise * (x * run_square - sum_x) - y * run * run_square) % _PRIME, z * other_z * run % _PRIME


def _double(point: Point) -> Point:
    x, y, z = point
    y_square, z_square = y * y % _PRIME, z * z % _PRIME
    product, slope = 4 * x * y_square % _PRIME, 3 * (x - z_square) * (x + z_square) % _PRIME
    sum_x = (slope * slope - 2 * product) % _PRIME
    return sum_x, (slope * (product - sum_x) - 8 * y_square * y_square) % _PRIME, 2 * y * z % _PRIME
