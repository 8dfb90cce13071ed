"""Real camera files: every good one ends verified, every bad one is named, and nothing stops anything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text

from catalog import findings
from tests.conftest import Home, Said, sha256, tree

GIB = 1 << 30
MOST_SECONDS = 30  # that one file may take; a task beyond it is killed and its file says so
# The limits that bad files must keep to; films are made small, for 4K alone would take half a minute.
LIMITS = f"""
[compute]
ingest_timeout_seconds = {MOST_SECONDS - 2}
task_timeout_seconds = {MOST_SECONDS}
worker_memory_mb = 1024
[[compression.tiers]]
name = "all ages"
after_days = 0
jpeg_quality = 80
video_crf = 26
video_max_edge = 960
"""
NOT_MEDIA = {"empty.jpg", "text_named.heic", "unknown_format.jpg"}


@dataclass
class Sampler:
    """Watches the workers of a run from outside."""

    process: psutil.Process
    peak: int = 0
    peak_of_all: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.ended.wait(0.05):
            sizes = []
            try:
                for child in self.process.children(recursive=True):
                    words = " ".join(child.cmdline())
                    if "spawn_main" in words:
                        sizes.append(child.memory_info().rss)
            except psutil.Error:
                continue
            self.peak = max([self.peak, *sizes])
            self.peak_of_all = max(self.peak_of_all, sum(sizes))


@dataclass
class Outcome:
    """A run over the whole corpus."""

    home: Home
    corpus: Path
    before: dict[str, Any]
    report: dict[str, Any]
    said: Said
    seconds: float
    peak: int

    def story(self, file: str) -> Any:
        return self.stories[file]

    @property
    def stories(self) -> dict[str, Any]:
        return self._stories

    def __post_init__(self) -> None:
        self._stories = _stories(self)


def _stories(outcome: Outcome) -> dict[str, Any]:
    """What the catalog says of every file, by its path in the corpus."""
    with outcome.home.opened() as platform, platform.engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT s.source_id, s.state AS observed, s.reason AS why_rejected, m.sha256, m.state, m.reason, "
                "m.stored_path, r.outcome, r.detail, r.path AS rendition, m.id AS content, s.media_file_id "
                "FROM source_files s LEFT JOIN media_files m ON m.id = s.media_file_id "
                "LEFT JOIN renditions r ON r.media_file_id = m.id"
            )
        ).mappings()
        stories = {row["source_id"]: dict(row, deliveries={}) for row in rows}
        rows = connection.execute(
            text(
                "SELECT b.media_file_id, d.role, d.state, d.remote_path, d.sha256 "
                "FROM deliveries d JOIN bundle_members b ON b.id = d.bundle_member_id"
            )
        ).mappings()
        delivered = [dict(row) for row in rows]
    for story in stories.values():
        for one in delivered:
            if one["media_file_id"] == story["content"]:
                story["deliveries"][one["role"]] = one
    return stories


@pytest.fixture(scope="module")
def outcome(corpus: Path, shared_home: Home) -> Iterator[Outcome]:
    before = tree(corpus)
    shared_home.watch(corpus, LIMITS, start="2024-12-01")
    started = time.monotonic()
    process = shared_home.start("run", "--json")
    sampler = Sampler(psutil.Process(process.pid))
    watcher = threading.Thread(target=sampler.watch)
    watcher.start()
    try:
        out, err = process.communicate(timeout=280)
    finally:
        sampler.ended.set()
        watcher.join()
    said = Said(process.returncode, out, err)
    seconds = time.monotonic() - started
    print(f"\ncorpus: {seconds:.1f} s, largest worker {sampler.peak / 1e6:.0f} MB, all {sampler.peak_of_all / 1e6:.0f}")
    assert said.out, said.err
    with shared_home.opened():  # the database stays up while the tests look
        yield Outcome(shared_home, corpus, before, said.json, said, seconds, sampler.peak)


def named(corpus: Path, folder: str) -> list[str]:
    return sorted(str(path.relative_to(corpus)) for path in (corpus / folder).rglob("*") if path.is_file())


def copy_of(outcome: Outcome, story: Any, role: str) -> Path:
    return outcome.home.path / "archive" / story["deliveries"][role]["remote_path"]


def test_the_run_ends_well_although_files_are_bad(outcome: Outcome) -> None:
    assert outcome.said.code == 0, outcome.said.err
    report = outcome.report
    assert report["failed"] == report["failed_later"] == 0
    assert report["found"] == report["kept"] + report["duplicates"] + report["rejected"] + report["failed"]
    names = [name for part in ("good", "bad", "md5twins") for name in named(outcome.corpus, part)]
    assert report["found"] == len(names)
    archive = report["destinations"]["archive"]
    assert archive["verified"] == archive["uploaded"] == archive["staged"]
    assert archive["failed"] == 0


def test_every_good_file_ends_verified_as_a_rendition_or_with_a_reason(outcome: Outcome) -> None:
    unproven = []
    for name in named(outcome.corpus, "good"):
        story = outcome.story(name)
        assert story["state"] == "kept", (name, story["reason"])
        delivered = story["deliveries"]
        wanted = {"original", "rendition"} if story["outcome"] == "made" else {"original"}
        if set(delivered) != wanted or any(one["state"] != "verified" for one in delivered.values()):
            unproven.append((name, delivered))
        if story["outcome"] == "kept_original":
            assert len(story["detail"]) > 10, name
        for role, one in delivered.items():
            assert sha256(copy_of(outcome, story, role)) == one["sha256"], name
        assert story["sha256"] == sha256(outcome.corpus / name) == delivered["original"]["sha256"]
    assert not unproven


def test_every_bad_file_is_kept_byte_for_byte_or_left_where_it_is_with_a_reason(outcome: Outcome) -> None:
    for name in named(outcome.corpus, "bad"):
        story = outcome.story(name)
        if story["observed"] == "rejected":
            assert len(story["why_rejected"].split()) >= 5, name
            assert story["media_file_id"] is None
            continue
        assert story["state"] == "damaged", (name, story)
        assert len(story["reason"].split()) >= 3, (name, story["reason"])
        assert story["rendition"] is None, name
        assert "damaged" in story["detail"], name
        assert set(story["deliveries"]) == {"original"}
        assert story["deliveries"]["original"]["state"] == "verified"
        source = sha256(outcome.corpus / name)
        assert sha256(outcome.home.path / "originals" / story["stored_path"]) == source
        assert sha256(copy_of(outcome, story, "original")) == source


def test_what_is_no_media_is_rejected_and_what_may_be_a_photo_is_not(outcome: Outcome) -> None:
    rejected = {Path(name).name for name, story in outcome.stories.items() if story["observed"] == "rejected"}
    assert rejected == NOT_MEDIA
    assert outcome.report["rejected"] == len(NOT_MEDIA)


def test_checks_name_every_bad_file(outcome: Outcome) -> None:
    with outcome.home.opened() as platform, platform.engine.connect() as connection:
        damaged, _ = findings.damaged(connection, 100)
        rejected, _ = findings.rejected(connection, 100)
        events = connection.execute(
            text(
                "SELECT DISTINCT ON (check_name) check_name, execution_status, evaluation_event "
                "FROM public.asset_check_executions WHERE check_name IN ('no_file_is_damaged', 'no_file_was_rejected') "
                "ORDER BY check_name, id DESC"
            )
        ).all()
    said = {row.check_name: (row.execution_status, row.evaluation_event) for row in events}
    bad = named(outcome.corpus, "bad")
    # Of the md5twins two are no whole PNGs.
    assert damaged + rejected == len(bad) + 2
    for name in bad:
        story = outcome.story(name)
        check = "no_file_was_rejected" if story["observed"] == "rejected" else "no_file_is_damaged"
        shown = story["stored_path"] or name
        status, event = said[check]
        assert status == "FAILED"
        assert Path(shown).name in event, f"{name} is not named by {check}"


def test_no_file_takes_longer_than_its_limit(outcome: Outcome) -> None:
    # Every task ran under a limit of 30 s: what took longer was killed and would say so.
    for name, story in outcome.stories.items():
        words = f"{story['reason']} {story['why_rejected']} {story['detail']}"
        assert "took too long" not in words, (name, words)
        assert "crashed or ran out of memory" not in words, (name, words)


def test_no_worker_takes_more_than_a_gibibyte(outcome: Outcome) -> None:
    assert 50e6 < outcome.peak < GIB


def test_different_files_with_one_md5_are_never_merged(outcome: Outcome) -> None:
    twins = named(outcome.corpus, "md5twins")
    stories = [outcome.story(name) for name in twins]
    assert len({story["content"] for story in stories}) == len(twins)
    assert all(story["observed"] == "kept" for story in stories)
    for name, story in zip(twins, stories, strict=True):
        assert sha256(copy_of(outcome, story, "original")) == sha256(outcome.corpus / name)


def test_the_live_photo_is_one_bundle(outcome: Outcome) -> None:
    with outcome.home.opened() as platform, platform.engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT b.kind, bm.role FROM bundles b JOIN bundle_members bm ON bm.bundle_id = b.id "
                "WHERE bm.media_file_id = ANY(:ids)"
            ),
            {"ids": [outcome.story(f"good/live_photo/IMG_0001.{ending}")["content"] for ending in ("jpg", "mov")]},
        ).all()
    assert sorted(map(tuple, rows)) == [("live_photo", "lead"), ("live_photo", "live_video")]


def test_the_corpus_itself_is_untouched(outcome: Outcome) -> None:
    assert tree(outcome.corpus) == outcome.before


@pytest.mark.prove
def test_good_files_end_verified_under_the_default_settings_too(corpus: Path, home: Home) -> None:
    home.watch(corpus / "good", start="2024-12-01")
    report = home.run()
    assert report["kept"] == report["found"] == len([one for one in (corpus / "good").rglob("*") if one.is_file()])
    archive = report["destinations"]["archive"]
    assert archive["verified"] == archive["staged"] == report["kept"] + report["renditions"]
    assert report["failed"] == report["failed_later"] == report["damaged"] == archive["failed"] == 0
    print(f"\ncorpus/good: {report['bytes_before']} -> {report['bytes_after']} bytes in {report['seconds']} s")
