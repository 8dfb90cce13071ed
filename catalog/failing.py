"""Which files a check finds failing, in short: how many, and a digest that is the same for the same ones.

Belongs here: counting and condensing rows that a query names. Does not belong here: which rows those are (the modules
that keep them), or what a check says of them (`mediapipe_assets.checks`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

# Under which names a check's metadata carry them.
FAILING, FAILING_FILES = "failing", "failing_files"


@dataclass(frozen=True, slots=True)
class Failing:
    """A set of failing files.

    Attributes:
        count: How many.
        digest: Of all of them, the same for the same set; empty for none.
    """

    count: int
    digest: str


NOTHING = Failing(0, "")


def failing_rows(connection: Connection, query: str, **given: object) -> Failing:
    """Returns the set of rows that a query names.

    Args:
        connection: The catalog.
        query: SQL that gives the rows' ids, in a column `id`.
        given: Its parameters.
    """
    row = connection.execute(
        text(f"SELECT count(*), coalesce(md5(string_agg(f.id::text, ',' ORDER BY f.id)), '') FROM ({query}) f"), given
    ).one()
    return Failing(int(row[0]), row[1])


def failing_names(names: Iterable[str]) -> Failing:
    """Returns the set of what has only a name."""
    known = sorted(set(names))
    digest = hashlib.md5("\0".join(known).encode(errors="surrogateescape"), usedforsecurity=False).hexdigest()
    return Failing(len(known), digest) if known else NOTHING
