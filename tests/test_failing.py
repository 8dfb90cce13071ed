"""The digest of a failed check: the same for the same files, whatever run looks, and another one for other files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from catalog import icloud
from catalog.bundles import LIBRARY
from catalog.deliveries import UNPROVEN
from catalog.failing import NOTHING, failing_names, failing_rows
from catalog.renditions import COMPRESSED
from catalog.sources import ORIGINALS
from catalog.work import FAILED_ROWS
from mediapipe_assets.checks import checks_of
from tests.test_checks import NEW, OLD, Library, aside, library
from tests.the_catalog import add_observation, engine, migrated, server

__all__ = ["engine", "library", "migrated", "server"]
VERIFIED = "archive/verified_media"


def failing(library: Library, stage: str, check: str, scope: Any = OLD) -> tuple[str, int, int]:
    """The digest that a check shows, how many files are in it, and how many it calls unresolved."""
    (found,) = [one for one in checks_of(stage, library.platform, scope) if one.check_name == check]
    values = {name: value.value for name, value in found.metadata.items()}
    return str(values["failing"]), int(str(values["failing_files"])), int(str(values["unresolved"]))


def sql(statement: str) -> Callable[[Library, str], None]:
    """Breaks a file by changing the catalog."""

    def do(library: Library, name: str) -> None:
        with library.engine.begin() as connection:
            connection.execute(text(statement), {"id": library.contents[name]})

    return do


def add(state: str) -> Callable[[Library, str], None]:
    """Lets a further file be in a state."""

    def do(library: Library, name: str) -> None:
        with library.engine.begin() as connection:
            add_observation(connection, source_id=f"{name}.raw", state=state, reason="it is odd")

    return do


def failed_at(stage: str) -> Callable[[Library, str], None]:
    """Lets a file have failed at a stage."""
    return sql(
        "INSERT INTO work (stage, row_id, partition_date, attempts, error) "
        f"VALUES ('{stage}', :id, '2019-07-14', 1, 'it is odd')"
    )


def unlink(library: Library, name: str) -> None:
    (library.roots["library"] / "2019" / "07" / "14" / f"{name}.jpg").unlink()


def unproven(library: Library, name: str) -> None:
    sql("UPDATE deliveries SET state = 'uploaded', evidence = NULL, evidence_at = NULL WHERE bundle_member_id = :id")(
        library, name
    )
    failed_at(VERIFIED)(library, name)


@pytest.mark.parametrize(
    ("stage", "check", "break_it"),
    [
        (ORIGINALS, "originals_stand_whole", lambda library, name: aside(library.original(name))),
        (ORIGINALS, "no_file_is_damaged", sql("UPDATE media_files SET state = 'damaged', reason = '!' WHERE id = :id")),
        (ORIGINALS, "no_file_was_rejected", add("rejected")),
        (ORIGINALS, "what_left_its_source_has_a_copy", sql(
            "WITH gone AS (UPDATE deliveries SET sha256 = repeat('0', 64) WHERE bundle_member_id = :id) "
            "UPDATE media_files SET missing_since = now() WHERE id = :id"
        )),
        (COMPRESSED, "renditions_are_sound", lambda library, name: aside(library.rendition(name))),
        (COMPRESSED, "every_file_is_decided", failed_at(COMPRESSED)),
        ("archive/staged_media", "nothing_is_left_behind", failed_at("archive/staged_media")),
        (VERIFIED, "verified_means_evidence", sql(
            "UPDATE deliveries SET sha256 = repeat('0', 64) WHERE bundle_member_id = :id"
        )),
        (VERIFIED, "every_delivery_is_proven", unproven),
        (LIBRARY, "library_shows_every_verified_file", unlink),
    ],
)  # fmt: skip
def test_the_same_files_have_the_same_digest_and_a_further_one_gives_another(
    library: Library, stage: str, check: str, break_it: Callable[[Library, str], None]
) -> None:
    assert failing(library, stage, check) == ("", 0, 0)
    break_it(library, "a")
    first = failing(library, stage, check)
    assert len(first[0]) == 32 and first[1:] == (1, 1)
    assert failing(library, stage, check) == first, "a second look"
    if stage != LIBRARY:  # which is looked at at the run's days alone
        assert failing(library, stage, check, NEW) == first, "a look from another day"
    break_it(library, "b")
    second = failing(library, stage, check)
    assert second[0] != first[0] and second[1:] == (2, 2)


def test_what_could_not_be_sent_is_told_by_the_check_of_sending_alone(library: Library) -> None:
    sql("UPDATE deliveries SET state = 'staged', evidence = NULL, evidence_at = NULL WHERE bundle_member_id = :id")(
        library, "a"
    )
    failed_at("archive/uploaded_media")(library, "a")
    assert failing(library, VERIFIED, "every_delivery_is_proven") == ("", 0, 1)
    assert failing(library, "archive/uploaded_media", "everything_staged_was_sent")[1:] == (1, 1)


def test_a_set_of_names_is_the_same_in_any_order() -> None:
    assert failing_names(["b", "a", "a"]) == failing_names(["a", "b"]) != failing_names(["ab"])
    assert failing_names([]) == NOTHING


def test_no_row_is_nothing_and_every_query_can_be_asked(engine: Engine) -> None:
    queries: dict[str, dict[str, object]] = {
        FAILED_ROWS: {"stage": COMPRESSED},
        UNPROVEN: {"d": "archive"},
        icloud.OTHER_CHECKSUMS: {"sources": ["icloud"]},
        f"SELECT id FROM icloud_records WHERE {icloud.WITHOUT_FILE}": {"source": "icloud"},
    }
    with engine.connect() as connection:
        assert [_asked(connection, query, given) for query, given in queries.items()] == [NOTHING] * len(queries)


def _asked(connection: Connection, query: str, given: dict[str, object]) -> object:
    return failing_rows(connection, query, **given)
