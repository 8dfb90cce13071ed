"""`mediapipe-assets notify`: whether messages arrive, and what still waits.

Belongs here: the commands and their words. Does not belong here: sending what the outbox holds (`pipeline.outbox`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from mediapipe_assets.cli import ERROR, OK, say

if TYPE_CHECKING:
    from catalog.notification_sends import Backlog
    from pipeline.outbox import Channel

NONE_SET = (
    "No channel is set. Telegram: make a bot with @BotFather, set MEDIAPIPE_TELEGRAM__BOT_TOKEN, then: "
    "mediapipe-assets telegram setup. Any other: set MEDIAPIPE_NOTIFY__URLS to its Apprise address, "
    "see https://appriseit.com/services/"
)


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a message through one channel."""

    channel: str
    taken: bool
    words: str


@click.group()
def notify() -> None:
    """Try the channels by which you are told, and see what waits."""


@notify.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def test(as_json: bool) -> int:
    """Send one message through every channel and say what came of each.

    The exit code is 0 when all of them took it.
    """
    from pipeline.channels import channels_of
    from resources.settings import load_settings

    channels = channels_of(load_settings())
    if not channels:
        raise click.ClickException(NONE_SET)
    with ThreadPoolExecutor(len(channels)) as pool:
        tried = list(pool.map(_try, channels))
    if as_json:
        click.echo(json.dumps([asdict(one) for one in tried]))
    for one in tried:
        say(f"{'✓' if one.taken else '✗'} {one.channel}: {one.words}")
    return OK if all(one.taken for one in tried) else ERROR


def _try(channel: Channel) -> Tried:
    from resources.messages import Message, TryLater, Unanswered, Unusable

    body = "This is what `mediapipe-assets notify test` sends. Messages from here arrive."
    try:
        channel.send(Message("A test by mediapipe-assets", body, "info"))
    except Unanswered as unknown:
        return Tried(channel.name, False, f"nobody knows whether it arrived: {unknown.reason}")
    except (TryLater, Unusable) as error:
        return Tried(channel.name, False, error.reason)
    return Tried(channel.name, True, "it took the message")


@notify.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def status(as_json: bool) -> int:
    """Say, for every channel, what waits for it, why, and when something last arrived."""
    from catalog.notification_sends import backlog
    from mediapipe_assets.platform import open_platform
    from pipeline.channels import channels_of
    from pipeline.outbox_times import QuietHours

    with open_platform(prepare=True) as platform:
        names = [channel.name for channel in channels_of(platform.settings)]
        with platform.engine.connect() as connection:
            found = backlog(connection)
    if as_json:
        rows = [{**asdict(one), "configured": one.channel in names} for one in found]
        known = {one.channel for one in found}
        rows += [{"channel": name, "configured": True, "waiting": 0} for name in names if name not in known]
        click.echo(json.dumps(rows, default=str))
    for line in _in_words(found, names):
        say(line)
    if (until := QuietHours.of(platform.settings).until(platform.now())) is not None:
        say(f"Quiet hours: until {until.astimezone():%H:%M} only what is critical comes.")
    return OK


def _in_words(found: Sequence[Backlog], names: Sequence[str]) -> list[str]:
    lines = [] if names else [NONE_SET]
    lines += [_line(one, one.channel in names) for one in found]
    known = {one.channel for one in found}
    return lines + [f"{name}: nothing waits, and no alert was sent yet" for name in names if name not in known]


def _line(one: Backlog, configured: bool) -> str:
    from catalog.notification_sends import UNUSABLE

    words = [f"{one.waiting} wait" if one.waiting else "nothing waits"]
    if one.oldest:
        words.append(f"the oldest since {one.oldest.astimezone():%Y-%m-%d %H:%M}")
    if one.for_digest:
        words.append(f"{one.for_digest} for the daily digest")
    if one.last_sent:
        words.append(f"last sent {one.last_sent.astimezone():%Y-%m-%d %H:%M}")
    if one.given_up:
        words.append(f"{one.given_up} never went there")
    if not configured:
        words.append("not among the channels that are set here")
    line = f"{one.channel}: {', '.join(words)}"
    if not one.error:
        return line
    later = one.next_try is not None and one.next_try > datetime.now(UTC)
    again = f" Tried again at {one.next_try.astimezone():%H:%M}." if one.next_try is not None and later else ""
    return f"{line}\n  {one.error.replace(UNUSABLE, '')}{again}"
