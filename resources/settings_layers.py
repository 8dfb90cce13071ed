"""Reads the layers of settings, knows where each value came from, and puts errors into plain words.

Belongs here: the file, the environment, `_FILE` secrets and systemd credentials, merging, and the words for what is
wrong with a value. Does not belong here: which settings exist (`settings.py`, asked through `settings_schema.py`).
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource

from resources.settings_schema import exists, nearest, secret_keys, unknown

PREFIX = "MEDIAPIPE_"
LEVEL = "__"
FILE_NAME = "mediapipe.toml"
ARCHIVE = "archive"
MASK = "********"
# Ours, but read by whoever needs them and not by the settings model.
NOT_SETTINGS = ("MEDIAPIPE_HOME", "MEDIAPIPE_DAGSTER_URL", "MEDIAPIPE_CORPUS")

_ALLOWED = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "path_type": "must be a path",
    "list_type": "must be a list",
    "too_short": "must not be empty",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "missing": "is required and was not given",
    "string_pattern_mismatch": "must be 1 to 40 characters of a-z, 0-9, _ and -",
    "date_from_datetime_parsing": "must be a date such as 1990-01-31",
    "date_from_datetime_inexact": "must be a date such as 1990-01-31",
    "date_parsing": "must be a date such as 1990-01-31",
    "date_type": "must be a date such as 1990-01-31",
}
_BOUNDS = {
    "greater_than": ("gt", "must be more than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}


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
    in_file = _read_file(file)
    variables, problems = _known_variables(model, environ)
    in_environment = _Environment(model, variables)()
    given = _tidy_overrides(overrides)
    problems += [f"{file}: {words}" for words in unknown(model, in_file)]
    problems += [f"environment: {words}" for words in unknown(model, in_environment)]
    problems += [f"command line: {words}" for words in unknown(model, given)]
    problems += [f"{file}: {words}" for words in _secrets_in_file(model, in_file)]
    credentials, secret_files = _credentials(model, environ), _secret_files(model, environ, problems)
    if problems:
        raise SettingsError(_listed(problems))
    merged = Merged()
    _lay(merged, in_file, _always(Origin("file", str(file))))
    for key, (secret, origin) in {**credentials, **secret_files}.items():
        _lay(merged, _nest(key, secret), _always(origin))
    _lay(merged, in_environment, lambda key: Origin("environment", _variable_of(key, variables)))
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


def _known_variables(model: type[BaseSettings], environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Returns the variables that are settings, and a complaint for each that has our prefix and is none."""
    ours = {name: value for name, value in environ.items() if name.startswith(PREFIX) and name not in NOT_SETTINGS}
    files = {variable_name(key) + "_FILE" for key in secret_keys(model)}
    known, problems = {}, []
    for name, value in ours.items():
        path = name.removeprefix(PREFIX).lower().split(LEVEL)
        if name in files:
            continue
        if exists(model, path):
            known[name] = value
        else:
            meant = variable_name(nearest(model, path))
            problems.append(f"the environment variable {name} is no setting; the nearest is {meant}")
    return known, problems


def _credentials(model: type[BaseSettings], environ: Mapping[str, str]) -> dict[str, tuple[str, Origin]]:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    files = {key: Path(folder, key.replace(".", "_")) for key in secret_keys(model)} if folder else {}
    return {
        key: (_read_secret(file, "credential"), Origin("credential", str(file)))
        for key, file in files.items()
        if file.is_file()
    }


def _secret_files(
    model: type[BaseSettings], environ: Mapping[str, str], problems: list[str]
) -> dict[str, tuple[str, Origin]]:
    found = {}
    for key in secret_keys(model):
        name = variable_name(key)
        if file := environ.get(f"{name}_FILE"):
            if environ.get(name):
                problems.append(f"{name} and {name}_FILE are both set: keep one of them")
            found[key] = (_read_secret(Path(file), f"{name}_FILE"), Origin("environment", f"{name}_FILE"))
    return found


def _read_secret(file: Path, what: str) -> str:
    try:
        secret = file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{what}: {file} cannot be read: {getattr(error, 'strerror', 'it is no text')}") from error
    if not secret:
        raise SettingsError(f"{what}: {file} is empty")
    return secret


def _secrets_in_file(model: type[BaseModel], values: dict[str, Any]) -> list[str]:
    flat = dict(leaves(values))
    return [
        f"{key} holds a password, which does not belong in a file that is shown and copied: put it into "
        f"{variable_name(key)}, or into a file of its own that {variable_name(key)}_FILE names"
        for key in secret_keys(model)
        if key in flat and _holds_password(str(flat[key]))
    ]


def _holds_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
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


def _always(origin: Origin) -> Callable[[str], Origin]:
    return lambda _: origin


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
    full = variable_name(key)
    return max((name for name in variables if full == name or full.startswith(name + LEVEL)), key=len, default=full)


# --- words -------------------------------------------------------------------------------------------------------


def in_words(error: ValidationError, merged: Merged, secrets: list[str]) -> str:
    """Returns what is wrong with each value: where it was set, what was given, and what is allowed."""
    return _listed([line for each in error.errors(include_url=False) for line in _explain(each, merged, secrets)])


def _explain(error: ErrorDetails, merged: Merged, secrets: list[str]) -> list[str]:
    allowed = _allowed(error)
    if not error["loc"]:
        return allowed.splitlines()
    named = "[key]" in error["loc"]
    key = ".".join(str(step) for step in error["loc"] if step != "[key]")
    origin = _origin_near(merged.origins, key)
    where = f"{origin.name or origin.layer}: " if origin != DEFAULT else ""
    if named:
        return [f"{where}{key}: the name {allowed}"]
    given = "" if error["type"] == "missing" or key in secrets else f" = {_shown(error['input'])}"
    return [f"{where}{key}{given}: {allowed}"]


def _allowed(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{words} {context[bound]:g}"
    return _ALLOWED.get(kind) or error["msg"].replace("Input should", "must")


def _origin_near(origins: Mapping[str, Origin], key: str) -> Origin:
    """Returns the origin of a key, or of what it is a part of, or of one of its parts."""
    above = key
    while above:
        if above in origins:
            return origins[above]
        above = above.rpartition(".")[0]
    return next((origin for part, origin in origins.items() if part.startswith(f"{key.rpartition('.')[0]}.")), DEFAULT)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"


def _listed(problems: list[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    return "\n".join([f"{len(problems)} settings cannot be used:", *(f"- {problem}" for problem in problems)])
