"""`mediapipe-assets undo`: a file comes back from a trash to where it stood.

Belongs here: the command and its words. Does not belong here: finding and moving the file (`pipeline.trash`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from mediapipe_assets.cli import OK, say


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def undo(file: Path, as_json: bool) -> int:
    """Bring a file back from a trash: FILE is its path there, or the path that it had."""
    from mediapipe_assets.platform import open_platform
    from pipeline.trash import NotMoved, find_trashed, undo_release

    given = Path(os.path.abspath(file.expanduser()))
    with open_platform(prepare=True) as platform:
        found = find_trashed(platform.roots, given)
        if found is None:
            raise click.ClickException(f"{given} is in no trash, and nothing that stood there is.")
        try:
            undo_release(platform.engine, found)
        except NotMoved as error:
            raise click.ClickException(f"Nothing was moved: {error}.") from error
    if as_json:
        click.echo(json.dumps({"from": str(found.path), "to": str(found.original)}))
    say(f"Brought back: {found.path} → {found.original}. It is not moved away again by itself.")
    return OK
