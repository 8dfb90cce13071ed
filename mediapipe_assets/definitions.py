"""The only place of assembly: what the settings ask for, as Dagster definitions.

Belongs here: putting assets, checks, jobs, sensors, schedules and resources together. Does not
belong here: any of their code. Tests put fakes or other real parts in by `resource_overrides`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg

from jobs.chain import chain_job
from jobs.schedules import pending_schedule, tier_schedule
from mediapipe_assets.assets.destinations import destination_assets, syncthing_folder_asset, verified_key
from mediapipe_assets.assets.library import (
    icloud_library,
    icloud_originals_asset,
    icloud_sidecars_asset,
    library_assets,
    local_folder,
    released_media_asset,
    sorted_library_asset,
)
from mediapipe_assets.partitions import capture_days
from mediapipe_assets.platform import PipelineResource, PlatformResource, home_is_set
from resources import redaction
from resources.settings import Settings, load_settings
from resources.settings_kinds import PIXEL
from sensors.alerts import alert_sensors
from sensors.asked import asked_run_sensor
from sensors.folder import folder_sensor
from sensors.icloud import icloud_sensor
from sensors.pixel import pixel_sensors


def build_defs(settings: Settings | None = None, resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """Returns fresh definitions for the settings of the environment's home.

    Args:
        settings: In place of the home's own.
        resource_overrides: In place of `platform` or `pipeline`.

    Raises:
        SettingsError: Something unknown or wrong was set.
    """
    settings = settings or load_settings()
    days = capture_days(settings.start_date)
    destinations = {name: entry.kind for name, entry in settings.destinations.items() if entry.enabled}
    verified = [verified_key(name) for name in destinations]
    delivery = [asset for name, kind in destinations.items() for asset in destination_assets(name, kind, days)]
    gap = settings.runs.merge_gap_days
    icloud = any(entry.enabled for entry in settings.icloud_sources.values())
    return dg.Definitions(
        assets=[
            local_folder,
            *_icloud_assets(days, icloud),
            *library_assets(days, icloud=icloud),
            *delivery,
            *syncthing_folder_asset([name for name, kind in destinations.items() if kind == PIXEL]),
            sorted_library_asset(days, verified),
            released_media_asset(days, verified),
        ],
        jobs=[chain_job],
        schedules=[
            pending_schedule(settings.runs.pending_minutes, gap),
            tier_schedule(settings.runs.tier_hour, gap, settings.timezone),
        ],
        sensors=[
            folder_sensor(settings.runs.sensor_seconds, gap),
            asked_run_sensor(gap),
            *([icloud_sensor(gap)] if icloud else []),
            *pixel_sensors(settings),
            *alert_sensors(settings),
        ],
        resources={
            "platform": PlatformResource(),
            "pipeline": PipelineResource.configure_at_launch(),
            **(resource_overrides or {}),
        },
        executor=dg.in_process_executor,
    )


def _icloud_assets(days: dg.PartitionsDefinition[str], wanted: bool) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    if not wanted:
        return []
    return [icloud_library, icloud_originals_asset(days), icloud_sidecars_asset(days)]


def _warn_without_home() -> None:
    if not home_is_set():
        logging.getLogger("dagster").warning(
            "This Dagster does not know the home of mediapipe-assets, so it will not show its runs. "
            "Run this first: eval $(mediapipe-assets env)"
        )


# Here begins every process of Dagster's that runs code of ours: the code server and each run.
redaction.install()
_warn_without_home()
defs = build_defs()
