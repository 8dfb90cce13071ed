"""What `doctor` says of the phones, and what `doctor --fix` sets up for them.

Belongs here: which phones are looked at, and the words around it. Does not belong here: the looking and the setting up
(`resources.syncthing_topology`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mediapipe_assets.cli.doctor import Look
    from resources.settings import PixelDestination, Settings
    from resources.syncthing_topology import Topology


def pixel_looks(settings: Settings, now: datetime, *, fix: bool) -> Iterator[Look]:
    """Yields how each phone and its folder stand.

    Args:
        settings: Of the home.
        now: The time that counts as now.
        fix: Set this side up first, and say what to do on the phone.
    """
    for name, pixel in settings.pixels.items():
        if pixel.enabled:
            yield from _of_one(name, pixel, settings, now, fix)


def _of_one(name: str, pixel: PixelDestination, settings: Settings, now: datetime, fix: bool) -> Iterator[Look]:
    from mediapipe_assets.cli.doctor import Look
    from resources.syncthing import Syncthing
    from resources.syncthing_topology import Topology

    title = f"destination {name}"
    if pixel.api_key is None:
        words = "no API key: set MEDIAPIPE_SYNCTHING__API_KEY, or a file that MEDIAPIPE_SYNCTHING__API_KEY_FILE names"
        yield Look(title, "problem", words if name == "pixel" else f"no API key of destinations.{name} is set")
        return
    with closing(Syncthing(pixel.url, pixel.api_key)) as syncthing:
        topology = Topology(syncthing, pixel)
        if fix:
            yield from _set_up(title, topology, settings, name)
        for one in topology.look(now):
            yield Look(f"{title}: {one.what}", one.verdict, one.words)


def _set_up(title: str, topology: Topology, settings: Settings, name: str) -> Iterator[Look]:
    from mediapipe_assets.cli.doctor import Look
    from resources.syncthing import SyncthingError

    try:
        done = topology.set_up(settings.home / "syncthing" / name)
        steps = topology.phone_steps()
    except SyncthingError as error:
        yield Look(f"{title}: set up", "problem", str(error))
        return
    yield Look(f"{title}: set up", "ok", " ".join(done) or "this side stood already; nothing was changed")
    for number, words in enumerate(steps, start=1):
        yield Look(f"{title}: step {number} on the phone", "step", words)
