"""Push subscriptions: where an owner asks to be told that something waits."""

from inbox_server.blind import Blinder
from inbox_server.bodies import MAX_SUBSCRIPTIONS, parse_subscription, parse_unsubscription
from inbox_server.clock import UnixTime
from inbox_server.config import Config
from inbox_server.hints.sealing import Sealer
from inbox_server.store.contract import SettingsChange, Store, Subscribed
from inbox_server.tokens import OwnerToken, read_owner_token


class Pushing:
    """Takes and drops subscriptions. A subscription is a setting: its token is in order with those of the others."""

    def __init__(self, store: Store, blinder: Blinder, sealer: Sealer, config: Config) -> None:
        self._store = store
        self._blinder = blinder
        self._sealer = sealer
        self._config = config

    async def subscribe(self, authorization: str | None, body: bytes, now: UnixTime) -> None:
        """Raises `Refused`."""
        subscription = parse_subscription(body, allow=self._config.outgoing_allow)
        token = self._read_token(authorization, body, now)
        inbox = self._blinder.inbox(token.key.address)
        kept = Subscribed(self._blinder.endpoint(inbox, subscription.endpoint), self._sealer.seal(subscription, inbox))
        change = self._change(inbox, token, "PUT push", body)
        await self._store.subscribe(inbox, change, kept, most=MAX_SUBSCRIPTIONS, now=now)

    async def unsubscribe(self, authorization: str | None, body: bytes, now: UnixTime) -> None:
        """Drop the subscription that is named, or all. Raises `Refused`."""
        endpoint = parse_unsubscription(body)
        token = self._read_token(authorization, body, now)
        inbox = self._blinder.inbox(token.key.address)
        id = None if endpoint is None else self._blinder.endpoint(inbox, endpoint)
        await self._store.unsubscribe(inbox, self._change(inbox, token, "DELETE push", body), id, now=now)

    def _read_token(self, authorization: str | None, body: bytes, now: UnixTime) -> OwnerToken:
        return read_owner_token(authorization, body, scope="settings", audience=self._config.public_url, now=now)

    def _change(self, inbox: bytes, token: OwnerToken, request: str, body: bytes) -> SettingsChange:
        """No setting beside: only that this token was used."""
        return SettingsChange(
            app=self._blinder.app(inbox, token.app), issued=token.issued, request=self._blinder.request(request, body)
        )
