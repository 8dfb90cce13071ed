"""What Apple said and how far we are with it: accounts, libraries, and the records of the changes feed.

Belongs here: queries on `icloud_accounts`, `icloud_libraries` and `icloud_records`. Does not belong here: asking
Apple, what a record means (`resources.icloud_records`), or the photos themselves (`catalog.sources`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

# First key of the advisory lock that one owner of an account's session holds; the second is the account's name.
ACCOUNT_CLASS = 0x6D70_0003
_COMPARABLE = "^A[Q-Za-f][A-Za-z0-9+/]{26}$"  # as media.apple_checksum.is_comparable


@dataclass(frozen=True, slots=True)
class AccountState:
    """How the sign-in of one account stands.

    Attributes:
        needs: What a person has to do, None for nothing.
        needs_detail: The same in words.
        signed_in_at: When Apple last accepted the session.
        trusted_at: When a code was last accepted: the trust counts from then.
        code_asked_at: When a code was last asked for.
        code_by: Where Apple sent it.
        code_phone: The phone that it went to, as Apple lists it.
        throttled_until: Until when Apple is left alone.
        throttled_count: How often in a row Apple asked for that.
        full_until: Until when nothing is uploaded, because no room was left.
        full_count: How often in a row there was none.
    """

    name: str
    needs: str | None = None
    needs_detail: str | None = None
    signed_in_at: datetime | None = None
    trusted_at: datetime | None = None
    code_asked_at: datetime | None = None
    code_by: str | None = None
    code_phone: Mapping[str, Any] | None = None
    throttled_until: datetime | None = None
    throttled_count: int = 0
    full_until: datetime | None = None
    full_count: int = 0


@dataclass(frozen=True, slots=True)
class LibraryState:
    """How far one library was read.

    Attributes:
        zone: Its zone as Apple names it.
        sync_token: Where the changes feed goes on.
        apple_count: The photos that Apple counted when it was last asked, hidden ones not among them.
        complete_at: When it was first read whole.
        synced_at: When it was last read.
        account: The Apple ID that it was read with.
    """

    zone: Mapping[str, Any]
    sync_token: str | None
    apple_count: int | None
    complete_at: datetime | None
    synced_at: datetime | None
    account: str


_ACCOUNT = ", ".join(AccountState.__slots__)


def account_state(connection: Connection, name: str) -> AccountState:
    """Returns how an account stands; one never seen stands at nothing."""
    row = connection.execute(
        text(f"SELECT {_ACCOUNT} FROM icloud_accounts WHERE name = :name"), {"name": name}
    ).one_or_none()
    return AccountState(*row) if row is not None else AccountState(name)


def set_account(connection: Connection, name: str, **values: object) -> None:
    """Writes some columns of an account, and leaves the others as they are."""
    values = {key: json.dumps(value) if key == "code_phone" else value for key, value in values.items()}
    columns = list(values)
    placed = [f"CAST(:{one} AS jsonb)" if one == "code_phone" else f":{one}" for one in columns]
    updates = ", ".join(f"{one} = EXCLUDED.{one}" for one in columns)
    connection.execute(
        text(
            f"INSERT INTO icloud_accounts (name, {', '.join(columns)}) VALUES (:name, {', '.join(placed)}) "
            f"ON CONFLICT (name) DO UPDATE SET {updates}, changed_at = now()"
        ),
        {"name": name, **values},
    )


def calm_down(connection: Connection, name: str) -> None:
    """Forgets how often Apple asked for patience, unless it has just done so once more."""
    connection.execute(
        text("UPDATE icloud_accounts SET throttled_count = 0 WHERE name = :name AND throttled_until IS NULL"),
        {"name": name},
    )


def forget_full(connection: Connection, name: str, by: datetime | None = None) -> None:
    """Forgets that an account had no room left.

    Args:
        connection: The catalog.
        name: The account.
        by: Only when its pause is over by then; None in any case.
    """
    connection.execute(
        text(
            "UPDATE icloud_accounts SET full_until = NULL, full_count = 0, changed_at = now() "
            "WHERE name = :name AND full_until <= coalesce(CAST(:by AS timestamptz), full_until)"
        ),
        {"name": name, "by": by},
    )


def try_to_own(connection: Connection, account: str) -> bool:
    """Takes the lease of an account's session in this database session; False while another process holds it."""
    held = connection.execute(
        text("SELECT pg_try_advisory_lock(:class, hashtext(:account))"), {"class": ACCOUNT_CLASS, "account": account}
    ).scalar_one()
    connection.commit()
    return bool(held)


def disown(connection: Connection, account: str) -> None:
    """Gives the lease of an account's session back."""
    connection.execute(
        text("SELECT pg_advisory_unlock(:class, hashtext(:account))"), {"class": ACCOUNT_CLASS, "account": account}
    )
    connection.commit()


def library_state(connection: Connection, source: str) -> LibraryState | None:
    """Returns how far a library was read, None for one that was never read."""
    row = connection.execute(
        text(
            "SELECT zone, sync_token, apple_count, complete_at, synced_at, account FROM icloud_libraries "
            "WHERE source = :source"
        ),
        {"source": source},
    ).one_or_none()
    return LibraryState(*row) if row is not None else None


def register_library(connection: Connection, source: str, account: str, zone: Mapping[str, Any]) -> None:
    """Makes a library known; one of another zone or another Apple ID than before is read from the beginning."""
    connection.execute(
        text(
            "INSERT INTO icloud_libraries (source, account, zone) VALUES (:source, :account, CAST(:zone AS jsonb)) "
            "ON CONFLICT (source) DO UPDATE SET account = EXCLUDED.account, zone = EXCLUDED.zone, "
            "sync_token = NULL, complete_at = NULL "
            "WHERE (icloud_libraries.zone, icloud_libraries.account) <> (EXCLUDED.zone, EXCLUDED.account)"
        ),
        {"source": source, "account": account, "zone": json.dumps(zone, sort_keys=True)},
    )


def begin_reading(connection: Connection, source: str) -> None:
    """Remembers that a library is read from the beginning from now on."""
    connection.execute(
        text(
            "UPDATE icloud_libraries SET reading_since = now(), sync_token = NULL, complete_at = NULL "
            "WHERE source = :source"
        ),
        {"source": source},
    )


def read_anew_in_time(connection: Connection, source: str, days: int) -> bool:
    """Has the next sync read a library from the beginning, unless that was done some days ago or later.

    Returns:
        Whether it does.
    """
    forgotten = connection.execute(
        text(
            "UPDATE icloud_libraries SET sync_token = NULL WHERE source = :source AND sync_token IS NOT NULL "
            "AND reading_since < now() - make_interval(days => :days)"
        ),
        {"source": source, "days": days},
    )
    return forgotten.rowcount > 0


def set_sync_token(connection: Connection, source: str, token: str) -> None:
    """Remembers where the feed goes on, in the transaction that keeps what it said so far."""
    connection.execute(
        text("UPDATE icloud_libraries SET sync_token = :token WHERE source = :source"),
        {"source": source, "token": token},
    )


def record_sync(connection: Connection, source: str, apple_count: int | None) -> None:
    """Remembers that the feed was read to its end."""
    connection.execute(
        text(
            "UPDATE icloud_libraries SET synced_at = now(), apple_count = coalesce(:count, apple_count), "
            "complete_at = coalesce(complete_at, now()) WHERE source = :source"
        ),
        {"source": source, "count": apple_count},
    )


def unseen_records(connection: Connection, source: str) -> list[str]:
    """Returns the records that a reading from the beginning did not meet: they left iCloud without our being told."""
    rows = connection.execute(
        text(
            "SELECT r.name FROM icloud_records r JOIN icloud_libraries l ON l.source = r.source "
            "WHERE r.source = :source AND r.state <> 'gone' AND r.seen_at < l.reading_since"
        ),
        {"source": source},
    )
    return list(rows.scalars())


def count_met(connection: Connection, source: str) -> int:
    """Counts the photos, neither hidden nor deleted, that the reading from the beginning has met."""
    statement = (
        "SELECT count(*) FROM icloud_records r JOIN icloud_libraries l ON l.source = r.source WHERE r.source = :source "
        "AND r.kind = 'asset' AND r.state = 'live' AND r.seen_at >= l.reading_since"
    )
    return int(connection.execute(text(statement), {"source": source}).scalar_one())


def set_reasons(connection: Connection, source: str, reasons: Mapping[str, str | None]) -> None:
    """Writes why some photos bring no file; None for those that do."""
    connection.execute(
        text(
            "UPDATE icloud_records r SET reason = n.reason FROM unnest(CAST(:names AS text[]), "
            "CAST(:reasons AS text[])) AS n (name, reason) WHERE r.source = :source AND r.name = n.name "
            "AND r.reason IS DISTINCT FROM n.reason"
        ),
        {"source": source, "names": list(reasons), "reasons": list(reasons.values())},
    )


WITHOUT_FILE = "source = :source AND reason IS NOT NULL AND state IN ('live', 'hidden')"


def without_file(connection: Connection, source: str, limit: int = 20) -> tuple[int, list[tuple[str, str]]]:
    """Returns how many photos bring no file, and the first few with the reason."""
    where = f"WHERE {WITHOUT_FILE}"
    total = connection.execute(text(f"SELECT count(*) FROM icloud_records {where}"), {"source": source}).scalar_one()
    rows = connection.execute(
        text(f"SELECT name, reason FROM icloud_records {where} ORDER BY id LIMIT :limit"),
        {"source": source, "limit": limit},
    )
    return int(total), [(row.name, row.reason) for row in rows]


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """One record as the catalog holds it."""

    name: str
    kind: str
    parent: str | None
    state: str
    fields: Mapping[str, Any]
    change_tag: str | None


def put_records(connection: Connection, source: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes what the feed says of some records over what it said before."""
    if not rows:
        return
    connection.execute(
        text(
            "INSERT INTO icloud_records (source, name, kind, parent, state, fields, change_tag) "
            "SELECT :source, r.* FROM jsonb_to_recordset(CAST(:rows AS jsonb)) "
            "AS r (name text, kind text, parent text, state text, fields jsonb, change_tag text) "
            "ON CONFLICT (source, name) DO UPDATE SET parent = EXCLUDED.parent, state = EXCLUDED.state, "
            "fields = EXCLUDED.fields, change_tag = EXCLUDED.change_tag, seen_at = now()"
        ),
        {"source": source, "rows": json.dumps(list(rows))},
    )


def bury_records(connection: Connection, source: str, names: Sequence[str]) -> list[StoredRecord]:
    """Marks records as gone for good; what they said stays.

    Returns:
        Those that were known.
    """
    rows = connection.execute(
        text(
            "UPDATE icloud_records SET state = 'gone', seen_at = now() WHERE source = :source AND name = ANY(:names) "
            "RETURNING name, kind, parent, state, fields, change_tag"
        ),
        {"source": source, "names": list(names)},
    )
    return [StoredRecord(*row) for row in rows]


def records_named(connection: Connection, source: str, names: Iterable[str]) -> dict[str, StoredRecord]:
    """Returns records by their names."""
    rows = connection.execute(
        text(
            "SELECT name, kind, parent, state, fields, change_tag FROM icloud_records "
            "WHERE source = :source AND name = ANY(:names)"
        ),
        {"source": source, "names": list(names)},
    )
    return {row.name: StoredRecord(*row) for row in rows}


def assets_of_masters(connection: Connection, source: str, masters: Iterable[str]) -> list[str]:
    """Returns the names of the assets that stand on some masters; a copy made on the phone shares its master."""
    rows = connection.execute(
        text("SELECT name FROM icloud_records WHERE source = :source AND kind = 'asset' AND parent = ANY(:masters)"),
        {"source": source, "masters": list(masters)},
    )
    return list(rows.scalars())


def albums_of(connection: Connection, source: str, asset: str) -> list[str]:
    """Returns the names of the albums that an asset is in."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT a.fields->>'name' FROM icloud_records r JOIN icloud_records a "
            "ON a.source = r.source AND a.name = r.fields->>'album' AND a.kind = 'album' AND a.state = 'live' "
            "WHERE r.source = :source AND r.kind = 'relation' AND r.state = 'live' AND r.parent = :asset "
            "AND a.fields->>'name' IS NOT NULL ORDER BY 1"
        ),
        {"source": source, "asset": asset},
    )
    return list(rows.scalars())


def count_live(connection: Connection, source: str) -> int:
    """Counts the photos that are neither hidden nor deleted, as Apple's own count does."""
    statement = "SELECT count(*) FROM icloud_records WHERE source = :source AND kind = 'asset' AND state = 'live'"
    return int(connection.execute(text(statement), {"source": source}).scalar_one())


def count_assets(connection: Connection, source: str) -> int:
    """Counts the photos that iCloud holds, hidden ones among them."""
    statement = (
        "SELECT count(*) FROM icloud_records WHERE source = :source AND kind = 'asset' AND state IN ('live', 'hidden')"
    )
    return int(connection.execute(text(statement), {"source": source}).scalar_one())


_OTHER_CHECKSUM = (
    "FROM source_files s JOIN media_files m ON m.id = s.media_file_id WHERE s.source = ANY(:sources) "
    "AND s.state IN ('kept', 'duplicate', 'renamed') AND m.apple_checksum IS NOT NULL "
    f"AND s.version ~ '{_COMPARABLE}' AND s.version <> m.apple_checksum"
)
OTHER_CHECKSUMS = f"SELECT s.id {_OTHER_CHECKSUM}"


def other_checksums(connection: Connection, sources: Sequence[str], limit: int) -> tuple[int, list[tuple[str, str]]]:
    """Returns how many stored files have another checksum than Apple gave, where ours can be compared, and a few."""
    query = _OTHER_CHECKSUM
    given = {"sources": list(sources), "limit": limit}
    total = connection.execute(text(f"SELECT count(*) {query}"), given).scalar_one()
    rows = connection.execute(text(f"SELECT s.source_id, m.stored_path {query} ORDER BY s.id DESC LIMIT :limit"), given)
    return int(total), [(row.source_id, row.stored_path) for row in rows]


def count_incomparable(connection: Connection, sources: Sequence[str]) -> int:
    """Counts the stored files of which Apple gives a checksum that cannot be computed here: nothing proves them."""
    statement = (
        "SELECT count(*) FROM source_files WHERE source = ANY(:sources) AND state IN ('kept', 'duplicate', 'renamed') "
        f"AND version !~ '{_COMPARABLE}'"
    )
    return int(connection.execute(text(statement), {"sources": list(sources)}).scalar_one())


def count_waiting(connection: Connection, source: str) -> int:
    """Counts the files of a library whose bytes are still to come."""
    statement = "SELECT count(*) FROM source_files WHERE source = :source AND state IN ('pending', 'failed')"
    return int(connection.execute(text(statement), {"source": source}).scalar_one())


def present_parts(connection: Connection, source: str, assets: Sequence[str]) -> list[tuple[int, str, str, str]]:
    """Returns (id, asset, path, version) of the observed files of some assets that are still there."""
    rows = connection.execute(
        text(
            "SELECT id, folder, source_id, version FROM source_files "
            "WHERE source = :source AND folder = ANY(:assets) AND gone_at IS NULL"
        ),
        {"source": source, "assets": list(assets)},
    )
    return [(row.id, row.folder, row.source_id, row.version) for row in rows]


def days_of_assets(connection: Connection, source: str, assets: Sequence[str]) -> dict[str, Any]:
    """Returns the day under which each asset stands already: a date that is edited later moves no file."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT ON (folder) folder, partition_date FROM source_files "
            "WHERE source = :source AND folder = ANY(:assets) ORDER BY folder, id"
        ),
        {"source": source, "assets": list(assets)},
    )
    return {row.folder: row.partition_date for row in rows}
