"""What is believed of what Apple shows, and what may be deleted on the strength of it."""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import layout
from pipeline.icloud_delivery import ICloudVerifiedStage
from pipeline.proofs import NotProven, prove
from pipeline.release import ReleaseStage
from resources.icloud import ICloud
from resources.icloud_destination import ICloudPhotos
from services.icloud_standin import ICloudStandin, Library
from tests.icloud_clients import NAME
from tests.icloud_library import jpeg
from tests.icloud_uploads import RULES, Home, apple
from tests.proof_files import doomed, said_to_be
from tests.the_catalog import DAY


class Telling:
    """Apple, who shows whatever a test wants."""

    def __init__(self, client: ICloud, change: Callable[[dict[str, Any]], None], listed: bool = True) -> None:
        self._client, self._change, self._listed = client, change, listed

    def lookup(self, zone: Any, names: Any) -> dict[str, Any]:
        records = self._client.lookup(zone, names)
        self._change({str(one["recordType"]): one for one in records.values()})
        return records

    def listed(self, zone: Any, asset: str) -> bool:
        return self._listed


def shown_as(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(records: dict[str, Any]) -> None:
        kind = "CPLMaster" if field in ("fileChecksum", "size") else "CPLAsset"
        fields = records[kind]["fields"]
        if kind == "CPLMaster":
            fields["resOriginalRes"]["value"][field] = value
        else:
            fields[field] = {"value": value}

    return change


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        (shown_as("fileChecksum", apple(b"other")), "unverifiable", "other bytes"),
        (shown_as("fileChecksum", "Zm9ybQ=="), "unverifiable", "form that cannot be computed"),
        (shown_as("size", 1), "unverifiable", "other bytes"),
        (shown_as("isDeleted", 1), "absent", "deleted in iCloud"),
        (shown_as("masterRef", {"recordName": "x"}), "unverifiable", "another file"),
        (None, "pending", "does not list"),
    ],
)
def test_only_a_living_listed_photo_of_exactly_these_bytes_is_believed(
    home: Home, library: Library, change: Any, verdict: str, words: str
) -> None:
    home.photo(jpeg(1))
    home.stage()
    home.upload()
    asked: list[Any] = []
    with home.session() as client:
        told = Telling(client, change or (lambda records: None), listed=change is not None)
        home.icloud = ICloudPhotos("icloud", NAME, "rendition", lambda: contextlib.nullcontext(told))  # type: ignore[arg-type,return-value]
        stage = ICloudVerifiedStage(home.icloud, RULES, {layout.ORIGINALS: home.roots[layout.ORIGINALS]}, home.roots)
        show = stage._show
        stage._show = lambda *given: asked.append(show(*given)) or asked[-1]  # type: ignore[method-assign,func-returns-value]
        home.work(stage)
    ((evidence, _),) = asked
    assert (evidence.verdict, home.states[0] == "verified") == (verdict, False)
    assert words in evidence.reason


@pytest.mark.parametrize("master", ["Zm9ybQ==", apple(b"other")])
def test_an_upload_that_apple_files_under_another_checksum_is_never_called_verified(
    home: Home, icloud: ICloudStandin, master: str
) -> None:
    home.photo(jpeg(1))
    home.stage()
    home.upload()
    home.change(f'UPDATE deliveries SET remote_ids = remote_ids || \'{{"master": "{master}"}}\'')
    assert home.verify().counts == {"failed": 1}
    assert home.states == ["uploaded"]


def test_without_a_file_of_ours_there_is_nothing_to_hold_apples_checksum_against(home: Home) -> None:
    home.photo(jpeg(1))
    home.stage()
    home.upload()
    (path,) = (home.roots[layout.ORIGINALS] / "2024").rglob("*.JPG")
    path.unlink()
    report = home.verify()
    assert report.counts == {"failed": 1}
    assert "cannot be held against" in report.failures[0][1]


def test_a_copy_in_icloud_counts_for_a_proof_where_it_can_be_asked_and_nowhere_else(home: Home, tmp_path: Path) -> None:
    member = home.photo(jpeg(1))
    home.rendition(member, jpeg(1, "smaller"))
    home.deliver()
    (row,) = home.rows("SELECT remote_path, remote_ids FROM deliveries")
    path = home.roots[layout.RENDITIONS] / f"{member}.jpg"
    said = said_to_be(home.icloud, jpeg(1, "smaller"), path=row.remote_path)
    said = replace(said, intent=replace(said.intent, source=str(path), remote_ids=row.remote_ids))
    proof = prove(doomed(path, jpeg(1, "smaller")), [said], 1)
    assert proof.copies[0].facts["by"] == "apple_checksum"
    home.icloud.close()
    elsewhere = pickle.loads(pickle.dumps(said))
    with pytest.raises(NotProven, match="process of the run alone"):
        prove(doomed(path, jpeg(1, "smaller")), [elsewhere], 1)
    with pytest.raises(Exception, match="stays in iCloud"):
        home.icloud.release(proof, row.remote_path, DAY)


def test_a_superseded_rendition_may_go_on_the_proof_of_icloud_alone(home: Home) -> None:
    member = home.photo(jpeg(1))
    home.rendition(member, jpeg(1, "smaller"))
    home.deliver()
    home.change("UPDATE renditions SET superseded_at = now()")
    home.change("UPDATE media_files SET rendition_id = NULL")
    opened = home.sessions
    report = home.work(ReleaseStage(home.roots, {"icloud": home.icloud}, 1))
    assert report.counts == {"released": 1}
    assert (home.sessions, home.icloud._client) == (opened + 1, None)
    assert not (home.roots[layout.RENDITIONS] / f"{member}.jpg").exists()
