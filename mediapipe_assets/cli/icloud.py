"""`mediapipe-assets icloud …`: signing in, looking at the library, how it stands.

Belongs here: the words of these commands, and what of iCloud a plain `run` does first. Does not belong here: the
account (`pipeline.icloud_account`), the sync (`pipeline.icloud_sync`), downloads (`icloud_originals` of a run).
"""

from __future__ import annotations

import json
import os
import re
import select
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from mediapipe_assets.cli import ERROR, FAILED_FILES, OK, SIGN_IN, say
from mediapipe_assets.cli.icloud_import import import_existing, import_first
from resources.settings_icloud import FORMATS

if TYPE_CHECKING:
    from pipeline.assembly import Platform
    from pipeline.icloud import Done
    from pipeline.icloud_account import Account
    from pipeline.icloud_self_test import Tried

CODE_TRIES = 3
_NO_CODE = "A code has six digits"
LOOK_SECONDS = 0.5
_ACCOUNT = click.option("--account", help="Name of the iCloud source that signs in; needed where there are several.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")


@click.group()
def icloud() -> None:
    """Sign in to iCloud, look at the library, and say how it stands."""


icloud.add_command(import_existing)
icloud.add_command(import_first)


@icloud.command()
@_ACCOUNT
@click.option(
    "--renew", is_flag=True, help="Ask for a code although Apple still trusts this machine, for a fresh trust."
)
def login(account: str | None, renew: bool) -> int:
    """Sign in; the code that Apple sends is asked for here, or taken from `icloud code` in another process."""
    from mediapipe_assets.platform import open_platform
    from pipeline.icloud_account import ask_for_code

    with open_platform(prepare=True) as platform:
        who = _account(platform, account)
        begun = platform.now()
        sent = ask_for_code(platform.engine, who, renew=renew)
        if sent is None:
            say(f"Signed in as {who.apple_id}; Apple trusts this machine, no code is needed.")
            return OK
        where = "your devices" if sent.by == "device" else "your phone, as a text message"
        say(f"Apple has sent a code to {where}. Type its six digits here, or: mediapipe-assets icloud code 123456")
        return _wait_for_code(platform, who, begun)


def _wait_for_code(platform: Platform, account: Account, begun: datetime) -> int:
    from pipeline.icloud_account import CODE_LIVES, NoCodeAwaited, enter_code, trusted_since

    end = time.monotonic() + CODE_LIVES.total_seconds()
    tries, listening = 0, True
    while time.monotonic() < end:
        if trusted_since(platform.engine, account, begun):
            say("Signed in: the code came from another process.")
            return OK
        if not listening:
            time.sleep(LOOK_SECONDS)
            continue
        line = _typed(LOOK_SECONDS)
        if line is None:
            continue
        if line == "":
            listening = False  # nobody types here; another process may still bring the code
            continue
        typed = _six_digits(line)
        if typed is None:
            say(f"{_NO_CODE}; type it again.")
            continue
        try:
            accepted = enter_code(platform.engine, account, typed)
        except NoCodeAwaited:
            continue  # another process was quicker
        if accepted:
            say(f"Signed in as {account.apple_id}; Apple trusts this machine from now on.")
            return OK
        tries += 1
        if tries == CODE_TRIES:
            say("Apple did not take these codes. Run it again for a new one.")
            return SIGN_IN
        say("Apple did not take this code. Look at it once more and type it again.")
    say("No code came in time. Run it again for a new one.")
    return SIGN_IN


def _six_digits(typed: str) -> str | None:
    """Returns a code as Apple wants it, however a person parts its digits; None where that is no code."""
    digits = re.sub(r"[\s-]", "", typed)
    return digits if re.fullmatch(r"[0-9]{6}", digits) else None


def _typed(seconds: float) -> str | None:
    """Returns a line that was typed, an empty text when nobody can type, None when nothing came in time.

    It is read past Python's buffer, in which a second line would lie unseen.
    """
    try:
        if not select.select([sys.stdin], [], [], seconds)[0]:
            return None
        line = b""
        while (one := os.read(sys.stdin.fileno(), 1)) and one != b"\n":
            line += one
    except (OSError, ValueError):
        return ""
    return f"{line.decode(errors='replace')}\n" if one or line else ""


@icloud.command()
@click.argument("digits", metavar="CODE")
@_ACCOUNT
def code(digits: str, account: str | None) -> int:
    """Hand in the code that Apple sent, for a sign-in that another process has begun."""
    from mediapipe_assets.platform import open_platform
    from pipeline.icloud_account import enter_code

    typed = _six_digits(digits)
    if typed is None:
        raise click.UsageError(f"{_NO_CODE}.")
    with open_platform(prepare=True) as platform:
        who = _account(platform, account)
        if enter_code(platform.engine, who, typed):
            say(f"Signed in as {who.apple_id}; Apple trusts this machine from now on.")
            return OK
    say("Apple did not take this code. Look at it once more; for a new one run: mediapipe-assets icloud login")
    return SIGN_IN


@icloud.command()
@_JSON
def sync(as_json: bool) -> int:
    """Read what changed in iCloud and record it; nothing is downloaded yet."""
    from mediapipe_assets.platform import open_platform

    with open_platform(prepare=True) as platform:
        require_library(platform)
        look = sync_all(platform)
    if look.trouble is not None and not look.done:
        raise look.trouble
    report = look.report()
    if as_json:
        click.echo(json.dumps(report))
    else:
        say(
            f"iCloud holds {report['assets']} photos and films: {report['new']} new, {report['changed']} changed, "
            f"{report['deleted']} deleted there. {report['requests']} requests."
        )
    for words in look.notes:
        say(words)
    return look.exit_code()


@icloud.command("self-test")
@_ACCOUNT
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(FORMATS),
    help="What to try; may be given several times. All that the settings know by default.",
)
@click.option("--wait", type=click.FloatRange(min=0), default=180.0, show_default=True, help="Seconds to wait in all.")
@_JSON
def self_test(account: str | None, formats: tuple[str, ...], wait: float, as_json: bool) -> int:
    """Find out which formats Apple takes: upload a tiny made-up file of each, see it proven, and remove it again.

    It lies in Recently Deleted then, as all that is deleted in iCloud.
    """
    import tempfile
    from dataclasses import asdict
    from pathlib import Path

    from mediapipe_assets.platform import open_platform
    from pipeline.icloud_account import signed_in
    from pipeline.icloud_self_test import self_test as tried_out

    with open_platform(prepare=True) as platform, tempfile.TemporaryDirectory() as folder:
        who = _account(platform, account)
        say(f"Uploading a tiny made-up file to {who.apple_id}; Apple takes about 20 seconds to show it.")
        with signed_in(platform.engine, who, wait_seconds=60.0) as client:
            wanted = formats or FORMATS
            tried = tried_out(
                platform.engine, client, who.name, wanted, Path(folder), wait_seconds=wait, now=platform.now()
            )
    if as_json:
        click.echo(json.dumps({"account": who.name, "formats": [asdict(one) for one in tried]}))
    for one in tried:
        say(f"{one.format}: {_verdict(one)}")
    return OK if all(one.taken and one.verified for one in tried) else FAILED_FILES


def _verdict(one: Tried) -> str:
    if not one.taken:
        return f"refused. {one.reason}"
    if not one.verified:
        return f"taken, and not proven in time: {one.reason}. Run it again later: it goes on with the same file."
    return "taken, proven and removed again" if one.removed else f"taken and proven, but {one.reason}"


@icloud.command()
@_JSON
def status(as_json: bool) -> int:
    """Say how the sign-in stands, what Apple is throttling, and how far the library was read. Asks Apple nothing."""
    from mediapipe_assets.platform import open_platform

    with open_platform() as platform:
        require_library(platform)
        report = status_report(platform)
    if as_json:
        click.echo(json.dumps(report))
        return OK
    for one in report["accounts"]:
        say(f"{one['name']} ({one['apple_id']}): {_standing(one)}")
        for words in one["warnings"]:
            say(f"  {words}")
    for one in report["libraries"]:
        read = _last(one["last_sync"])
        say(f"{one['name']}: {one['assets']} photos and films, {read}; {one['waiting']} files to come.")
    return OK


def _standing(one: dict[str, Any]) -> str:
    if one["needs"]:
        return str(one["needs_detail"])
    if not one["signed_in"]:
        return "not signed in yet. Run: mediapipe-assets icloud login"
    ends = f", Apple's trust is likely to last until {one['trust_ends'][:10]}" if one["trust_ends"] else ""
    until = (one["throttled_until"] or "")[:16].replace("T", " at ")
    quiet = f", left alone until {until} UTC: Apple asked for fewer requests, or did not answer" if until else ""
    room = (one["full_until"] or "")[:16].replace("T", " at ")
    full = f", no room left there, so nothing is uploaded until {room} UTC" if room else ""
    return f"signed in{ends}{quiet}{full}"


def _last(moment: str | None) -> str:
    return f"read on {moment[:16].replace('T', ' at ')} UTC" if moment else "never read yet"


def status_report(platform: Platform) -> dict[str, Any]:
    """Returns how iCloud stands, from the catalog alone."""
    from catalog import icloud as records

    now = platform.now()
    with platform.engine.connect() as connection:
        accounts = [_account_report(connection, account, now) for account in platform.icloud.accounts.values()]
        libraries: list[dict[str, Any]] = []
        for name in platform.icloud.sources:
            state = records.library_state(connection, name)
            libraries.append(
                {
                    "name": name,
                    "assets": records.count_assets(connection, name),
                    "apple_count": state.apple_count if state else None,
                    "last_sync": _iso(state.synced_at if state else None),
                    "waiting": records.count_waiting(connection, name),
                }
            )
    needs = next((one["needs"] for one in accounts if one["needs"]), None)
    return {
        "signed_in": bool(accounts) and all(one["signed_in"] for one in accounts),
        "needs": needs,
        "throttled_until": max((one["throttled_until"] for one in accounts if one["throttled_until"]), default=None),
        "full_until": max((one["full_until"] for one in accounts if one["full_until"]), default=None),
        "assets": sum(one["assets"] for one in libraries),
        "last_sync": min((one["last_sync"] for one in libraries if one["last_sync"]), default=None),
        "accounts": accounts,
        "libraries": libraries,
    }


def _account_report(connection: Any, account: Account, now: datetime) -> dict[str, Any]:
    from catalog.icloud import account_state
    from pipeline.icloud_account import trust_ends, trust_warning

    state = account_state(connection, account.name)
    warning = trust_warning(state, account.trust_days, now)
    quiet = state.throttled_until if state.throttled_until and state.throttled_until > now else None
    full = state.full_until if state.full_until and state.full_until > now else None
    return {
        "name": account.name,
        "apple_id": account.apple_id,
        "signed_in": state.signed_in_at is not None and state.needs is None,
        "needs": state.needs,
        "needs_detail": state.needs_detail,
        "trust_ends": _iso(trust_ends(state, account.trust_days)),
        "throttled_until": _iso(quiet),
        "full_until": _iso(full),
        "warnings": [warning] if warning else [],
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else None


@dataclass(slots=True)
class Looks:
    """What the syncs of all libraries came to.

    Attributes:
        done: Those that Apple answered.
        notes: What a person should know.
        trouble: The first that went wrong.
    """

    done: list[Done] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    trouble: Exception | None = None

    def report(self) -> dict[str, int]:
        """Returns the sums that scripts rely on."""
        found = [one.found for one in self.done]
        return {
            "assets": sum(one.assets for one in found),
            "new": sum(len(one.new) for one in found),
            "changed": sum(len(one.changed) for one in found),
            "deleted": sum(len(one.deleted) for one in found),
            "requests": sum(one.requests for one in self.done),
            "bytes": sum(one.received for one in self.done),
        }

    def exit_code(self) -> int:
        """Returns what the trouble means for a script."""
        from resources.icloud_errors import NeedsPerson

        return OK if self.trouble is None else SIGN_IN if isinstance(self.trouble, NeedsPerson) else ERROR


def sync_all(platform: Platform) -> Looks:
    """Reads every library; one that Apple does not answer for stops no other."""
    from resources.icloud_errors import ICloudError

    looks = Looks()
    for name in platform.icloud.sources:
        try:
            done = platform.icloud.sync(name, platform.date_rules(), wait_seconds=60.0, patient=say)
        except ICloudError as error:
            looks.notes.append(f"iCloud ({name}): {error}")
            looks.trouble = looks.trouble or error
            continue
        looks.done.append(done)
        if done.found.apple_count is not None and done.found.apple_count != done.found.counted:
            looks.notes.append(
                f"iCloud ({name}) counts {done.found.apple_count} photos, and lists {done.found.counted}. Apple may "
                "still be counting; if it stays so for days, look at the library on icloud.com."
            )
    return looks


def what_stops_accounts(platform: Platform) -> tuple[list[str], bool]:
    """Returns what keeps downloads waiting, in words, and whether a person has to do something about it."""
    from catalog.icloud import account_state

    notes, needs = [], False
    with platform.engine.connect() as connection:
        states = [account_state(connection, name) for name in platform.icloud.accounts]
    for state in states:
        if state.needs is not None:
            notes.append(f"iCloud ({state.name}): {state.needs_detail or state.needs}")
            needs = True
        elif state.throttled_until is not None and state.throttled_until > platform.now():
            until = f"{state.throttled_until.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
            notes.append(
                f"iCloud ({state.name}): Apple asked for fewer requests, or did not answer, so it is left alone until "
                f"{until}; then the rest comes."
            )
    return notes, needs


def _account(platform: Platform, name: str | None) -> Account:
    accounts = platform.icloud.accounts
    if name is not None and name in accounts:
        return accounts[name]
    if name is None and len(accounts) == 1:
        return next(iter(accounts.values()))
    if not accounts:
        raise click.UsageError(
            "no Apple account is set. Set MEDIAPIPE_ICLOUD__APPLE_ID and MEDIAPIPE_ICLOUD__PASSWORD "
            "(or MEDIAPIPE_ICLOUD__PASSWORD_FILE), then run this again"
        )
    raise click.UsageError(f"say which account: --account {' or --account '.join(accounts)}")


def require_library(platform: Platform) -> None:
    """Refuses to go on where no iCloud library is set."""
    if not platform.icloud.sources:
        _account(platform, None)
        raise click.UsageError("every iCloud source is switched off in the settings (sources.<name>.enabled)")
