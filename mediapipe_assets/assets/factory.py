"""What every asset of the chain shares.

Belongs here: the one way in which a stage becomes an asset. Does not belong here: the words that
explain it, or its place in the lineage.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from mediapipe_assets.checks import check_specs
from mediapipe_assets.platform import PipelineResource
from mediapipe_assets.stages import run_stage

OWNERS = ["team:family"]


def stage_asset(
    stage: str,
    *,
    deps: Sequence[dg.AssetKey],
    group: str,
    kinds: set[str],
    partitions: dg.PartitionsDefinition[str],
    description: str,
    destination_kind: str | None = None,
    code_version: str = "1",
) -> dg.AssetsDefinition:
    """Returns the asset that works off a stage for the days of a run.

    Args:
        stage: The stage's name; its parts are the asset's key.
        deps: What comes before.
        group: The group of the lineage page.
        kinds: Badges.
        partitions: The days.
        description: What the lineage page says to somebody who has never seen it.
        destination_kind: What its destination is, for a stage of one.
        code_version: Raised when the same input would give another result.
    """

    @dg.asset(
        key=stage.split("/"),
        deps=list(deps),
        check_specs=check_specs(stage, destination_kind),
        group_name=group,
        kinds=kinds,
        owners=OWNERS,
        code_version=code_version,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
        description=description,
    )
    def work(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> Iterator[dg.MaterializeResult[Any]]:
        yield from run_stage(context, pipeline, stage)

    return work
