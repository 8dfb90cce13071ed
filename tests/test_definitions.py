"""What Dagster is shown: every asset, check, job, schedule and sensor, and the words that come with them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from jobs.chain import CHAIN_JOB
from jobs.schedules import _every
from mediapipe_assets.definitions import build_defs
from mediapipe_assets.partitions import scope_of
from resources.settings import Settings, load_settings

CHAIN = {
    # key: (after, group, kinds)
    "local_folder": ([], "sources", {"folder"}),
    "folder_originals": (["local_folder"], "library", {"python", "postgres"}),
    "deduplicated_media": (["folder_originals"], "library", {"python", "postgres"}),
    "compressed_media": (["deduplicated_media"], "library", {"python", "jpeg", "hevc"}),
    "archive/staged_media": (["compressed_media"], "destination_archive", {"archive"}),
    "archive/uploaded_media": (["archive/staged_media"], "destination_archive", {"archive"}),
    "archive/verified_media": (["archive/uploaded_media"], "destination_archive", {"archive"}),
    "nas-2/staged_media": (["compressed_media"], "destination_nas_2", {"archive"}),
    "nas-2/uploaded_media": (["nas-2/staged_media"], "destination_nas_2", {"archive"}),
    "nas-2/verified_media": (["nas-2/uploaded_media"], "destination_nas_2", {"archive"}),
    "sorted_library": (["archive/verified_media", "nas-2/verified_media"], "browse", {"folder"}),
    "released_media": (["archive/verified_media", "nas-2/verified_media"], "browse", {"folder"}),
}
CHECKS = {
    "folder_originals": [
        "every_found_file_is_accounted_for",
        "no_file_is_damaged",
        "no_file_was_rejected",
        "originals_stand_whole",
        "roots_have_their_markers",
        "what_left_its_source_has_a_copy",
    ],
    "deduplicated_media": ["every_file_is_in_a_bundle"],
    "compressed_media": ["every_file_is_decided", "renditions_are_sound"],
    "archive/staged_media": ["nothing_is_left_behind"],
    "archive/uploaded_media": ["everything_staged_was_sent"],
    "archive/verified_media": ["every_delivery_is_proven", "stands_on_another_disk", "verified_means_evidence"],
    "nas-2/staged_media": ["nothing_is_left_behind"],
    "nas-2/uploaded_media": ["everything_staged_was_sent"],
    "nas-2/verified_media": ["every_delivery_is_proven", "stands_on_another_disk", "verified_means_evidence"],
    "sorted_library": ["library_shows_every_verified_file"],
    "released_media": ["nothing_failed_to_be_released"],
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    destinations = {name: {"kind": "archive", "path": str(home / name)} for name in ("archive", "nas-2")}
    overrides = {"destinations": destinations, "timezone": "Europe/Berlin"}
    return load_settings(home, overrides=overrides, environ={})


@pytest.fixture(scope="module")
def defs(settings: Settings) -> dg.Definitions:
    return build_defs(settings)


@pytest.fixture(scope="module")
def specs(defs: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_the_definitions_load_and_every_job_can_be_run(defs: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(defs)


def test_the_chain_is_what_the_design_says(specs: dict[str, dg.AssetSpec]) -> None:
    shown = {
        key: (sorted(one.asset_key.to_user_string() for one in spec.deps), spec.group_name, spec.kinds)
        for key, spec in specs.items()
    }
    assert shown == CHAIN


def test_the_checks_are_these_and_only_the_markers_block(defs: dg.Definitions) -> None:
    found: dict[str, list[str]] = {}
    blocking = []
    for asset in defs.resolve_asset_graph().assets_defs:
        for check in asset.check_specs:
            found.setdefault(check.asset_key.to_user_string(), []).append(check.name)
            assert check.description
            if check.blocking:
                blocking.append(check.name)
    assert {key: sorted(names) for key, names in found.items()} == CHECKS
    assert blocking == ["roots_have_their_markers"]


def test_what_starts_runs_is_on_from_the_beginning(defs: dg.Definitions) -> None:
    repository = defs.get_repository_def()
    assert [job.name for job in repository.get_all_jobs() if not job.name.startswith("__")] == [CHAIN_JOB]
    assert {one.name: one.cron_schedule for one in repository.schedule_defs} == {
        "pending_schedule": "0 * * * *",
        "tier_schedule": "0 3 * * *",
    }
    assert [one.name for one in repository.sensor_defs] == ["asked_run_sensor", "folder_sensor"]
    assert {one.default_status.value for one in [*repository.schedule_defs, *repository.sensor_defs]} == {"RUNNING"}
    assert all(one.description for one in [*repository.schedule_defs, *repository.sensor_defs])


def test_the_nightly_schedule_follows_the_persons_clock(defs: dg.Definitions) -> None:
    schedules = {one.name: one for one in defs.get_repository_def().schedule_defs}
    assert schedules["tier_schedule"].execution_timezone == "Europe/Berlin"


@pytest.mark.parametrize(
    ("minutes", "cron"),
    [
        (1, "*/1 * * * *"), (15, "*/15 * * * *"), (60, "0 * * * *"), (90, "0 */2 * * *"), (120, "0 */2 * * *"),
        (1440, "0 0 * * *"), (10_080, "0 0 */7 * *"),
    ],
)  # fmt: skip
def test_minutes_become_the_nearest_that_cron_can_say(minutes: int, cron: str) -> None:
    assert _every(minutes) == cron


def test_every_asset_tells_who_owns_it_and_what_it_is(specs: dict[str, dg.AssetSpec]) -> None:
    for key, spec in specs.items():
        assert spec.description, key
        assert len(spec.description) > 40, key
        assert spec.owners == ["team:family"], key
        assert spec.kinds, key
        assert spec.group_name != "default", key


def test_every_asset_of_the_chain_is_partitioned_by_day_and_runs_a_range_at_once(
    defs: dg.Definitions, specs: dict[str, dg.AssetSpec], settings: Settings
) -> None:
    graph = defs.resolve_asset_graph()
    for key, spec in specs.items():
        if key == "local_folder":
            continue
        days = spec.partitions_def
        assert isinstance(days, dg.DailyPartitionsDefinition), key
        assert days.start.date() == settings.start_date
        assert (str(days.timezone), days.end_offset) == ("UTC", 2)
        assert spec.code_version == "1", key
        assert graph.get(spec.key).backfill_policy == dg.BackfillPolicy.single_run(), key


def test_the_partitions_reach_until_tomorrow(specs: dict[str, dg.AssetSpec]) -> None:
    from datetime import UTC, datetime, timedelta

    days = specs["folder_originals"].partitions_def
    assert days is not None
    now = datetime.now(UTC)
    assert days.get_last_partition_key() == (now.date() + timedelta(days=1)).isoformat()


def test_names_are_those_of_the_product(specs: dict[str, dg.AssetSpec]) -> None:
    assert all(re.fullmatch(r"[a-z0-9_-]+(/[a-z_]+)?", key) for key in specs)


def test_without_a_destination_switched_on_the_library_waits_for_nothing(tmp_path: Path) -> None:
    one = {"archive": {"kind": "archive", "path": str(tmp_path / "archive"), "enabled": False}}
    defs = build_defs(load_settings(tmp_path, overrides={"destinations": one}, environ={}))
    assert not [key for key in defs.resolve_asset_graph().get_all_asset_keys() if "verified" in key.to_user_string()]


def test_icloud_beside_the_archive_adds_to_the_chain_of_folders_and_changes_nothing_of_it(tmp_path: Path) -> None:
    beside = {"sources": {"icloud": {"apple_id": "me@example.com"}}, "destinations": {"icloud": {"enabled": True}}}
    keys = [
        build_defs(load_settings(tmp_path, overrides=overrides, environ={})).resolve_asset_graph().get_all_asset_keys()
        for overrides in ({}, beside)
    ]
    assert {key.to_user_string() for key in keys[1] - keys[0]} == {
        "icloud_library", "icloud_originals", "icloud_sidecars",
        "icloud/staged_media", "icloud/uploaded_media", "icloud/verified_media",
    }  # fmt: skip
    assert not keys[0] - keys[1]


def test_an_icloud_destination_has_the_checks_of_an_upload_and_none_of_a_disk(tmp_path: Path) -> None:
    there = {"sources": {"icloud": {"apple_id": "me@example.com"}}, "destinations": {"icloud": {"enabled": True}}}
    defs = build_defs(load_settings(tmp_path, overrides=there, environ={}))
    names = {key.name for key in defs.resolve_asset_graph().asset_check_keys if key.asset_key.path[0] == "icloud"}
    assert names == {
        "nothing_is_left_behind", "left_out_on_purpose",
        "everything_staged_was_sent", "every_delivery_is_proven", "verified_means_evidence",
        "uploads_are_visible",
    }  # fmt: skip


def test_an_override_takes_the_place_of_a_resource(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIAPIPE_HOME", str(settings.home))  # the other resources open a home, and not the person's

    class Elsewhere(dg.ConfigurableResource):  # type: ignore[type-arg]
        @contextlib.contextmanager
        def opened(self, *, prepare: bool = False) -> Iterator[Any]:
            raise RuntimeError("the fake was asked")
            yield

    # The pipeline would open the home of whoever runs the tests.
    defs = build_defs(settings, {"platform": Elsewhere(), "pipeline": dg.ResourceDefinition.none_resource()})
    repository = defs.get_repository_def()
    sensor = repository.get_sensor_def("folder_sensor")
    resources = repository.get_top_level_resources()  # what a tick of the daemon takes them from
    context = dg.build_sensor_context(dg.DagsterInstance.ephemeral(), definitions=defs, resources=resources)
    with context, pytest.raises(RuntimeError, match="the fake was asked"):
        sensor.evaluate_tick(context)


@pytest.mark.parametrize(
    ("tags", "days"),
    [
        ({"dagster/partition": "2024-05-17"}, ("2024-05-17", "2024-05-17")),
        (
            {
                "dagster/asset_partition_range_start": "2024-05-01",
                "dagster/asset_partition_range_end": "2024-05-17",
            },
            ("2024-05-01", "2024-05-17"),
        ),
        ({}, None),
    ],
)
def test_the_days_of_a_run_are_read_from_its_tags(tags: dict[str, str], days: tuple[str, str] | None) -> None:
    scope = scope_of(tags)
    assert (scope and (scope.first.isoformat(), scope.last.isoformat())) == days


ROOMS = {"pipeline": ["resources", "catalog", "media"], "resources": ["catalog", "media"], "catalog": [], "media": []}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_knows_only_the_rooms_behind_it_and_one_module_alone_knows_the_pool(room: str) -> None:
    ours = "mediapipe_assets|jobs|sensors|services|pipeline|resources|catalog|media|pebble"
    for file in (Path(__file__).parents[1] / room).rglob("*.py"):
        found = set(re.findall(rf"^\s*(?:from|import) ({ours})\b", file.read_text(), re.MULTILINE))
        assert found - {room, *ROOMS[room]} <= ({"pebble"} if file.name == "compute.py" else set()), file
