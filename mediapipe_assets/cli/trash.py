"""`mediapipe-assets trash`: what was moved away, and deleting what has been there long enough.

Belongs here: the command and its words. Does not belong here: deleting (`pipeline.emptying`), or bringing a file back
(`mediapipe_assets.cli.undo`).
"""

from __future__ import annotations

import json

import click

from mediapipe_assets.cli import OK, say

NAMED_FILES = 20


@click.group()
def trash() -> None:
    """Delete what has been in the trash long enough; nothing is ever deleted by itself."""


@trash.command()
@click.option("--older-than", type=click.IntRange(min=1), help="Days; at least trash.keep_days, which is the default.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted; nothing is.")
@click.option("--yes", is_flag=True, help="Delete for good. Without it, or --dry-run, nothing is done.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def empty(older_than: int | None, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Delete for good what has been in the trash for longer than trash.keep_days.

    Only renditions of ours go, each only while its original and enough other copies of it were read just now.
    """
    from mediapipe_assets.platform import open_platform
    from pipeline.emptying import empty as empty_trash

    if not (yes or dry_run):
        raise click.UsageError("this deletes for good: look first with --dry-run, then say --yes")
    with open_platform(prepare=True) as platform:
        days = older_than or platform.settings.trash.keep_days
        if days < platform.settings.trash.keep_days:
            raise click.UsageError(
                f"trash.keep_days is {platform.settings.trash.keep_days}, and nothing younger is deleted; "
                "set that in mediapipe.toml first"
            )
        done = empty_trash(
            platform.engine,
            platform.roots,
            platform.originals,
            platform.destinations,
            platform.settings.release.copies,
            platform.today,
            days,
            dry_run=dry_run,
        )
    if as_json:
        stay = [{"path": str(path), "reason": reason} for path, reason in done.stay]
        click.echo(json.dumps({"dry_run": dry_run, "files": done.files, "bytes": done.bytes, "stay": stay}))
    what = "Would delete" if dry_run else "Deleted"
    say(f"{what} {done.files} files, {done.bytes / 1e6:.1f} MB, that have been in the trash for more than {days} days.")
    for path, reason in done.stay[:NAMED_FILES]:
        say(f"  {path} stays: {reason}")
    if len(done.stay) > NAMED_FILES:
        say(f"  … and {len(done.stay) - NAMED_FILES} more stay; --json names all")
    return OK
