"""How much room a run would need, told before anything is written.

Belongs here: the estimate. Does not belong here: what to do about a lack of it.
"""

from __future__ import annotations

from catalog import sources
from pipeline import layout
from pipeline.assembly import Platform
from pipeline.planning import Shortage, shortages

# The largest share of an original that a rendition may have, and a little for thumbnails and the catalog.
RENDITION_SHARE = 0.9
THUMBNAIL_BYTES = 40_000
CATALOG_BYTES = 10_000


def estimate(platform: Platform) -> list[Shortage]:
    """Returns the disks on which storing and delivering what is observed would find no room."""
    with platform.engine.connect() as connection:
        files, size = sources.unresolved_bytes(connection)
    renditions = int(size * RENDITION_SHARE) if platform.tiers else 0
    copied = any(spec.copied for spec in platform.sources.values())
    writes = [
        (platform.roots[layout.ORIGINALS], size if copied else 0),
        (platform.roots[layout.RENDITIONS], renditions),
        (platform.roots[layout.THUMBNAILS], files * THUMBNAIL_BYTES),
        (platform.settings.home, files * CATALOG_BYTES),
    ]
    for name, destination in platform.destinations.items():
        share = {"original": size, "rendition": size, "both": size + renditions}[destination.deliver_what]
        if (root := platform.roots.get(f"destination:{name}")) is not None:  # else it is no disk of ours
            writes.append((root, share))
    return shortages(writes)
