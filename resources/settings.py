"""The one typed model of all settings: what can be set, its default, and what is allowed.

Belongs here: `Settings`, the rules between its sections, and `load_settings`, which puts the layers on top of each
other: defaults < `<home>/mediapipe.toml` < environment < command line or Launchpad. Does not belong here: the fields
of a section (`settings_sections.py`, `settings_icloud.py`, `settings_alerts.py`), how a layer is read
(`settings_layers.py`) and an error put into words (`settings_words.py`), writing the file (`settings_file.py`).

Nothing is read at import: each call of `load_settings` sees the file and the environment as they are then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from resources import redaction
from resources import settings_layers as layers
from resources import settings_schema as schema
from resources.settings_alerts import NotifySettings, TelegramSettings
from resources.settings_icloud import ICloudDestination, ICloudSource, account_of, icloud_problems
from resources.settings_kinds import ARCHIVE, DESTINATION_KINDS, SOURCE_KINDS, Destination, Source
from resources.settings_layers import Origin, SettingsError
from resources.settings_pixel import PixelDestination
from resources.settings_sections import (
    ArchiveDestination,
    CompressionSettings,
    ComputeSettings,
    DeduplicationSettings,
    FolderSource,
    LibrarySettings,
    Name,
    ReleaseSettings,
    RootsSettings,
    RunsSettings,
    TierSettings,
    TrashSettings,
    WebSettings,
)
from resources.settings_words import in_words

__all__ = [
    "ArchiveDestination",
    "CompressionSettings",
    "ComputeSettings",
    "DeduplicationSettings",
    "Destination",
    "FolderSource",
    "ICloudDestination",
    "ICloudSource",
    "LibrarySettings",
    "NotifySettings",
    "PixelDestination",
    "ReleaseSettings",
    "RootsSettings",
    "RunsSettings",
    "Settings",
    "SettingsError",
    "Source",
    "TelegramSettings",
    "TierSettings",
    "TrashSettings",
    "WebSettings",
    "account_of",
    "describe",
    "home_folder",
    "load_settings",
]


OUR_FOLDERS = ("database", "dagster", "logs", "run", "backups", "icloud")  # what else we write below the home


class Settings(BaseSettings):
    """Every setting, as loaded: paths are absolute, names are known, secrets are masked wherever shown."""

    model_config = SettingsConfigDict(
        env_prefix=layers.PREFIX, env_nested_delimiter=layers.LEVEL, env_ignore_empty=True, extra="forbid", frozen=True
    )

    home: Path = Field(description="The folder of all state. `--home` or `MEDIAPIPE_HOME`; never in the file.")
    timezone: str = Field(default="UTC", description="Time zone of files that give only UTC; recorded at first start.")
    start_date: date = Field(
        default=date(1990, 1, 1),
        description="First date of the partitions; fixed at first start. Older dates belong to it.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL to use in place of the embedded one. A password only by environment or `_FILE`.",
    )
    roots: RootsSettings = Field(default_factory=RootsSettings)
    sources: dict[Name, Source] = Field(default_factory=dict, description="Where photos come from, by name.")
    destinations: dict[Name, Destination] = Field(
        default_factory=dict,
        description="Where photos go, by name. One of kind `archive`, called `archive`, is there unless another of "
        "that kind is named; `destinations.archive.enabled` switches it off.",
    )
    deduplication: DeduplicationSettings = Field(default_factory=DeduplicationSettings)
    compression: CompressionSettings = Field(default_factory=CompressionSettings)
    library: LibrarySettings = Field(default_factory=LibrarySettings)
    release: ReleaseSettings = Field(default_factory=ReleaseSettings)
    trash: TrashSettings = Field(default_factory=TrashSettings)
    runs: RunsSettings = Field(default_factory=RunsSettings)
    compute: ComputeSettings = Field(default_factory=ComputeSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    telegram: TelegramSettings = Field(default_factory=TelegramSettings)
    notify: NotifySettings = Field(default_factory=NotifySettings)

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Takes only what `load_settings` hands in: it read the layers, and knows which value came from where."""
        return (init_settings,)

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("must be a time zone by its IANA name, such as UTC or Europe/Berlin") from error
        return name

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("postgresql://", "postgres://", "postgresql+")):
            raise ValueError("must be a PostgreSQL address, such as postgresql://user@host/database")
        return url

    @model_validator(mode="before")
    @classmethod
    def _resolve_folders(cls, data: Any) -> Any:
        return _resolved(data) if isinstance(data, dict) and "home" in data else data

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = [*_overlaps(self), *icloud_problems(self.icloud_sources, self.icloud_destinations)]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def folder_sources(self) -> dict[str, FolderSource]:
        """The sources that are folders, by name."""
        return {name: entry for name, entry in self.sources.items() if isinstance(entry, FolderSource)}

    @property
    def icloud_sources(self) -> dict[str, ICloudSource]:
        """The sources that are iCloud libraries, by name."""
        return {name: entry for name, entry in self.sources.items() if isinstance(entry, ICloudSource)}

    @property
    def archives(self) -> dict[str, ArchiveDestination]:
        """The destinations that are archives, by name."""
        return {name: entry for name, entry in self.destinations.items() if isinstance(entry, ArchiveDestination)}

    @property
    def icloud_destinations(self) -> dict[str, ICloudDestination]:
        """The destinations that are iCloud libraries, by name."""
        return {name: entry for name, entry in self.destinations.items() if isinstance(entry, ICloudDestination)}

    @property
    def pixels(self) -> dict[str, PixelDestination]:
        """The destinations that are phones, by name."""
        return {name: entry for name, entry in self.destinations.items() if isinstance(entry, PixelDestination)}

    @property
    def tells_somebody(self) -> bool:
        """Whether there is any channel for alerts."""
        return self.telegram.is_connected or bool(self.notify.addresses)

    @property
    def file(self) -> Path:
        """The settings file, whether or not it exists."""
        return self.home / layers.FILE_NAME

    def masked(self) -> dict[str, dict[str, Any]]:
        """Returns every setting by its dotted key, for showing: no secret is in it.

        Returns:
            For each key a JSON-able `value`, its origin in `from` (default, file, environment, credential or command
            line), and in `name` the file or variable that it came from.
        """
        shown: dict[str, dict[str, Any]] = {}
        for key, value in layers.leaves(self.model_dump(mode="json")):
            origin = layers.origin_of(self._origins, key)
            secret = schema.is_secret(Settings, key.split("."))
            visible = redaction.MASK if secret and value is not None else value
            shown[key] = {"value": visible, "from": origin.layer, "name": origin.name}
        return shown


def home_folder(home: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Returns the folder of all state: the given one, else `MEDIAPIPE_HOME`, else the one in the user's data folder."""
    env = os.environ if environ is None else environ
    data = env.get("XDG_DATA_HOME") or os.path.join(env.get("HOME") or "~", ".local", "share")
    chosen = home or env.get("MEDIAPIPE_HOME") or os.path.join(data, "mediapipe-assets")
    return Path(os.path.abspath(os.path.expanduser(chosen)))


def load_settings(
    home: Path | None = None,
    *,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Reads all layers and returns the settings that hold now; their secrets are redacted from then on.

    Args:
        home: The folder of all state, see `home_folder`.
        overrides: What the command line or the Launchpad says, nested like the file.
        environ: In place of the process's environment.

    Raises:
        SettingsError: Something unknown, wrong or dangerous was set; the message names every such setting, where it
            was set, and what is allowed.
    """
    env = os.environ if environ is None else environ
    folder = home_folder(home, env)
    merged = layers.read_layers(Settings, folder / layers.FILE_NAME, env, overrides or {})
    try:
        settings = Settings(**{**merged.values, "home": folder})
    except ValidationError as error:
        raise SettingsError(in_words(Settings, error, merged)) from None
    where = layers.HOME_GIVEN if home else layers.HOME_ENVIRONMENT if env.get("MEDIAPIPE_HOME") else layers.DEFAULT
    redaction.hide_secrets_of(settings)
    settings._origins.update(merged.origins | {"home": where})
    return settings


def describe() -> list[tuple[str, str, str, str]]:
    """Returns key, type, default and description of every setting, for the documentation."""
    return list(schema.described(Settings))


def _resolved(data: dict[str, Any]) -> dict[str, Any]:
    """Makes the paths of roots and archives absolute, and fills in what depends on the home or on an entry's name."""
    home = Path(data["home"])
    roots = data.get("roots", {})
    if isinstance(roots, dict):
        named = {name: field.default for name, field in RootsSettings.model_fields.items()} | roots
        roots = {name: _under(home, value) for name, value in named.items()}
    sources, destinations = data.get("sources", {}), data.get("destinations", {})
    if isinstance(sources, dict):
        sources = {name: SOURCE_KINDS.fill(name, entry) for name, entry in sources.items()}
    if isinstance(destinations, dict):
        filled = {name: DESTINATION_KINDS.fill(name, entry) for name, entry in _with_archive(destinations).items()}
        destinations = {name: _with_path(home, name, entry) for name, entry in filled.items()}
    return {**data, "roots": roots, "sources": sources, "destinations": destinations}


def _with_archive(destinations: dict[str, Any]) -> dict[str, Any]:
    """Adds the archive that there is unless another one is named: only an archive stands in for an archive."""
    named = any(DESTINATION_KINDS.of(name, entry) == ARCHIVE for name, entry in destinations.items())
    return destinations if named else {ARCHIVE: {}, **destinations}


def _with_path(home: Path, name: str, destination: Any) -> Any:
    if not isinstance(destination, dict) or destination["kind"] != ARCHIVE:
        return destination
    filled = {"path": ARCHIVE, **destination} if name == ARCHIVE else destination
    return {**filled, "path": _under(home, filled["path"])} if "path" in filled else filled


def _under(home: Path, path: Any) -> Any:
    return Path(os.path.abspath(home / os.path.expanduser(path))) if isinstance(path, str | Path) else path


def _overlaps(settings: Settings) -> list[str]:
    roots = {f"roots.{name}": path for name, path in settings.roots}
    ours = roots | {f"destinations.{name}.path": entry.path for name, entry in settings.archives.items()}
    ours |= {
        f"destinations.{name}.folder_path": one.folder_path for name, one in settings.pixels.items() if one.folder_path
    }
    real = {name: Path(os.path.realpath(path)) for name, path in ours.items()}
    problems = [
        f"{one} ({ours[one]}) and {other} ({ours[other]}) overlap: each needs a folder of its own"
        for index, one in enumerate(ours)
        for other in list(ours)[index + 1 :]
        if _nested(real[one], real[other])
    ]
    home = Path(os.path.realpath(settings.home))
    mine = real | {f"home/{name}": home / name for name in OUR_FOLDERS} | {"home": home}
    for name, source in settings.folder_sources.items():
        path = Path(os.path.realpath(source.path))
        # A folder of its own inside the home holds nothing of ours: the sample library stands in one.
        inside = [key for key, folder in mine.items() if path.is_relative_to(folder) and key != "home"]
        around = [key for key, folder in mine.items() if folder.is_relative_to(path)]
        clash = next(iter(inside + around), None) if source.enabled else None
        if clash:
            problems.append(
                f"sources.{name}.path ({source.path}) overlaps {clash} ({ours.get(clash, settings.home)}): what we "
                "write would be taken in again; choose folders that do not hold each other"
            )
    return problems


def _nested(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
