"""`pause` and `resume`: whether anything starts by itself.

Belongs here: the words of these commands. Does not belong here: what a pause means (`pipeline.switches`).
"""

from __future__ import annotations

import click

from mediapipe_assets.cli import OK, say


@click.command()
def pause() -> int:
    """Let nothing start by itself; runs under way take up no new file. A run that you start yourself works."""
    from mediapipe_assets.platform import open_platform
    from pipeline import switches

    with open_platform(prepare=True) as platform:
        since = switches.pause(platform.engine)
    say(
        f"{switches.pause_in_words(since)} Runs under way end after the files that they have in hand; what is left "
        "stays pending."
    )
    return OK


@click.command()
def resume() -> int:
    """End the pause; what has waited is taken up at once by a running `up`."""
    from mediapipe_assets.platform import open_platform
    from pipeline import switches

    with open_platform(prepare=True) as platform:
        resumed = switches.resume(platform.engine)
    say("It goes on; a running `up` takes up within a minute what has waited." if resumed else "It was not paused.")
    return OK
