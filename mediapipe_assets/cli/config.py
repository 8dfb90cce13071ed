"""`config show`: the settings that hold, and where each comes from.

Belongs here: showing settings, with secrets masked. Does not belong here: reading them
(`resources.settings`).
"""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from mediapipe_assets.cli import OK


@click.group()
def config() -> None:
    """Show the settings and where each comes from."""


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
def show(as_json: bool) -> int:
    """Show every setting with its value and its origin; secrets are masked."""
    from resources.settings import load_settings

    shown = load_settings().masked()
    if as_json:
        click.echo(json.dumps(shown, default=str))
        return OK
    table = Table("setting", "value", "from", box=None, padding=(0, 2, 0, 0))
    for key, one in shown.items():
        origin = one["from"] if not one["name"] else f"{one['from']} ({one['name']})"
        table.add_row(key, str(one["value"]), origin)
    Console(highlight=False, soft_wrap=True, markup=False).print(table)
    return OK
