"""The client side of the protocol, for apps in Python: keys, ECIES, tokens, buckets, cards, and the five steps.

Apps import what they need from here. The client uses only the parts of the server that both sides share (addresses,
keys, strict JSON, look-ups).
"""

from inbox_server.client.appkey import AppKey
from inbox_server.client.audit.findings import Finding
from inbox_server.client.bucket import BucketFailed
from inbox_server.client.inbox_client import InboxClient
from inbox_server.client.moving import CannotMove
from inbox_server.client.open_client import open_client, outbox_file, profile_file
from inbox_server.client.profile_file import Profile
from inbox_server.client.refusals import InboxRefused, Unreachable
from inbox_server.client.reports import (
    Arrived,
    Audit,
    Connection,
    Entry,
    Message,
    Notice,
    Outcome,
    Sent,
    Unread,
    WasRead,
)
from inbox_server.client.storage import BadFile, InMemory
from inbox_server.client.user import NotAuthentic, NotForNow, NotReachable

__all__ = [
    "AppKey",
    "Arrived",
    "Audit",
    "BadFile",
    "BucketFailed",
    "CannotMove",
    "Connection",
    "Entry",
    "Finding",
    "InMemory",
    "InboxClient",
    "InboxRefused",
    "Message",
    "NotAuthentic",
    "NotForNow",
    "NotReachable",
    "Notice",
    "Outcome",
    "Profile",
    "Sent",
    "Unreachable",
    "Unread",
    "WasRead",
    "open_client",
    "outbox_file",
    "profile_file",
]
