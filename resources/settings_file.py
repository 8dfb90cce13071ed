"""Writes to `mediapipe.toml` what the platform itself has to remember there, and keeps everything a person wrote.

Belongs here: adding a source, and fixing what must not change after the first start. Does not belong here: reading
settings (`settings.py`); whoever writes here loads them again afterwards.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable

from media.files import atomic_write, make_folder
from resources.settings import Settings, SettingsError, load_settings
from resources.settings_layers import FILE_NAME, SHORTHANDS

HEADER = """\
# Settings of mediapipe-assets. Each one, with its default: docs/settings.md; those that hold now, and where each
# comes from: mediapipe-assets config show. Secrets do not belong here.
"""
_LONGEST_SLUG = 36  # leaves room for a number within the 40 characters of a name


def add_source(home: Path, path: Path, *, environ: Mapping[str, str] | None = None) -> str:
    """Makes `path` a source in the settings file, unless it is one already.

    Args:
        home: The folder of all state.
        path: The folder of photos; a relative one is relative to the working folder.
        environ: In place of the process's environment.

    Returns:
        The source's name.

    Raises:
        SettingsError: The settings cannot be read, or would not hold with this source; nothing was written.
    """
    with _locked(home):
        name, folder = _named(path, load_settings(home, environ=environ))
        if folder is None:
            return name
        load_settings(home, overrides={"sources": {name: {"path": folder}}}, environ=environ)
        document = _read(home / FILE_NAME)
        table = document.setdefault("sources", tomlkit.table(is_super_table=True))
        table[name] = tomlkit.inline_table() if isinstance(table, InlineTable) else tomlkit.table()
        table[name]["path"] = str(folder)
        _write(home / FILE_NAME, document)
    return name


def as_sources(
    home: Path, paths: Sequence[Path], *, environ: Mapping[str, str] | None = None
) -> tuple[list[str], dict[str, object]]:
    """Returns what `add_source` would make of folders, without writing anything.

    Args:
        home: The folder of all state.
        paths: The folders of photos.
        environ: In place of the process's environment.

    Returns:
        The sources' names, and the overrides with which `load_settings` has them.

    Raises:
        SettingsError: The settings cannot be read, or would not hold with these sources.
    """
    names: list[str] = []
    added: dict[str, object] = {}
    for path in paths:
        name, folder = _named(path, load_settings(home, overrides={"sources": added}, environ=environ))
        names.append(name)
        if folder is not None:
            added[name] = {"path": folder}
    load_settings(home, overrides={"sources": added}, environ=environ)
    return names, {"sources": added} if added else {}


def _named(path: Path, settings: Settings) -> tuple[str, Path | None]:
    """Returns the name of a folder as a source, and the folder where it is none yet."""
    folder = Path(os.path.abspath(os.path.expanduser(path)))
    real = os.path.realpath(folder)
    for name, source in settings.folder_sources.items():
        if os.path.realpath(source.path) == real:
            return name, None
    # What has a shorthand in the environment is no name for a folder.
    return _free_name(folder.name, {*settings.sources, *SHORTHANDS}), folder


def record_first_start(home: Path, timezone: str, start_date: date) -> None:
    """Writes `timezone` and `start_date` to the settings file where they are absent, so that they stay as they are.

    Args:
        home: The folder of all state.
        timezone: The time zone by its IANA name.
        start_date: The first date of the partitions.

    Raises:
        SettingsError: The settings file cannot be read; nothing was written.
    """
    with _locked(home):
        document = _read(home / FILE_NAME)
        absent = {
            key: value for key, value in {"timezone": timezone, "start_date": start_date}.items() if key not in document
        }
        for key, value in absent.items():
            document[key] = value
        if absent:
            _write(home / FILE_NAME, document)


def set_telegram_chat(home: Path, chat_id: int, sender: int | None = None) -> None:
    """Writes the chat that the bot speaks in to the settings file.

    Args:
        home: The folder of all state.
        chat_id: The chat.
        sender: In a group, who may give orders there beside those of before.

    Raises:
        SettingsError: The settings file cannot be read; nothing was written.
    """
    with _locked(home):
        document = _read(home / FILE_NAME)
        table = document.setdefault("telegram", tomlkit.table())
        table["chat_id"] = chat_id
        if sender is not None:
            table["senders"] = [*{*table.get("senders", []), sender}]
        _write(home / FILE_NAME, document)


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Lets one process at a time read, change and write the file: `run` and `up` may start together."""
    make_folder(home)
    handle = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(file: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(file.read_text("utf-8"))
    except FileNotFoundError:
        return tomlkit.parse(HEADER)
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error


def _write(file: Path, document: tomlkit.TOMLDocument) -> None:
    text = tomlkit.dumps(document)
    if tomllib.loads(text) != document.unwrap():
        raise SettingsError(f"{file} is laid out in a way that cannot be added to; write it yourself:\n{text}")
    target = Path(os.path.realpath(file))  # a link into somebody's dotfiles stays a link
    mode = target.stat().st_mode & 0o777 if target.exists() else None
    with atomic_write(target, f"settings-{os.getpid()}") as handle:
        if mode is not None:
            os.fchmod(handle.fileno(), mode)
        handle.write(text.encode())


def _free_name(folder_name: str, taken: set[str]) -> str:
    plain = unicodedata.normalize("NFKD", folder_name).encode("ascii", "ignore").decode().lower()
    # No hyphen, which no shell takes in a variable's name, and no double underscore, which parts the levels there.
    slug = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:_LONGEST_SLUG].strip("_") or "photos"
    names = (slug, *(f"{slug}_{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)
