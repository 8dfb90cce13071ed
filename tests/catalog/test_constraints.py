"""What the database itself refuses, whatever a program tries to write."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from catalog import bundles, deliveries, media, tables
from tests.the_catalog import DAY, add_content, add_observation, sha


def test_kept_without_a_content_is_refused(connection: Connection) -> None:
    with pytest.raises(IntegrityError, match="settled_has_content"):
        add_observation(connection, state="kept")


def test_a_content_for_what_was_rejected_is_refused(connection: Connection) -> None:
    content = add_content(connection)
    with pytest.raises(IntegrityError, match="settled_has_content"):
        add_observation(connection, state="rejected", reason="no picture", media_file_id=content)


@pytest.mark.parametrize("state", ["failed", "rejected"])
def test_what_went_wrong_without_a_reason_is_refused(connection: Connection, state: str) -> None:
    with pytest.raises(IntegrityError, match="ck_source_files_reason"):
        add_observation(connection, state=state)


def test_a_damaged_content_without_a_reason_is_refused(connection: Connection) -> None:
    with pytest.raises(IntegrityError, match="damaged_has_reason"):
        add_content(connection, state="damaged")


def test_one_content_is_kept_from_one_observation_only(connection: Connection) -> None:
    content = add_content(connection)
    add_observation(connection, state="kept", media_file_id=content)
    with pytest.raises(IntegrityError, match="one_kept"):
        add_observation(connection, state="kept", media_file_id=content)


def test_two_rows_for_one_content_are_refused(connection: Connection) -> None:
    add_content(connection, sha256=sha(1))
    with pytest.raises(IntegrityError, match="uq_media_files_sha256"):
        add_content(connection, sha256=sha(1))


def test_two_originals_at_one_path_are_refused(connection: Connection) -> None:
    add_content(connection, stored_path="a.jpg")
    with pytest.raises(IntegrityError, match="stored_path"):
        add_content(connection, stored_path="a.jpg")


def test_a_file_as_near_duplicate_of_itself_is_refused(connection: Connection) -> None:
    content = add_content(connection)
    with pytest.raises(IntegrityError, match="never_of_itself"):
        media.add_duplicate(
            connection, kind="near", media_file_id=content, kept_media_file_id=content, decision="proposed"
        )


def test_a_duplicate_has_exactly_one_subject(connection: Connection) -> None:
    content = add_content(connection)
    with pytest.raises(IntegrityError, match="one_subject"):
        media.add_duplicate(connection, kind="exact", kept_media_file_id=content, decision="merged")


def test_the_same_pair_is_proposed_once(connection: Connection) -> None:
    one, two = add_content(connection), add_content(connection)
    pair: dict[str, Any] = {"kind": "near", "media_file_id": one, "kept_media_file_id": two, "decision": "proposed"}
    assert [media.add_duplicate(connection, **pair) for _ in range(2)] == [True, False]


def _delivery(connection: Connection, **given: Any) -> None:
    content = add_content(connection)
    bundle = bundles.add_bundle(connection, content, "single", "", DAY)
    member = bundles.add_member(connection, bundle, content, "lead", f"{content}.jpg")
    values: dict[str, Any] = {
        "destination": "archive",
        "bundle_member_id": member,
        "role": "original",
        "batch_id": deliveries.ensure_batch(connection, "archive", "run"),
        "sha256": sha(1),
        "size": 1,
        "remote_path": f"{content}.jpg",
        "state": "staged",
        "partition_date": DAY,
        **given,
    }
    connection.execute(tables.deliveries.insert().values(values))


def test_verified_without_evidence_is_refused(connection: Connection) -> None:
    with pytest.raises(IntegrityError, match="ck_deliveries_evidence"):
        _delivery(connection, state="verified")


def test_verified_without_the_time_of_its_evidence_is_refused(connection: Connection) -> None:
    with pytest.raises(IntegrityError, match="ck_deliveries_evidence"):
        _delivery(connection, state="verified", evidence={"sha256": sha(1)})


def test_two_deliveries_to_one_remote_path_are_refused(connection: Connection) -> None:
    _delivery(connection, remote_path="a.jpg")
    with pytest.raises(IntegrityError, match="remote_path"):
        _delivery(connection, remote_path="a.jpg")


def test_a_rendition_that_was_made_has_a_file(connection: Connection) -> None:
    content = add_content(connection)
    row = {"media_file_id": content, "plan_fingerprint": "f" * 12, "tier": "fresh", "generation": 1, "run_id": "run"}
    with pytest.raises(IntegrityError, match="made_has_file"):
        connection.execute(tables.renditions.insert().values(**row, outcome="made", detail=""))


def test_two_members_of_a_day_whose_names_a_nas_confuses_are_refused(connection: Connection) -> None:
    one, two = add_content(connection), add_content(connection)
    for content, name in ((one, "\u00c4.JPG"), (two, "A\u0308.jpg")):
        bundle = bundles.add_bundle(connection, content, "single", "", DAY)
        if content == two:
            assert not bundles.name_is_free(connection, DAY, name)
            with pytest.raises(IntegrityError, match="name_key"):
                bundles.add_member(connection, bundle, content, "lead", name)
        else:
            bundles.add_member(connection, bundle, content, "lead", name)


def test_a_perceptual_hash_has_256_bits(connection: Connection) -> None:
    with pytest.raises(IntegrityError, match="phash_length"):
        add_content(connection, phash=b"short")
