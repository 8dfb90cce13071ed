"""The lists in which a library is shown: all photos, albums, favourites, Recently Deleted.

Belongs here: which assets a list holds and in which order. Does not belong here: requests (`photos`).

In every list rank 0 is the newest.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from services.icloud_standin.assets import EPOCH, Asset, Relation
from services.icloud_standin.contents import MOVIES
from services.icloud_standin.library import Library

CONTAINER = "container"
# By the record type of a query.
LISTS = {
    "CPLAssetAndMasterByAssetDateWithoutHiddenOrDeleted": "all",
    "CPLAssetAndMasterByAddedDate": "added",
    "CPLAssetAndMasterDeletedByExpungedDate": "deleted",
    "CPLAssetAndMasterHiddenByAssetDate": "hidden",
    "CPLAssetAndMasterInSmartAlbumByAssetDate": "smart",
    "CPLBurstStackAssetAndMasterByAssetDate": "bursts",
    "CPLContainerRelationLiveByAssetDate": CONTAINER,
    "CPLContainerRelationLiveByPosition": CONTAINER,
}
# By the beginning of what is counted; behind a colon stands which smart album or container.
COUNTS = {
    "CPLAssetByAssetDateWithoutHiddenOrDeleted": "all",
    "CPLAssetByAddedDate": "added",
    "CPLAssetDeletedByExpungedDate": "deleted",
    "CPLAssetHiddenByAssetDate": "hidden",
    "CPLAssetInSmartAlbumByAssetDate": "smart",
    "CPLAssetBurstStackAssetByAssetDate": "bursts",
    "CPLContainerRelationNotDeletedByAssetDate": CONTAINER,
}
_SMART: dict[str, Callable[[Asset], bool]] = {
    "FAVORITE": lambda asset: asset.favourite,
    "VIDEO": lambda asset: asset.master.original.file_type in MOVIES,
    "LIVE": lambda asset: asset.master.live is not None,
}


def listed(library: Library, index: str, parameter: str) -> list[Asset]:
    """Returns the assets of a list, newest first."""
    if index == "smart":
        fits = _SMART.get(parameter.upper(), _none)
        return library.ordered((index, parameter.upper()), lambda asset: _is_shown(asset) and fits(asset), _taken)
    if index == CONTAINER:
        return _in_album(library, parameter)
    chosen, moment = _PLAIN[index]
    return library.ordered(index, chosen, moment)


def _in_album(library: Library, album: str) -> list[Asset]:
    members = {relation.asset for relation in library.every(Relation) if relation.album.record_name == album}
    return library.ordered((CONTAINER, album), lambda asset: asset in members and not asset.deleted, _taken)


def _is_shown(asset: Asset) -> bool:
    return not asset.deleted and not asset.hidden


def _none(asset: Asset) -> bool:
    return False


def _taken(asset: Asset) -> datetime:
    return asset.taken or EPOCH


def _expunged(asset: Asset) -> datetime:
    return asset.expunged or EPOCH


_PLAIN: dict[str, tuple[Callable[[Asset], bool], Callable[[Asset], datetime]]] = {
    "all": (_is_shown, _taken),
    "added": (lambda asset: not asset.deleted, lambda asset: asset.added),
    "deleted": (lambda asset: asset.deleted, _expunged),
    "hidden": (lambda asset: asset.hidden and not asset.deleted, _taken),
    "bursts": (lambda asset: asset.burst is not None and not asset.deleted, _taken),
}
