"""Reads the layers of settings, and knows where each value came from.

Belongs here: the file, the environment with its shorthands, `_FILE` secrets and systemd credentials, and merging. Does
not belong here: which settings exist (`settings.py`, asked through `settings_schema.py`), the words for what is wrong
with a value (`settings_words.py`).
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from resources import settings_schema as schema

PREFIX = "MEDIAPIPE_"
LEVEL = "__"
FILE_NAME = "mediapipe.toml"
# Ours, but read by whoever needs them and not by the settings model.
NOT_SETTINGS = ("MEDIAPIPE_HOME", "MEDIAPIPE_DAGSTER_URL", "MEDIAPIPE_CORPUS")
# What a variable, or a credential, may begin with in place of the entry's whole key.
SHORTHANDS = {"icloud": "sources.icloud", "syncthing": "destinations.pixel"}


T = TypeVar("T")


class SettingsError(Exception):
    """Something was set that cannot be used; the message says where, what, and what is allowed."""


class Origin(NamedTuple):
    """Where a value came from: the layer, and the file or variable in it."""

    layer: Literal["default", "file", "environment", "credential", "command line"]
    name: str = ""


DEFAULT = Origin("default")
COMMAND_LINE = Origin("command line")
HOME_GIVEN = Origin("command line", "--home")
HOME_ENVIRONMENT = Origin("environment", "MEDIAPIPE_HOME")


@dataclass
class Merged:
    """The layers on top of each other, with the origin of each value by its dotted key."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, Origin] = field(default_factory=dict)


class _Environment(EnvSettingsSource):
    """The environment as pydantic-settings reads it, but of a given mapping, and never silent about bad JSON."""

    def __init__(self, model: type[BaseSettings], variables: Mapping[str, str]) -> None:
        self._variables = variables
        super().__init__(model)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._variables.items() if value}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Reads JSON; other text is passed on, and validation says what is wrong with it."""
        try:
            return json.loads(value)
        except ValueError:
            return value


def read_layers(
    model: type[BaseSettings], file: Path, environ: Mapping[str, str], overrides: Mapping[str, object]
) -> Merged:
    """Reads credentials, file, environment and overrides and merges them, later ones over earlier ones.

    Raises:
        SettingsError: A layer cannot be read, or holds what does not exist or does not belong there.
    """
    in_file, given = _read_file(file), _tidy_overrides(overrides)
    environment = _read_environment(model, environ)
    # What a key means may depend on the kind of its entry, which any layer may tell.
    everything = _deep(_deep(in_file, environment.values), given)
    problems = environment.problems(model, everything)
    problems += [f"{file}: {words}" for words in _unknown(model, in_file, everything)]
    problems += [f"command line: {words}" for words in _unknown(model, given, everything)]
    problems += [f"{file}: {words}" for words in _secrets_in_file(model, in_file)]
    credentials = _credentials(model, environ, everything, problems)
    if problems:
        raise SettingsError(listed(problems))
    merged = Merged()
    _lay(merged, in_file, _always(Origin("file", str(file))))
    for key, (secret, origin) in credentials.items():
        _lay(merged, _nest(key, secret), _always(origin))
    _lay(merged, environment.values, lambda key: Origin("environment", environment.names.get(key, "")))
    _lay(merged, given, _always(COMMAND_LINE))
    return merged


# --- reading -----------------------------------------------------------------------------------------------------


def _read_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not valid TOML: {error}") from error


@dataclass
class _Variables:
    """What the environment sets.

    Attributes:
        values: The values, nested.
        names: The variable that set each value, by the value's dotted key.
        unknown: Variables of ours that are no settings.
        clashes: A sentence for each two variables that cannot both be set.
    """

    values: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    clashes: list[str] = field(default_factory=list)

    def lay(self, values: dict[str, Any], name_of: Callable[[str], str]) -> None:
        """Adds what another spelling of the variables sets; both may be set only to the same value."""
        before = dict(leaves(self.values))
        for key, value in leaves(values):
            name = name_of(key)
            # A text where another spelling sets a table, or the other way round, would be lost without a word.
            for met in (one for one in before if f"{one}.".startswith(f"{key}.") or f"{key}.".startswith(f"{one}.")):
                other = self.names[met]
                if other.endswith("_FILE") != name.endswith("_FILE"):
                    self.clashes.append(f"{other} and {name} are both set: keep one of them")
                elif str(before[met]) != str(value) and {} not in (before[met], value):
                    self.clashes.append(f"{other} and {name} are both set, to different values: keep one of them")
            self.names.setdefault(key, name)
        self.values = _deep(self.values, values)

    def problems(self, model: type[BaseModel], everything: Mapping[str, Any]) -> list[str]:
        """Returns a sentence for each variable that cannot be used."""
        paths = [list(path) for path in schema.unknown_paths(model, self.values, everything)]
        setters = [(path, self.names.get(".".join(path), "")) for path in paths]
        return [
            *(_unknown_variable(model, name, everything) for name in self.unknown),
            *(
                _unknown_variable(model, name, everything)
                if _path_of(name.removesuffix("_FILE")) == path
                else f"environment: {schema.no_setting(model, path, everything)}"
                for path, name in setters
            ),
            *self.clashes,
        ]


def _read_environment(model: type[BaseSettings], environ: Mapping[str, str]) -> _Variables:
    found = _Variables()
    in_full: dict[str, str] = {}
    shorthand: dict[str, str] = {}
    files: dict[str, str] = {}
    for name in (name for name in environ if name.startswith(PREFIX) and name not in NOT_SETTINGS):
        path = _path_of(name)
        full = variable_name(".".join(path))
        if _names_secret_file(model, name):
            files[name] = environ[name]
        elif not schema.exists(model, path):
            found.unknown.append(name)
        elif environ[name]:
            (in_full if full == name.upper() else shorthand)[full] = name
    for spelling in (in_full, shorthand):
        # Sorted, so that a whole table as JSON is read before what is set within it, and does not take its place.
        read = _Environment(model, {full: environ[name] for full, name in sorted(spelling.items())})()
        found.lay(read, partial(_variable_of, variables=spelling))
    for name, file in files.items():
        if file:
            key = ".".join(_path_of(name.removesuffix("_FILE")))
            found.lay(_nest(key, _read_secret(Path(file), name)), _always(name))
    return found


def _path_of(name: str) -> list[str]:
    """Returns the path of keys that a variable stands for, spelt in full or not."""
    head, *rest = name.removeprefix(PREFIX).lower().split(LEVEL)
    return [*SHORTHANDS.get(head, head).split("."), *rest]


def _names_secret_file(model: type[BaseModel], name: str) -> bool:
    return name.endswith("_FILE") and schema.is_secret(model, _path_of(name.removesuffix("_FILE")))


def _unknown_variable(model: type[BaseModel], name: str, everything: Mapping[str, Any]) -> str:
    head, *rest = name.removeprefix(PREFIX).lower().split(LEVEL)
    like = difflib.get_close_matches(head, [*SHORTHANDS, *model.model_fields], 1)
    short = bool(like) and like[0] in SHORTHANDS
    path = [*SHORTHANDS[like[0]].split("."), *rest] if short else [head, *rest]
    key = schema.nearest(model, path, everything)
    return (
        f"the environment variable {name} is no setting; "
        f"the nearest is {variable_name(_shortened(key) if short else key)}"
    )


def _shortened(key: str) -> str:
    """Returns a dotted key with its shorthand, if there is one."""
    found = [short + key.removeprefix(full) for short, full in SHORTHANDS.items() if key.startswith(f"{full}.")]
    return found[0] if found else key


def _credentials(
    model: type[BaseSettings], environ: Mapping[str, str], everything: Mapping[str, Any], problems: list[str]
) -> dict[str, tuple[str, Origin]]:
    found: dict[str, tuple[str, Origin]] = {}
    folder = environ.get("CREDENTIALS_DIRECTORY")
    for key in schema.secret_keys(model, everything) if folder else ():
        files = [Path(str(folder), spelt.replace(".", "_")) for spelt in dict.fromkeys((key, _shortened(key)))]
        for file in (file for file in files if file.is_file()):
            secret = _read_secret(file, "credential")
            first, origin = found.setdefault(key, (secret, Origin("credential", str(file))))
            if first != secret:
                problems.append(f"{origin.name} and {file} are both set, to different values: keep one of them")
    return found


def _read_secret(file: Path, what: str) -> str:
    try:
        secret = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{what}: {file} cannot be read: {getattr(error, 'strerror', 'it is no text')}") from error
    if not secret:
        raise SettingsError(f"{what}: {file} is empty")
    return secret


def _unknown(model: type[BaseModel], values: Mapping[str, Any], everything: Mapping[str, Any]) -> list[str]:
    return [schema.no_setting(model, path, everything) for path in schema.unknown_paths(model, values, everything)]


def _secrets_in_file(model: type[BaseModel], values: dict[str, Any]) -> list[str]:
    return [
        f"{key} holds a password, which does not belong in a file that is shown and copied: put it into "
        f"{variable_name(_shortened(key))}, or into a file of its own that {variable_name(_shortened(key))}_FILE names"
        for key, value in leaves(values)
        if schema.is_secret(model, key.split(".")) and _holds_password(key, str(value))
    ]


def _holds_password(key: str, value: str) -> bool:
    if not key.endswith("_url"):
        return bool(value)
    try:
        parts = urlsplit(value)
        return bool(parts.password) or "password" in parse_qs(parts.query)
    except ValueError:
        return True  # what cannot be taken apart might hold one


def _tidy_overrides(overrides: Mapping[str, object]) -> dict[str, Any]:
    """Drops what was not given, and takes a source's path as a person types it: relative to where they are."""
    given = _without_none(overrides)
    sources = given.get("sources")
    for source in sources.values() if isinstance(sources, dict) else ():
        if isinstance(source, dict) and isinstance(path := source.get("path"), str | Path):
            source["path"] = os.path.abspath(os.path.expanduser(path))
    return given


def _without_none(values: Mapping[str, object]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }


# --- merging -----------------------------------------------------------------------------------------------------


def _lay(merged: Merged, values: dict[str, Any], origin: Callable[[str], Origin]) -> None:
    merged.origins.update({key: origin(key) for key, _ in leaves(values)})
    merged.values = _deep(merged.values, values)


def _always(value: T) -> Callable[[str], T]:
    return lambda _: value


def _deep(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    nested = {
        key: _deep(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
        for key, value in above.items()
    }
    return {**below, **nested}


def _nest(key: str, value: object) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {head: _nest(rest, value) if rest else value}


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every value with its dotted key; a list is one value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def origin_of(origins: Mapping[str, Origin], key: str) -> Origin:
    """Returns where the value of a dotted key came from."""
    return origins.get(key, DEFAULT)


def variable_name(key: str) -> str:
    """Returns the environment variable of a dotted key."""
    return PREFIX + key.replace(".", LEVEL).upper()


def _variable_of(key: str, variables: Mapping[str, str]) -> str:
    # A variable may hold a whole table as JSON, so the longest name that begins the key's own is the one.
    own = variable_name(key)
    longest = max((full for full in variables if own == full or own.startswith(full + LEVEL)), key=len, default=own)
    return variables.get(longest, longest)


def listed(problems: list[str]) -> str:
    """Returns problems as one text: one as it is, several as a list."""
    if len(problems) == 1:
        return problems[0]
    return "\n".join([f"{len(problems)} settings cannot be used:", *(f"- {problem}" for problem in problems)])
