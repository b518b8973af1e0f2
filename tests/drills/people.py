"""Alice, Bob and Carol with `inbox-server client`, before and after their server was restored or moved.

Commands run wherever the drill runs them, so the same people try two folders and two machines.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

APP: Final = "https://chat.example"
RETENTION: Final = 9 * 86_400
_SUBSCRIPTION: Final = {
    "endpoint": "https://push.example/subscription",
    "keys": {
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "auth": "BTBZMqHH6r4Tts7J_aSIgg",
    },
}

Run = Callable[..., tuple[int, str]]
"""Runs `inbox-server` with these arguments; returns the exit code and what was printed."""


@dataclass(slots=True)
class People:
    """Their profiles are in `folder`, as it is called where the commands run."""

    run: Run
    folder: Path
    hub: str
    url: str
    """Of their server, which no card of somebody else's may name while its host is a private address."""
    sent: dict[str, str] = field(default_factory=dict)
    """The ID of each message that Alice sent, by its text."""

    def does(self, name: str, command: str, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """What a client's command says as JSON."""
        profile = ("--profile", str(self.folder / name), "--json")
        exit_code, said = self.run("client", command, *profile, *arguments)
        assert exit_code == code, f"{command} of {name} ended with {exit_code}: {said}"
        return [json.loads(line) for line in said.splitlines()]

    def joins(self, name: str) -> str:
        """Without a BNS name: the app public key."""
        (told,) = self.does(name, "keygen", "--app", APP, "--hub", self.hub, "--allow", self.url)
        return str(told["key"])

    def claims(self, name: str, invite: str, *, code: int = 0) -> None:
        settings = ("--accept", "anyone", "--retention", str(RETENTION))
        self.does(name, "publish", "--inbox", self.url, "--invite", invite, *settings, code=code)

    def subscribes(self, name: str, subscription: Path) -> None:
        self.does(name, "push", "--subscribe", str(subscription))

    def alice_sends(self, bob: str, text: str, *, code: int = 0) -> None:
        self.sent[text] = self.does("alice", "send", bob, text, code=code)[-1]["sent"]

    def bob_hears(self, count: int) -> list[str]:
        """The next messages of which he was not told yet."""
        told = self.does("bob", "watch", "--read", "--count", str(count))
        return [news["content"] for news in told if "content" in news]

    def bob_acknowledges(self, text: str) -> None:
        self.does("bob", "ack", self.sent[text])

    def bob_reads(self) -> list[str]:
        """Everything that his client shows as unread."""
        return [message["content"] for message in self.does("bob", "read") if "content" in message]

    def bobs_inbox(self) -> dict[str, Any]:
        """What his server says about it."""
        (told,) = self.does("bob", "inbox", "--settings")
        return dict(told)

    def bobs_subscriptions(self) -> list[dict[str, Any]]:
        return self.does("bob", "push")


def write_subscription(path: Path) -> None:
    path.write_text(json.dumps(_SUBSCRIPTION))
