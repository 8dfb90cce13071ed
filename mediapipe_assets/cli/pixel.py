"""`mediapipe-assets pixel …`: how far a phone's photos came.

Belongs here: the group of these commands. Does not belong here: delivering (`mediapipe-assets run`).
"""

from __future__ import annotations

import click

from mediapipe_assets.cli.pixel_confirm import confirm


@click.group()
def pixel() -> None:
    """Say how far your photos came on the way to the phone, and look at it through Syncthing."""


pixel.add_command(confirm)
