"""Layers over keyed hashes: each can be taken off by its own secret, and by no other."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox_server.identity.layer import NO_LAYER, Layer, layers_of

HASHES = st.binary(min_size=16, max_size=16)
ONE, OTHER, _ = layers_of([b"one secret", b"another secret"])


@given(HASHES)
def test_of_two_layers_neither_shows_what_the_other_hides(hash: bytes) -> None:
    assert ONE.show(ONE.hide(hash)) == hash
    assert len({hash, ONE.hide(hash), OTHER.hide(hash), OTHER.show(ONE.hide(hash))}) == 4
    assert layers_of([b"one secret"])[0].hide(hash) == ONE.hide(hash)


@given(st.binary(min_size=12, max_size=3000))
def test_a_sealed_address_keeps_its_size_and_comes_back(sealed: bytes) -> None:
    stored = ONE.hide_sealed(sealed)
    assert len(stored) == len(sealed)
    assert ONE.show_sealed(stored) == sealed


def test_a_sealed_address_cannot_be_read_through_another_layer() -> None:
    sealed = secrets.token_bytes(100)
    stored = ONE.hide_sealed(sealed)
    assert stored[12:] != sealed[12:]
    assert OTHER.show_sealed(stored) != sealed


@pytest.mark.parametrize("layer", [ONE, OTHER])
@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_what_is_no_hash_is_refused_and_spoils_nothing(layer: Layer, size: int) -> None:
    hidden = layer.hide(b"the hash of a...")
    for change in (layer.hide, layer.show):
        with pytest.raises(ValueError, match="16 bytes"):
            change(bytes(size))
    assert layer.hide(b"the hash of a...") == hidden


def test_without_a_layer_everything_is_stored_as_it_is() -> None:
    assert layers_of([]) == (NO_LAYER,)
    assert (
        NO_LAYER.hide(b"a") == NO_LAYER.show(b"a") == NO_LAYER.hide_sealed(b"a") == NO_LAYER.show_sealed(b"a") == b"a"
    )


def test_a_layer_shows_no_secret() -> None:
    assert "one secret" not in repr(ONE)
