"""iCloud as the settings describe it: accounts, libraries, and what is done with them.

Belongs here: turning the settings into accounts and libraries, and one sync of one library from sign-in to record.
Does not belong here: Dagster, the command line, or how each of these works.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from catalog import icloud
from pipeline import icloud_account, icloud_originals, icloud_sync, twofa
from pipeline.discovery import DateRules
from pipeline.icloud_account import Account
from pipeline.icloud_delivery import Rules
from pipeline.icloud_originals import ICloudOriginalsStage
from pipeline.icloud_room import Room
from pipeline.icloud_sync import Synced
from pipeline.storing import SourceRoot
from resources.icloud import PERSONAL, ICloud
from resources.icloud_destination import ICloudPhotos
from resources.icloud_errors import ICloudError, NeedsPerson
from resources.settings import ICloudSource, Settings, account_of

SHARED_PREFIX = "SharedSync-"
HANDED_OVER_SECONDS = 30.0


class NoSharedLibrary(ICloudError):
    """The account has no shared library."""


@dataclass(frozen=True, slots=True)
class Done:
    """What one sync of one library came to.

    Attributes:
        found: What was found.
        requests: Requests that it took, signing in included.
        received: Bytes that came back.
    """

    found: Synced
    requests: int
    received: int


@dataclass(frozen=True)
class ICloudLibraries:
    """Every iCloud library of a home.

    Attributes:
        settings: What the person set.
        engine: The catalog.
        now: The clock.
    """

    settings: Settings
    engine: Engine
    now: Callable[[], datetime]

    @property
    def sources(self) -> dict[str, ICloudSource]:
        """The libraries that are watched, by name."""
        return {name: entry for name, entry in self.settings.icloud_sources.items() if entry.enabled}

    @property
    def with_sidecars(self) -> list[str]:
        """The libraries whose photos have sidecars."""
        return [name for name, entry in self.sources.items() if entry.sidecars]

    @property
    def accounts(self) -> dict[str, Account]:
        """Every account that somebody signs in with, by name."""
        return {
            name: Account(
                name=name,
                apple_id=entry.apple_id,
                password=entry.password,
                folder=session_folder(self.settings.home, name),
                trust_days=entry.trust_days,
                page_size=entry.page_size,
            )
            for name, entry in self.settings.icloud_sources.items()
            if entry.apple_id
        }

    def account(self, library: str) -> Account:
        """Returns the account that a library is read with."""
        return self.accounts[account_of(library, self.settings.icloud_sources[library])]

    def sync(
        self,
        name: str,
        rules: DateRules,
        *,
        seconds: float | None = None,
        wait_seconds: float = 0.0,
        patient: Callable[[str], None] | None = None,
    ) -> Done:
        """Signs in and reads what changed in a library. When Apple wants a code, the bot asks for it.

        Args:
            name: The source's name.
            rules: How dates become partitions.
            seconds: See `pipeline.icloud_sync.sync`.
            wait_seconds: How long to wait for another process that speaks for the account.
            patient: Told that a person was asked for a code, which is waited for then; None waits for nobody.

        Raises:
            ICloudError: Apple is away, asks for patience, or for something that only a person can do.
        """
        account = self.account(name)
        try:
            return self._sync(name, account, rules, seconds, wait_seconds)
        except NeedsPerson as error:
            until = twofa.ask_person(self.engine, account, error, now=self.now)
            if until is None or patient is None:
                raise
            patient(
                f"{account.name}: Apple wants a code. The bot asks for it; it is waited for until {until:%H:%M} UTC."
            )
            if not twofa.wait_for_code(self.engine, account.name, now=self.now):
                raise
        # Whoever handed the code in may hold the session for a moment yet.
        return self._sync(name, account, rules, seconds, max(wait_seconds, HANDED_OVER_SECONDS))

    def _sync(self, name: str, account: Account, rules: DateRules, seconds: float | None, wait_seconds: float) -> Done:
        with icloud_account.signed_in(self.engine, account, wait_seconds=wait_seconds, now=self.now) as client:
            library = icloud_sync.Library(name, account.apple_id.casefold(), self._zone(name, account, client))
            ours = [
                destination
                for destination, entry in self.settings.icloud_destinations.items()
                if entry.account == account.name
            ]
            found = icloud_sync.sync(self.engine, client, library, rules, ours=ours, seconds=seconds)
            return Done(found, client.session.requests, client.session.received)

    def originals_stage(
        self, roots: Mapping[str, Path], folders: Mapping[str, SourceRoot], seconds: float
    ) -> ICloudOriginalsStage:
        """Returns the stage that downloads, freshly made for one run."""
        libraries = {
            name: icloud_originals.Library(account_of(name, entry), entry.downloads)
            for name, entry in self.sources.items()
        }
        accounts = {
            name: icloud_originals.Account(self._opener(account), self._remembering(account), self._asking(account))
            for name, account in self.accounts.items()
        }
        return ICloudOriginalsStage(roots, folders, libraries, accounts, seconds)

    @property
    def destinations(self) -> dict[str, ICloudPhotos]:
        """The libraries that photos are sent to, freshly made for one run, by name."""
        found = {}
        for name, entry in self.settings.icloud_destinations.items():
            if entry.enabled:
                account = self.accounts[entry.account]
                found[name] = ICloudPhotos(name, account.apple_id, entry.deliver, self._opener(account))
        return found

    def room(self, destination: str) -> Room:
        """Returns what is known of the room at a destination."""
        account = self.settings.icloud_destinations[destination].account
        return Room(self.engine, account, destination, self.now)

    def without_room(self) -> dict[str, str]:
        """Returns the destinations to which nothing is sent for want of room, each with the words for it."""
        enabled = [name for name, entry in self.settings.icloud_destinations.items() if entry.enabled]
        lacking = {name: self.room(name).lacking() for name in enabled}
        return {name: one.reason for name, one in lacking.items() if one is not None}

    def rules(self, destination: str) -> Rules:
        """Returns what goes to a destination."""
        entry = self.settings.icloud_destinations[destination]
        libraries = {
            name: one.library
            for name, one in self.settings.icloud_sources.items()
            if account_of(name, one) == entry.account
        }
        return Rules(
            accept=tuple(entry.accept),
            missing_only=entry.missing_only,
            personal=next((name for name, library in libraries.items() if library == "personal"), None),
            sources=tuple(libraries),
            timezone=self.settings.timezone,
        )

    def _zone(self, name: str, account: Account, client: ICloud) -> Mapping[str, Any]:
        if self.settings.icloud_sources[name].library == "personal":
            return PERSONAL
        with self.engine.connect() as connection:
            state = icloud.library_state(connection, name)
        if state is not None and state.account == account.apple_id.casefold():
            return state.zone
        shared = [zone for zone in client.zones() if str(zone["zoneName"]).startswith(SHARED_PREFIX)]
        if not shared:
            raise NoSharedLibrary(
                f"The account of “{name}” has no shared library. Set one up on the iPhone, or take sources.{name} out."
            )
        return shared[0]

    def _opener(self, account: Account) -> Callable[[], contextlib.AbstractContextManager[ICloud]]:
        @contextlib.contextmanager
        def opened() -> Iterator[ICloud]:
            with icloud_account.signed_in(self.engine, account, wait_seconds=60.0, now=self.now) as client:
                yield client

        return opened

    def _remembering(self, account: Account) -> Callable[[ICloudError], None]:
        def told(error: ICloudError) -> None:
            icloud_account.remember(self.engine, account.name, error, self.now())

        return told

    def _asking(self, account: Account) -> Callable[[ICloudError], bool]:
        def code_comes(error: ICloudError) -> bool:
            try:
                asked = twofa.ask_person(self.engine, account, error, now=self.now)
            except ICloudError:
                return False  # what Apple said first is what a person is told
            return asked is not None and twofa.wait_for_code(self.engine, account.name, now=self.now)

        return code_comes


def session_folder(home: Path, account: str) -> Path:
    """Returns where the files of an account's session are kept, for their owner alone."""
    return home / "icloud" / account
