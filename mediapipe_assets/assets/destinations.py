"""One set of assets for each destination, made by one factory.

Belongs here: `staged_media`, `uploaded_media`, `verified_media` of any destination, and the phone's folder between
two of them. Does not belong here: what makes a destination different (`resources`).
"""

from collections.abc import Sequence

import dagster as dg

from catalog.deliveries import stage_name
from catalog.renditions import COMPRESSED
from mediapipe_assets.assets.factory import OWNERS, stage_asset
from resources.settings_kinds import ICLOUD, PIXEL
from sensors.pixel import SYNCTHING_FOLDER

_WORDS = {
    "staged": "What goes to “{name}”: which bytes, under which name that never changes. Nothing is sent yet.",
    "uploaded": "Brought to “{name}”, written atomically, and acknowledged. A killed run is picked up where it was.",
    "verified": "Proven: read back from “{name}” and hashed. Only this counts as a copy.",
}
_ICLOUD_WORDS = {
    "staged": "What goes to iCloud (“{name}”), and what does not, with the reason. Nothing is sent yet.",
    "uploaded": (
        "Uploaded to iCloud, one at a time; journalled before it is sent, so that no photo comes there twice. A run "
        "never waits for Apple: what has to wait is pending, and a later run takes it up."
    ),
    "verified": (
        "Proven: Apple shows both records with the checksum of exactly these bytes, and lists the photo. Apple takes "
        "about 20 seconds for that, at times much longer; until then it is pending."
    ),
}
_PIXEL_WORDS = {
    "staged": (
        "What goes to the phone (“{name}”) next: never more bytes at once than its quota. Nothing is placed yet."
    ),
    "uploaded": "Placed in the folder that Syncthing shares with the phone (“{name}”), whole, and never changed there.",
    "verified": (
        "Delivered: Syncthing shows that the phone holds exactly these bytes. That is no proof of a backup in Google "
        "Photos. What was delivered long enough ago leaves the folder; the phone keeps it."
    ),
}
_WORDS_OF_KIND = {ICLOUD: _ICLOUD_WORDS, PIXEL: _PIXEL_WORDS}


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
    for step, words in _WORDS_OF_KIND.get(kind, _WORDS).items():
        asset = stage_asset(
            stage_name(name, step),
            deps=[before],
            group=f"destination_{name.replace('-', '_')}",
            kinds={kind},
            partitions=partitions,
            description=words.format(name=name),
            destination_kind=kind,
        )
        before = asset.key
        assets.append(asset)
    return assets


def syncthing_folder_asset(phones: Sequence[str]) -> list[dg.AssetSpec]:
    """Returns the folder that Syncthing shares with a phone, as the lineage page shows it; none without a phone.

    Args:
        phones: The destinations that are phones.
    """
    if not phones:
        return []
    return [
        dg.AssetSpec(
            SYNCTHING_FOLDER,
            deps=[dg.AssetKey([name, "uploaded_media"]) for name in phones],
            group_name=f"destination_{phones[0].replace('-', '_')}",
            kinds={PIXEL},
            owners=OWNERS,
            description=(
                "The folder that Syncthing shares with the phone, as Syncthing tells of it: whether the phone is "
                "connected and when it last was, what waits, and what is on it. That a file is on the phone is no "
                "proof of a backup in Google Photos."
            ),
        )
    ]
