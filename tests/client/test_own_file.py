"""A file that the owner's devices share, which a later client has written: an older one leaves it as it is."""

import json

import pytest

from inbox_server.client.audit.checkpoint import CHECKPOINTS
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.ecies import encrypt, sign_envelope
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.own_file import OwnFile


async def test_a_later_version_is_not_replaced_by_an_older_client(alice: InboxClient) -> None:
    user = alice.account.user
    later = encrypt(
        user.key.public, json.dumps({"v": 2}), ephemeral=user.ephemeral(), iv=user.random_bytes(16), as_base64=True
    )
    content = sign_envelope(user.key, later).encode()
    await user.bucket.replace(CHECKPOINTS.name, content, None)
    with pytest.raises(BucketFailed, match="of a later version: update this client"):
        await OwnFile(user, CHECKPOINTS).change(lambda known: {**known}, replaces_bad=True)
    assert (await user.bucket.read_tagged(CHECKPOINTS.name))[0] == content


async def test_a_damaged_file_is_replaced_where_that_is_asked_for(alice: InboxClient) -> None:
    user = alice.account.user
    await user.bucket.replace(CHECKPOINTS.name, b"{", None)
    await OwnFile(user, CHECKPOINTS).change(lambda known: known, replaces_bad=True)
    known, _ = await OwnFile(user, CHECKPOINTS).read()
    assert known == {}
