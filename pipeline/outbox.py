"""Sends what the outbox holds: to which channel, and when.

Belongs here: the protocol of a channel, and the sender with its routes, its order and its patience. Does not belong
here: any one channel (`resources`), the rows (`catalog.notification_sends`), the clock's arithmetic
(`pipeline.outbox_times`), the words (`pipeline.outbox_words`), or what a person is told (`pipeline.alerts`).

What holds:
- Nothing is lost: a row stays due until a channel has taken its message, however long that channel is away.
- Nothing is sent twice: a message is recorded right after the channel has taken it, and kept in mind while the catalog
  is away. Only if nobody can know whether it arrived (no answer came to it, or the sender was killed in between) it is
  repeated, as a warning that never came is worse than one that came twice; the repeated message says so.
- Each channel gets its messages in order. One that fails waits as a whole, and the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from catalog import notification_sends as sends
from catalog.counts import destination_counts, library_counts
from catalog.day import day_counts
from catalog.notification_sends import MAYBE_SENT, UNUSABLE, Route, Waiting
from pipeline.outbox_times import (
    UNUSABLE_PAUSE,
    QuietHours,
    last_digest_hour,
    next_digest_hour,
    pause,
    unanswered_pause,
)
from pipeline.outbox_words import day_in_words, message_of
from resources.messages import TELEGRAM, Message, TryLater, Unanswered, Unusable
from resources.settings import Settings
from resources.settings_alerts import NEVER, SEVERITIES

# What comes in a burst is told in one message: it is sent when nothing more came for the first time, or after the
# second at the latest.
SETTLED, LONGEST_SETTLING = timedelta(seconds=2), timedelta(seconds=10)
KEPT = timedelta(days=90)
LOOK_SECONDS = 30.0  # a notice can be lost with its session
BUSY_SECONDS = 2.0  # another one sends, or has just been killed
LEAST_SECONDS = 0.05

_log = logging.getLogger(__name__)


class Channel(Protocol):
    """A way to a person."""

    @property
    def name(self) -> str:
        """Its name in the catalog; says nothing secret."""
        ...

    def send(self, message: Message) -> str | None:
        """Sends a message, and returns only when the other side has taken it.

        It is called in a thread, never twice at the same time, and ends by itself within a minute.

        Returns:
            The other side's number of the message, if it has one.

        Raises:
            TryLater: It did not go out.
            Unanswered: It went out, and nobody knows whether it arrived.
            Unusable: A person must correct a setting first.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a message.

    Attributes:
        remote_id: The other side's number of it.
        error: Why it was not taken, None when it was.
        pause: How long the channel is left alone then.
    """

    remote_id: str | None = None
    error: str | None = None
    pause: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that go out in one message."""

    channel: str
    rows: tuple[Waiting, ...]

    @property
    def ids(self) -> list[int]:
        """The rows' ids."""
        return [row.id for row in self.rows]

    @property
    def attempt(self) -> int:
        """Which attempt the next one is."""
        return 1 + max(row.attempts for row in self.rows)

    @property
    def ready_at(self) -> datetime:
        """When nothing more is waited for that might join it."""
        if self.rows[0].digest or self.attempt > 1:
            return min(row.due_at for row in self.rows)
        arrived = [row.routed_at for row in self.rows]
        return min(max(arrived) + SETTLED, min(arrived) + LONGEST_SETTLING)


@dataclass
class Sender:
    """Sends what is due. Of all senders on a catalog one works at a time.

    Attributes:
        engine: The catalog.
        settings: Routes, quiet hours and the digest.
        channels: Where to; each has a name of its own.
        now: The clock.
    """

    engine: Engine
    settings: Settings
    channels: Sequence[Channel]
    now: Callable[[], datetime]
    # What channels said and the catalog has yet to hear.
    _unrecorded: list[tuple[Batch, Outcome]] = field(default_factory=list, init=False, repr=False)
    _said: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _started: bool = field(default=False, init=False, repr=False)
    _cleaned_on: date | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Reads the times that hold for this sender."""
        notify = self.settings.notify
        self._zone = ZoneInfo(self.settings.timezone)
        self._quiet = QuietHours.of(self.settings)
        self._web = f"http://{self.settings.web.host}:{self.settings.web.port}"
        names = [channel.name for channel in self.channels]
        takers = {"all": names, "telegram": [TELEGRAM], "urls": [name for name in names if name != TELEGRAM]}
        wanted = takers[notify.digest] if notify.digest_hour >= 0 else []
        self._with_digest = [name for name in names if name in wanted]

    def step(self) -> float:
        """Sends everything that is due by now.

        Returns:
            Seconds until something may be due, half a minute at most: a notice may be lost with its session.
        """
        with sends.only_sender(self.engine) as session:
            if session is None:
                return BUSY_SECONDS
            if not self.channels:
                return LOOK_SECONDS
            self._record(session)
            with session.begin():
                if not self._started:
                    self._look_at_settings(session)
                sends.route(session, self._routes(), self.now())
                self._sum_up_the_day(session)
            self._started = True
            next_times = self._send_all(session)
            self._clean_up(session)
        waits = [(at - self.now()).total_seconds() for at in next_times]
        return max(LEAST_SECONDS, min([LOOK_SECONDS, *waits]))

    # --- what goes where ---

    def _routes(self) -> list[Route]:
        digest_at = next_digest_hour(max(0, self.settings.notify.digest_hour), self._zone, self.now())
        return [
            Route(one.name, self._at_once(one.name), digest_at if one.name in self._with_digest else None)
            for one in self.channels
        ]

    def _at_once(self, name: str) -> Sequence[str]:
        least = (self.settings.telegram if name == TELEGRAM else self.settings.notify).least
        return () if least == NEVER else SEVERITIES[SEVERITIES.index(least) :]

    def _look_at_settings(self, session: Connection) -> None:
        """Takes note of what a person has changed since the last sender."""
        names = [channel.name for channel in self.channels]
        # The bot's name stays the same whatever its token, so that nothing needs to take its place.
        sends.hand_over(session, [*names, TELEGRAM], [name for name in names if name != TELEGRAM], self.now())
        sends.drop_digest(session, [name for name in names if name not in self._with_digest])
        sends.retry_unusable(session, self.now())

    def _sum_up_the_day(self, session: Connection) -> None:
        """Writes the digest when its hour has come for the first time since the last one, or since the beginning."""
        if not self._with_digest:
            return
        now = self.now()
        since = sends.last_digest(session)
        if since is None:
            sends.add_digest(session, "The first day begins", "", [], now)
            return
        if since >= last_digest_hour(self.settings.notify.digest_hour, self._zone, now):
            return
        done = day_counts(session, since, now)
        tells = not done.is_empty or sends.has_for_digest(session, now)
        title, body = day_in_words(
            now.astimezone(self._zone).date(), done, library_counts(session), destination_counts(session)
        )
        sends.add_digest(session, title, body, self._with_digest if tells else [], now)

    def _clean_up(self, session: Connection) -> None:
        today = self.now().date()
        if self._cleaned_on == today:
            return
        with session.begin():
            sends.delete_old(session, self.now() - KEPT)
        self._cleaned_on = today

    # --- sending ---

    def _send_all(self, session: Connection) -> list[datetime]:
        """Sends what is due, to all channels at the same time and to each in order.

        Returns:
            When something may be due, for each channel where something waits.
        """
        next_times: list[datetime] = []
        under_way: dict[Future[None], Channel] = {}
        with ThreadPoolExecutor(len(self.channels), "outbox") as pool:

            def go_on(channel: Channel) -> None:
                found = self._take_next(session, channel)
                if isinstance(found, Batch):
                    under_way[pool.submit(self._deliver, channel, found)] = channel
                elif found is not None:
                    next_times.append(found)

            for channel in self.channels:
                go_on(channel)
            while under_way:
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                self._record(session)
                for channel in [under_way.pop(future) for future in done]:
                    go_on(channel)
        return next_times

    def _take_next(self, session: Connection, channel: Channel) -> Batch | datetime | None:
        with session.begin():
            found = next_up(channel.name, sends.waiting(session, channel.name), self._quiet, self.now())
            if isinstance(found, Batch):
                sends.mark(session, found.ids)
        return found

    def _deliver(self, channel: Channel, batch: Batch) -> None:
        # Kept in mind by the thread itself: whatever happens to the catalog meanwhile, it is recorded later.
        self._unrecorded.append((batch, _attempt(channel, batch, self._web)))

    def _record(self, session: Connection) -> None:
        while self._unrecorded:
            batch, outcome = self._unrecorded[0]
            with session.begin():
                if outcome.error is None:
                    sends.record_sent(session, batch.ids, outcome.remote_id, self.now())
                else:
                    sends.record_failed(session, batch.ids, outcome.error, self.now() + outcome.pause)
            self._unrecorded.pop(0)
            self._say(batch.channel, outcome)

    def _say(self, name: str, outcome: Outcome) -> None:
        """Says in the log, once, that a channel fails or works again."""
        before = self._said.pop(name, None)
        if outcome.error is not None:
            reason = outcome.error.removeprefix(MAYBE_SENT).removeprefix(UNUSABLE)
            self._said[name] = reason
            if reason != before:
                _log.error("Messages to %s wait and are not lost: %s", name, reason)
        elif before is not None:
            _log.info("Messages to %s arrive again.", name)


def next_up(channel: str, rows: Sequence[Waiting], quiet: QuietHours, now: datetime) -> Batch | datetime | None:
    """Returns the message that goes out next, or when there may be one; None while nothing waits.

    Args:
        channel: The channel's name.
        rows: All that waits for it, oldest first.
        quiet: The quiet hours.
        now: The present moment.
    """
    left_alone = max((row.due_at for row in rows if row.error is not None), default=now)
    if left_alone > now:
        return left_alone
    quiet_end = quiet.until(now)
    audible = [row for row in rows if quiet_end is None or (row.severity == "critical" and not row.digest)]
    groups: dict[str | None, list[Waiting]] = {}
    for row in audible:
        if row.due_at <= now:
            groups.setdefault(None if row.digest else row.topic, []).append(row)
    if groups:
        # The one that holds the oldest row; those that came after it wait for it.
        batch = Batch(channel, tuple(next(iter(groups.values()))))
        return batch if batch.ready_at <= now else batch.ready_at
    if quiet_end is None:
        return min((row.due_at for row in rows), default=None)
    return min((max(row.due_at, quiet_end) for row in rows), default=None)


def _attempt(channel: Channel, batch: Batch, web: str) -> Outcome:
    """Sends a message and says in one form what came of it."""
    before = any(row.maybe_sent for row in batch.rows)
    prefix = MAYBE_SENT if before else ""
    try:
        return Outcome(remote_id=channel.send(message_of(batch.rows, web)))
    except TryLater as away:
        wanted = pause(batch.attempt) if away.seconds is None else timedelta(seconds=max(1.0, away.seconds))
        return Outcome(error=f"{prefix}{away.reason}", pause=wanted)
    except Unusable as wrong:
        return Outcome(error=f"{prefix}{UNUSABLE}{wrong.reason}", pause=UNUSABLE_PAUSE)
    except Unanswered as open_end:
        return Outcome(error=f"{MAYBE_SENT}{open_end.reason}", pause=unanswered_pause(batch.attempt))
    except Exception as error:
        # A mistake in one channel must not keep the others from speaking. How far it came nobody knows.
        _log.exception("The channel %s failed in a way that it should not", channel.name)
        reason = f"it failed by a mistake of this program ({type(error).__name__}); the log says more"
        return Outcome(error=f"{MAYBE_SENT}{reason}", pause=unanswered_pause(batch.attempt))
