"""Asks the settings model what exists: which keys, of what type, with which default, and which one was meant.

Belongs here: walking the model and the words for what it holds. Does not belong here: values, files, the environment.
Everything works on any pydantic model made of sections, tables of named sections, and lists of sections.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, Union

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

NAMED, LISTED = "<name>", "[]"
# Decided by where the settings are looked for, so no layer can set it.
NOT_IN_LAYERS = "home"
_TYPES: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    Path: "path",
    date: "date",
    SecretStr: "secret",
    list[str]: "list of text",
}
_COMPUTED_DEFAULTS = {
    "home": "`${XDG_DATA_HOME:-~/.local/share}/mediapipe-assets`",
    "database_url": "none: embedded",
    "compression.tiers": "see below",
    f"destinations.{NAMED}.path": "`archive` for `archive`",
}


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yields every setting with its dotted key; `<name>` and `[]` stand for what a person names or counts."""
    for name, field in model.model_fields.items():
        key = prefix + name
        shape, section = _shape(field.annotation)
        if section is None or shape == LISTED:
            yield key, field
        if section is not None:
            yield from fields(section, f"{key}{_step(shape)}.")


def sections(model: type[BaseModel]) -> list[str]:
    """Returns the keys that hold others."""
    return sorted({key.rpartition(".")[0].removesuffix(f".{NAMED}") for key, _ in fields(model) if "." in key})


def secret_keys(model: type[BaseModel]) -> list[str]:
    """Returns the dotted keys of all secrets."""
    return [key for key, field in fields(model) if SecretStr in (field.annotation, *typing.get_args(field.annotation))]


def exists(model: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether a path of keys names a setting, or a section as a whole."""
    head, *rest = path
    if head not in model.model_fields or (head == NOT_IN_LAYERS and "timezone" in model.model_fields):
        return False
    shape, section = _shape(model.model_fields[head].annotation)
    if shape == NAMED:
        rest = rest[1:]
    return not rest or (section is not None and shape != LISTED and exists(section, rest))


def unknown(model: type[BaseModel], values: Mapping[str, Any]) -> list[str]:
    """Returns a sentence for each key in `values` that is no setting."""
    return [
        "home decides where this file is, so it cannot be set in it: use --home or MEDIAPIPE_HOME"
        if path == (NOT_IN_LAYERS,)
        else f"{_dotted(path)} is no setting; the nearest is {nearest(model, path)}"
        for path in _unknown_paths(model, values)
    ]


def nearest(model: type[BaseModel], path: Sequence[str]) -> str:
    """Returns the dotted key that was most likely meant by a path of keys."""
    wanted = _dotted(path)
    known = [key for key, _ in fields(model) if key != NOT_IN_LAYERS] + sections(model)
    # Under a name that the person chose, a suggestion keeps that name.
    named = [key.replace(NAMED, path[1]) if len(path) > 1 and key.startswith(f"{path[0]}.") else key for key in known]
    return max(named, key=lambda key: max(_likeness(wanted, key), 0.95 * _likeness(path[-1], key.rpartition(".")[2])))


def type_in_words(annotation: Any) -> str:
    """Returns what a setting takes, for a person."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(type_in_words(each) for each in arguments if each is not type(None))
    if origin is typing.Annotated:
        return type_in_words(arguments[0])
    return _TYPES.get(annotation) or ("list of tables" if origin is list else "table")


def default_in_words(key: str, field: FieldInfo) -> str:
    """Returns the default of a setting, for a person."""
    if key in _COMPUTED_DEFAULTS:
        return _COMPUTED_DEFAULTS[key]
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "none" if value is None else "empty" if value in ("", []) else f"`{value}`"


def _unknown_paths(model: type[BaseModel], values: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if not exists(model, [key]):
            yield (key,)
            continue
        for steps, section, inner in _parts(model.model_fields[key].annotation, value):
            yield from ((key, *steps, *path) for path in _unknown_paths(section, inner))


def _parts(annotation: Any, value: Any) -> Iterator[tuple[tuple[str, ...], type[BaseModel], Mapping[str, Any]]]:
    """Yields the tables inside a value with the sections that they should be; what has another shape is left alone."""
    shape, section = _shape(annotation)
    if section is None:
        return
    inner: list[tuple[tuple[str, ...], Any]]
    if shape == LISTED and isinstance(value, list):
        inner = [((f"[{index}]",), entry) for index, entry in enumerate(value)]
    elif shape == NAMED and isinstance(value, Mapping):
        inner = [((str(name),), entry) for name, entry in value.items()]
    else:
        inner = [((), value)]
    yield from ((steps, section, entry) for steps, entry in inner if isinstance(entry, Mapping))


def _shape(annotation: Any) -> tuple[str, type[BaseModel] | None]:
    """Returns whether an annotation is a section (""), a table of named ones, or a list of them, and the section."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "", annotation
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    inner = arguments[-1] if origin in (dict, list) else None
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return (NAMED if origin is dict else LISTED), inner
    return "", None


def _step(shape: str) -> str:
    return f".{NAMED}" if shape == NAMED else shape


def _dotted(path: Sequence[str]) -> str:
    return ".".join(path).replace(".[", "[")


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
