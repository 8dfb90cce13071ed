"""When messages come: quiet hours, the hour of the digest, and how long a channel that failed is left alone.

Belongs here: moments, from a clock that is passed in. Does not belong here: what is told then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from resources.settings import Settings

FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)
# A message that may have arrived is repeated less eagerly.
FIRST_UNANSWERED = timedelta(minutes=1)
LONGEST_UNANSWERED = timedelta(hours=1)
UNUSABLE_PAUSE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Hours of every day in which only what is critical comes.

    Attributes:
        zone: Whose clock it is.
        begin: The first moment.
        end: The first moment after them; earlier than `begin` when they last over midnight.
    """

    zone: ZoneInfo
    begin: time
    end: time

    @classmethod
    def of(cls, settings: Settings) -> QuietHours:
        """Returns those of the settings."""
        return cls.read(settings.notify.quiet_hours, ZoneInfo(settings.timezone))

    @classmethod
    def read(cls, hours: str, zone: ZoneInfo) -> QuietHours:
        """Reads hours such as 22:00-07:00; none when empty."""
        begin, _, end = (hours or "00:00-00:00").partition("-")
        return cls(zone, time.fromisoformat(begin), time.fromisoformat(end))

    def until(self, now: datetime) -> datetime | None:
        """Returns when the quiet that there is now ends; None when it is not quiet."""
        local = now.astimezone(self.zone)
        clock = local.time()
        over_midnight = self.begin > self.end
        late, early = clock >= self.begin, clock < self.end
        if not (late or early if over_midnight else late and early):
            return None
        tomorrow = over_midnight and late
        return _moment(local.date() + timedelta(days=tomorrow), self.end, now, self.zone)


def last_digest_hour(hour: int, zone: ZoneInfo, now: datetime) -> datetime:
    """Returns the latest hour of a digest that has come; on a day without that hour it is the one after it."""
    today = now.astimezone(zone).date()
    found = _moment(today, time(hour), now, zone)
    return found if found <= now else _moment(today - timedelta(days=1), time(hour), now, zone)


def next_digest_hour(hour: int, zone: ZoneInfo, now: datetime) -> datetime:
    """Returns the next hour of a digest that has not come yet."""
    today = now.astimezone(zone).date()
    found = _moment(today, time(hour), now, zone)
    return found if found > now else _moment(today + timedelta(days=1), time(hour), now, zone)


def pause(attempts: int) -> timedelta:
    """Returns how long a channel is left alone that took nothing for so many attempts."""
    return _doubled(FIRST_PAUSE, attempts, LONGEST_PAUSE)


def unanswered_pause(attempts: int) -> timedelta:
    """Returns how long a channel is left alone that did not say whether it took a message."""
    return _doubled(FIRST_UNANSWERED, attempts, LONGEST_UNANSWERED)


def _doubled(first: timedelta, attempts: int, longest: timedelta) -> timedelta:
    return min(first * (1 << min(attempts - 1, 16)), longest)


def _moment(day: date, clock: time, now: datetime, zone: ZoneInfo) -> datetime:
    # By way of the zone of `now`, as two moments of one zone compare by their clocks and not by what lies between.
    return datetime.combine(day, clock, zone).astimezone(now.tzinfo)
