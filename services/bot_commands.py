"""The bot's commands: what each of them does, and what it says.

Belongs here: short and true answers for a small screen. Does not belong here: who may give a command
(`services.telegram_bot`), the looks that take more than a sum (`services.bot_looks`), or what a command sets in motion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from catalog import heartbeats
from catalog.counts import destination_counts, library_counts
from catalog.day import day_counts
from catalog.icloud import account_state
from pipeline import switches
from pipeline.assembly import Platform
from pipeline.icloud_account import Account, ask_for_code
from pipeline.left import failed_files
from pipeline.outbox_words import day_in_words
from pipeline.reached import in_words
from resources.icloud_errors import ICloudError
from services import bot_looks
from services.bot_looks import SILENCE, ago, megabytes

WORDS = {
    "status": "what the library holds and how far it is delivered",
    "summary": "what was done in the last 24 hours",
    "health": "database, disks, daemon, Apple, backlog",
    "run": "do now what is due",
    "pause": "start nothing new until /resume",
    "resume": "go on",
    "2fa": "have Apple send a code",
    "logs": "the last problems",
    "help": "these commands",
}
PERIOD = timedelta(hours=24)


@dataclass(frozen=True)
class Commands:
    """The commands of one home.

    Attributes:
        platform: The home as its settings describe it at this moment.
    """

    platform: Callable[[], Platform]

    def answer(self, name: str, argument: str = "") -> str:
        """Does a command and returns what to say; it may take a minute, so it belongs in a thread.

        Raises:
            DBAPIError: The database is away.
        """
        known: Mapping[str, Callable[[Platform], str]] = {
            "start": lambda _: greeting(),
            "help": lambda _: help_text(),
            "status": _status,
            "summary": _summary,
            "health": bot_looks.health,
            "logs": bot_looks.problems,
            "run": _run,
            "pause": _pause,
            "resume": _resume,
            "2fa": lambda platform: _code(platform, argument),
        }
        command = known.get(name)
        return command(self.platform()) if command is not None else f"/{name} is no command of mine.\n\n{help_text()}"


def help_text() -> str:
    """Returns all commands with what they do."""
    lines = [f"/{name} – {words}" for name, words in WORDS.items()]
    return "\n".join([*lines, "", "When Apple wants a code I ask for it here; reply with its six digits."])


def greeting() -> str:
    """Returns the first words in a chat."""
    return (
        "Hello. I look after your photos: I ask here when Apple wants a code, and tell you when something needs "
        f"you.\n\n{help_text()}"
    )


def _status(platform: Platform) -> str:
    with platform.engine.connect() as connection:
        library, delivered = library_counts(connection), destination_counts(connection)
        failed = len(failed_files(platform, connection).contents)
        paused = switches.paused_since(connection)
    before, after = library.bytes_before, library.bytes_after
    saved = f", {100 * (1 - after / before):.0f} % saved" if before > after else ""
    lines = [
        f"{library.found} files found, {library.pending} more wait",
        f"{library.kept - failed} kept ({megabytes(before)}), {library.duplicates} exact duplicates",
        f"{library.renditions} compressed: {megabytes(before)} → {megabytes(after)}{saved}",
        f"{library.failed + failed} failed, {library.damaged} damaged, {library.rejected} rejected, "
        f"{library.missing} missing",
    ]
    for name in sorted({*platform.destinations, *delivered}):
        one = delivered.get(name)
        phone = name in platform.settings.pixels
        figures = "nothing yet" if one is None else f"{in_words(one, phone=phone)}, {one.failed} failed"
        lines.append(f"{name}: {figures}")
    if paused is not None:
        lines.append(f"Paused {ago(platform.now() - paused)} ago; /resume goes on.")
    return "\n".join(lines)


def _summary(platform: Platform) -> str:
    now = platform.now()
    with platform.engine.connect() as connection:
        done = day_counts(connection, now - PERIOD, now)
        _, words = day_in_words(now.date(), done, library_counts(connection), destination_counts(connection))
    return f"In the last 24 hours:\n{words}"


def _run(platform: Platform) -> str:
    switches.ask_for_run(platform.engine)
    with platform.engine.connect() as connection:
        paused = switches.paused_since(connection)
        beat = heartbeats.last_beat(connection, heartbeats.SENSORS)
    if beat is None or platform.now() - beat > SILENCE:
        return "Asked for. But the daemon that starts runs is not there; on the machine: mediapipe-assets up"
    still = " The pause holds on after it." if paused is not None else ""
    return f"Asked for: a run over everything that is due starts within a minute.{still} /status says how far it is."


def _pause(platform: Platform) -> str:
    switches.pause(platform.engine)
    return (
        "Paused: nothing starts by itself any more, and what runs stops after the files in hand. Nothing is lost. "
        "/resume goes on."
    )


def _resume(platform: Platform) -> str:
    if not switches.resume(platform.engine):
        return "Nothing was paused."
    return "Going on: what is due is started within a minute."


def _code(platform: Platform, name: str) -> str:
    accounts = platform.icloud.accounts
    if not accounts:
        return "No Apple account is set up."
    try:
        account = _chosen(platform, name)
        if account is None:
            unknown = f"There is no account “{name}”. " if name else ""
            return f"{unknown}Say for which account: " + ", ".join(f"/2fa {one}" for one in accounts)
        sent = ask_for_code(platform.engine, account, now=platform.now)
    except ICloudError as error:
        return str(error)
    if sent is None:
        return f"“{account.name}” is signed in and Apple trusts this machine; no code is needed."
    where = "your devices" if sent.by == "device" else "your phone, as a text message"
    # What to do with it is said by the message that asks for the code.
    return (
        f"Apple has sent a code for “{account.name}” to {where}. If none arrives: /2fa once more, which has another "
        "one sent when the last is two minutes old."
    )


def _chosen(platform: Platform, name: str) -> Account | None:
    """Returns the account of that name, or else the only one, or the only one that needs a code."""
    accounts = platform.icloud.accounts
    if name or len(accounts) == 1:
        return accounts.get(name) if name else next(iter(accounts.values()))
    with platform.engine.connect() as connection:
        in_need = [one for one in accounts if account_state(connection, one).needs == "code"]
    return accounts[in_need[0]] if len(in_need) == 1 else None
