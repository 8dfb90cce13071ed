"""Every channel beside Telegram, by Apprise: e-mail, ntfy, Discord, Slack, Teams, webhooks, SMS and so on.

Belongs here: one channel for each address, and what Apprise's answers mean. Does not belong here: what is sent when
(`pipeline.outbox`).

The addresses hold passwords. None is ever shown: a channel is named by its kind and a short hash, and an address that
is wrong by its kind and its place in the list.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resources.messages import Message, TryLater, Unanswered, Unusable
from resources.settings_alerts import NotifySettings

if TYPE_CHECKING:
    from apprise import NotifyBase

SECONDS = 45.0  # for a whole call, in which some services wait by themselves
CONNECT_SECONDS, READ_SECONDS = 10.0, 20.0
BUSY_SECONDS = 60.0  # Apprise does not pass on how long a service asks to wait
HASH_CHARS = 6

# Apprise says only that it failed; why stands in what it logs, which is looked at in memory alone.
_STATUS = re.compile(r"\berror=(\d{3})\b")
_SMTP = re.compile(r"\((\d{3}), b['\"]")
_NEVER_LEFT = re.compile(r"connect timeout|Failed to establish|NameResolution|Connection refused|Max retries", re.I)
_NO_ANSWER = re.compile(r"timed out|Connection aborted|without response|unexpectedly closed|reset by peer", re.I)
_REFUSED = {"401", "403", "404", "410"}
_SMTP_REFUSED = {"530", "534", "535", "550", "553"}


@dataclass(frozen=True, slots=True)
class AppriseChannel:
    """One address.

    Attributes:
        name: Its kind and a short hash of the address.
        address: The address, a secret.
        place: Its place in the settings, from 1.
    """

    name: str
    address: str = field(repr=False)
    place: int

    def send(self, message: Message) -> None:
        """Sends a message; see `pipeline.outbox.Channel`."""
        from apprise import Apprise, AppriseResultStatus, NotifyFormat

        service = Apprise()
        service.add(self._plugin())
        text = "\n\n".join(part for part in (message.body, message.link) if part)
        result = service.notify(
            title=message.title if text else "",
            body=text or message.title,
            notify_type=_kind(message),
            body_format=NotifyFormat.TEXT.value,
            timeout=SECONDS,
            log_level=logging.DEBUG,
        )
        if result.status == AppriseResultStatus.SUCCESS:
            return
        if result.status == AppriseResultStatus.TIMEOUT:
            raise Unanswered(f"no answer within {SECONDS:.0f} s")
        raise _failure([entry.message for entry in result.logs()])

    def _plugin(self) -> NotifyBase:
        from apprise import Apprise, OverflowMode

        plugin = Apprise.instantiate(self.address)
        if plugin is None:
            raise Unusable(
                f"address {self.place} of notify.urls ({_scheme(self.address)}://…) is none that Apprise understands; "
                "https://appriseit.com/services/ says how each service is written"
            )
        if "overflow=" not in self.address:
            # Else a service that takes less would refuse the message for ever; many SMS instead of one cost money.
            plugin.overflow_mode = OverflowMode.TRUNCATE
        if "cto=" not in self.address:
            plugin.socket_connect_timeout = CONNECT_SECONDS
        if "rto=" not in self.address:
            plugin.socket_read_timeout = READ_SECONDS
        return plugin


def apprise_channels(settings: NotifySettings) -> list[AppriseChannel]:
    """Returns a channel for each address of the settings; one that is written wrong says so when it is used."""
    _keep_addresses_out_of_logs()
    channels: dict[str, AppriseChannel] = {}
    for place, address in enumerate(settings.addresses, 1):
        name = f"{_scheme(address)}-{hashlib.sha256(address.encode()).hexdigest()[:HASH_CHARS]}"
        channels.setdefault(name, AppriseChannel(name, address, place))
    return list(channels.values())


def _keep_addresses_out_of_logs() -> None:
    # Both write parts of addresses at DEBUG; Apprise's own capture still sees them, in memory.
    apprise = logging.getLogger("apprise")
    apprise.propagate = False
    apprise.setLevel(logging.DEBUG)
    if not apprise.handlers:
        apprise.addHandler(logging.NullHandler())
    for name in ("urllib3", "urllib3.connectionpool"):  # the second may have been given a level of its own
        logging.getLogger(name).setLevel(logging.WARNING)


def _scheme(address: str) -> str:
    found = re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*(?=://)", address)
    return found.group().lower() if found else "unknown"


def _kind(message: Message) -> str:
    from apprise import NotifyType

    kinds = {"info": NotifyType.INFO, "warning": NotifyType.WARNING}
    return str(kinds.get(message.severity, NotifyType.FAILURE).value)


def _failure(said: Iterable[str]) -> TryLater | Unanswered | Unusable:
    """Returns what Apprise's log says of a failure, without a word of it: it may hold parts of the address."""
    words = "\n".join(said)
    statuses = _STATUS.findall(words)
    status = statuses[-1] if statuses else None
    if status in _REFUSED:
        return Unusable(f"the service refuses the address or its password (status {status}); correct notify.urls")
    if status == "429":
        return TryLater("the service asks for fewer messages", BUSY_SECONDS)
    if status:
        return TryLater(f"the service answered with status {status}")
    smtp = _SMTP.findall(words)
    if smtp and smtp[-1] in _SMTP_REFUSED:
        return Unusable(f"the mail server refuses the account or an address (code {smtp[-1]}); correct notify.urls")
    if smtp:
        return TryLater(f"the mail server answered with code {smtp[-1]}")
    if _NO_ANSWER.search(words) and not _NEVER_LEFT.search(words):
        return Unanswered("the connection ended before the service answered")
    return TryLater("the service cannot be reached, or did not take it")
