"""One set of assets for each destination, made by one factory.

Belongs here: `staged_media`, `uploaded_media`, `verified_media` of any destination. Does not belong
here: what makes a destination different (`resources`).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from catalog.deliveries import stage_name
from catalog.renditions import COMPRESSED
from mediapipe_assets.assets.library import OWNERS
from mediapipe_assets.checks import check_specs
from mediapipe_assets.platform import PipelineResource
from mediapipe_assets.stages import run_stage

_WORDS = {
    "staged": "What goes to “{name}”: which bytes, under which name that never changes. Nothing is sent yet.",
    "uploaded": "Brought to “{name}”, written atomically, and acknowledged. A killed run is picked up where it was.",
    "verified": "Proven: read back from “{name}” and hashed. Only this counts as a copy.",
}


def verified_key(name: str) -> dg.AssetKey:
    """Returns the key of what is proven to be at a destination."""
    return dg.AssetKey([name, "verified_media"])


def destination_assets(name: str, kind: str, partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """Returns the three assets of a destination.

    Args:
        name: Its name in the settings; also the key's prefix and the group.
        kind: What it is, shown as a badge.
        partitions: The days.
    """
    before = dg.AssetKey([COMPRESSED])
    assets = []
    for step in ("staged", "uploaded", "verified"):
        asset = _step(name, kind, step, before, partitions)
        before = asset.key
        assets.append(asset)
    return assets


def _step(
    name: str, kind: str, step: str, before: dg.AssetKey, partitions: dg.PartitionsDefinition[str]
) -> dg.AssetsDefinition:
    @dg.asset(
        key=[name, f"{step}_media"],
        deps=[before],
        check_specs=check_specs(stage_name(name, step)),
        group_name=f"destination_{name.replace('-', '_')}",
        kinds={kind},
        owners=OWNERS,
        code_version="1",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
        description=_WORDS[step].format(name=name),
    )
    def delivery_step(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        yield from run_stage(context, pipeline, stage_name(name, step))

    return delivery_step
