"""From the sources to one kept file with its rendition, and the tree to browse.

Belongs here: `local_folder`, `icloud_library`, `folder_originals`, `icloud_originals`, `icloud_sidecars`,
`deduplicated_media`, `compressed_media`, `sorted_library`, `released_media`. Does not belong here: destinations
(`mediapipe_assets.assets.destinations`).
"""

from collections.abc import Sequence

import dagster as dg

from catalog.bundles import LIBRARY
from catalog.media import DEDUPLICATED
from catalog.renditions import COMPRESSED, RELEASED
from catalog.sidecars import SIDECARS
from catalog.sources import ICLOUD_ORIGINALS, ORIGINALS
from mediapipe_assets.assets.factory import OWNERS, stage_asset
from sensors.folder import LOCAL_FOLDER
from sensors.icloud import ICLOUD_LIBRARY

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


icloud_library = dg.AssetSpec(
    ICLOUD_LIBRARY,
    group_name="sources",
    kinds={"icloud"},
    owners=OWNERS,
    description=(
        "Your photos in iCloud, as Apple lists them. What is new, edited or imported late is recorded under the day on "
        "which it was taken; what was deleted there is recorded, and deletes nothing here."
    ),
)


def icloud_originals_asset(partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """Returns the asset that downloads from iCloud."""
    return stage_asset(
        ICLOUD_ORIGINALS,
        deps=[dg.AssetKey(ICLOUD_LIBRARY)],
        group="library",
        kinds={"icloud", "postgres"},
        partitions=partitions,
        description=(
            "Every file of every photo in iCloud: the original, its edit, the film of a Live Photo, the RAW of a pair. "
            "Downloaded whole, and proven equal to Apple's own checksum."
        ),
    )


def icloud_sidecars_asset(partitions: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """Returns the asset that writes what iCloud knows beside the originals."""
    return stage_asset(
        SIDECARS,
        deps=[dg.AssetKey(ICLOUD_ORIGINALS)],
        group="library",
        kinds={"xml", "postgres"},
        partitions=partitions,
        description=(
            "What iCloud knows of a photo as an XMP file beside its original: title, caption, albums, favourite, "
            "hidden, place and date. Written again when that changes in iCloud; one that is not ours is left alone."
        ),
    )


def library_assets(partitions: dg.PartitionsDefinition[str], *, icloud: bool = False) -> list[dg.AssetsDefinition]:
    """Returns the assets between the sources and the destinations.

    Args:
        partitions: The days.
        icloud: Whether photos also come from iCloud.
    """
    originals = [dg.AssetKey(ORIGINALS), *([dg.AssetKey(ICLOUD_ORIGINALS)] if icloud else [])]
    return [
        stage_asset(
            ORIGINALS,
            deps=[dg.AssetKey(LOCAL_FOLDER)],
            group="library",
            kinds={"python", "postgres"},
            partitions=partitions,
            description=(
                "Every photo and video, whole and unchanged: read once, hashed while it is copied, dated by the day on "
                "which it was taken. Damaged files are kept and named; what is no media file is left where it is."
            ),
        ),
        stage_asset(
            DEDUPLICATED,
            deps=originals,
            group="library",
            kinds={"python", "postgres"},
            partitions=partitions,
            description=(
                "One kept file for each content. Live Photos, RAW + JPEG, edits and sidecars become bundles that "
                "travel together. Pictures that only look alike are proposed as pairs; nothing is merged."
            ),
        ),
        stage_asset(
            COMPRESSED,
            deps=[dg.AssetKey(DEDUPLICATED)],
            group="library",
            kinds={"python", "jpeg", "hevc"},
            partitions=partitions,
            description=(
                "A smaller rendition by the age of the photo, made from the original with all its metadata, or the "
                "original kept with the reason. Never larger, never from another rendition."
            ),
        ),
    ]


def sorted_library_asset(
    partitions: dg.PartitionsDefinition[str], verified: Sequence[dg.AssetKey]
) -> dg.AssetsDefinition:
    """Returns the browsable tree, which shows only what is verified somewhere."""
    return stage_asset(
        LIBRARY,
        deps=verified,
        group="browse",
        kinds={"folder"},
        partitions=partitions,
        description="A tree by date to browse, over the originals that have a proven copy. Links, not copies.",
    )


def released_media_asset(
    partitions: dg.PartitionsDefinition[str], verified: Sequence[dg.AssetKey]
) -> dg.AssetsDefinition:
    """Returns what has left its place for the trash, on proof; switched off unless the settings say otherwise."""
    return stage_asset(
        RELEASED,
        deps=list(verified),
        group="browse",
        kinds={"folder"},
        partitions=partitions,
        description=(
            "Renditions that a newer one has replaced, moved to the trash once copies of exactly their bytes are "
            "proven anew; `mediapipe-assets undo` brings them back. Originals never leave. Off by default."
        ),
    )
