"""From the sources to one kept file with its rendition.

Belongs here: `local_folder`, `folder_originals`, `deduplicated_media`, `compressed_media`,
`sorted_library`. Does not belong here: destinations (`mediapipe_assets.assets.destinations`).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from catalog.bundles import LIBRARY
from catalog.media import DEDUPLICATED
from catalog.renditions import COMPRESSED
from catalog.sources import ORIGINALS
from mediapipe_assets.checks import check_specs
from mediapipe_assets.platform import PipelineResource
from mediapipe_assets.stages import run_stage

OWNERS = ["team:family"]
LOCAL_FOLDER = "local_folder"

local_folder = dg.AssetSpec(
    LOCAL_FOLDER,
    group_name="sources",
    kinds={"folder"},
    owners=OWNERS,
    description=(
        "Your folders of photos and videos, as they are. The folder sensor looks at them and never writes there; "
        "what is new is recorded and asked for."
    ),
)


def library_assets(partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetsDefinition]:
    """Returns the assets between the sources and the destinations."""

    @dg.asset(
        name=ORIGINALS,
        check_specs=check_specs(ORIGINALS),
        deps=[LOCAL_FOLDER],
        group_name="library",
        kinds={"python", "postgres"},
        owners=OWNERS,
        code_version="1",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
        description=(
            "Every photo and video, whole and unchanged: read once, hashed while it is copied, dated by the day on "
            "which it was taken. Damaged files are kept and named; what is no media file is left where it is."
        ),
    )
    def folder_originals(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        yield from run_stage(context, pipeline, ORIGINALS)

    @dg.asset(
        name=DEDUPLICATED,
        check_specs=check_specs(DEDUPLICATED),
        deps=[ORIGINALS],
        group_name="library",
        kinds={"python", "postgres"},
        owners=OWNERS,
        code_version="1",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
        description=(
            "One kept file for each content. Live Photos, RAW + JPEG, edits and sidecars become bundles that travel "
            "together. Pictures that only look alike are proposed as pairs; nothing is merged."
        ),
    )
    def deduplicated_media(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        yield from run_stage(context, pipeline, DEDUPLICATED)

    @dg.asset(
        name=COMPRESSED,
        check_specs=check_specs(COMPRESSED),
        deps=[DEDUPLICATED],
        group_name="library",
        kinds={"python", "jpeg", "hevc"},
        owners=OWNERS,
        code_version="1",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
        description=(
            "A smaller rendition by the age of the photo, made from the original with all its metadata, or the "
            "original kept with the reason. Never larger, never from another rendition."
        ),
    )
    def compressed_media(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        yield from run_stage(context, pipeline, COMPRESSED)

    return [folder_originals, deduplicated_media, compressed_media]


def sorted_library_asset(
    partitions: dg.PartitionsDefinition[str], verified: Sequence[dg.AssetKey]
) -> dg.AssetsDefinition:
    """Returns the browsable tree, which shows only what is verified somewhere."""

    @dg.asset(
        name=LIBRARY,
        check_specs=check_specs(LIBRARY),
        deps=list(verified),
        group_name="browse",
        kinds={"folder"},
        owners=OWNERS,
        code_version="1",
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        output_required=False,
        description="A tree by date to browse, over the originals that have a proven copy. Links, not copies.",
    )
    def sorted_library(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        yield from run_stage(context, pipeline, LIBRARY)

    return sorted_library
