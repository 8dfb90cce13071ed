"""The sample library of a first try.

Belongs here: choosing a home in which a try never mixes with real photos. Does not belong here:
making the pictures (`media.sample`).
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from mediapipe_assets.cli import say

PHOTOS = "sample-photos"


def prepare_sample() -> tuple[Path, ...]:
    """Makes the sample library at need.

    Returns:
        Its folder.

    Raises:
        click.UsageError: The home holds real photos.
    """
    from resources.settings import home_folder, load_settings

    if not os.environ.get("MEDIAPIPE_HOME"):
        os.environ["MEDIAPIPE_HOME"] = f"{home_folder()}-sample"
    home = home_folder()
    photos = home / PHOTOS
    settings = load_settings(home)
    others = [str(source.path) for source in settings.folder_sources.values() if source.path != photos]
    others += [f"iCloud (sources.{name})" for name in settings.icloud_sources]
    if others:
        raise click.UsageError(
            f"this home ({home}) watches {', '.join(others)}, and a sample should not mix with real photos. "
            "Choose another MEDIAPIPE_HOME, or say which folder to run over."
        )
    if not photos.exists():
        from media.sample import generate

        say(f"Making a small library of made-up photos in {photos}.")
        generate(photos)
    return (photos,)
