"""Our few lines of P-256, compared with OpenSSL's."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from inbox_server.identity.p256 import ORDER, POINT_BYTES, is_point, public_point

PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
OF_ONE = public_point(1)


def openssl_point(private: int) -> bytes:
    key = ec.derive_private_key(private, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def is_openssl_point(raw: bytes) -> bool:
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
    except ValueError:
        return False
    return len(raw) == POINT_BYTES


@pytest.mark.parametrize("private", [1, 2, 3, 4, ORDER // 2, ORDER // 2 + 1, ORDER - 2, ORDER - 1, 2**255, 2**255 - 1])
def test_the_public_point_at_the_ends_is_openssls(private: int) -> None:
    assert public_point(private) == openssl_point(private)


@settings(max_examples=20)
@given(st.integers(1, ORDER - 1))
def test_the_public_point_is_openssls(private: int) -> None:
    point = public_point(private)
    assert point == openssl_point(private)
    assert is_point(point)


def test_there_is_no_point_of_nothing() -> None:
    with pytest.raises(ValueError, match="no point"):
        public_point(0)


def written(x: int, y: int) -> bytes:
    return b"\4" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


X, Y = int.from_bytes(OF_ONE[1:33], "big"), int.from_bytes(OF_ONE[33:], "big")
WRONG = {
    "nothing": b"",
    "one byte less": OF_ONE[:-1],
    "one byte more": OF_ONE + b"\0",
    "beside the curve": written(X, Y ^ 1),
    "compressed": b"\3" + OF_ONE[1:33],
    "hybrid": b"\7" + OF_ONE[1:],
    "zeros": bytes(POINT_BYTES),
    "zero and zero": written(0, 0),
    "a number that is the prime": written(PRIME, Y),
    "ones": b"\4" + b"\xff" * 64,
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_uncompressed_point_is_refused(name: str) -> None:
    assert not is_point(WRONG[name])


def test_a_point_whose_number_is_written_too_large_is_refused() -> None:
    """x is 5, so x and the prime together still fit into 32 bytes, and mean the same in the field."""
    x = 5
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    y = pow(x**3 - 3 * x + b, (PRIME + 1) // 4, PRIME)
    assert is_point(written(x, y))
    assert is_openssl_point(written(x, y))
    assert not is_point(written(x + PRIME, y))
    assert not is_openssl_point(written(x + PRIME, y))


@given(st.binary(min_size=64, max_size=64))
def test_random_bytes_are_judged_as_openssl_judges_them(raw: bytes) -> None:
    assert is_point(b"\4" + raw) == is_openssl_point(b"\4" + raw)
