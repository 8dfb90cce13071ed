"""Asks the settings model what exists: which keys, of what type, with which default, and which one was meant.

Belongs here: walking the model and the words for what it holds. Does not belong here: values, files, the environment.
Everything works on any pydantic model made of sections, tables of named sections, and lists of sections. The entries
of a table may be of several kinds; where a function takes `values`, they tell of which kind each entry is.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal, Union

from pydantic import BaseModel, SecretStr, Tag
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
    list[int]: "list of whole numbers",
}
_COMPUTED_DEFAULTS = {
    "home": "`${XDG_DATA_HOME:-~/.local/share}/mediapipe-assets`",
    "database_url": "none: embedded",
    "compression.tiers": "see below",
    f"sources.{NAMED}.kind": "`folder`; `icloud` for `icloud`",
    f"sources.{NAMED}.apple_id": "required without `account`",
    f"destinations.{NAMED}.kind": "`archive`; `icloud` for `icloud`; `pixel` for `pixel`",
    f"destinations.{NAMED}.path": "`archive` for `archive`",
}


@dataclass(frozen=True)
class Kinds:
    """Tells of which kind an entry is, also when it does not say so.

    Attributes:
        usual: The kind of an entry that says nothing.
        by_name: Names that say it: an entry called so is of the kind that is called so.
        usual_has: The key by which an entry is of the usual kind whatever its name is.
    """

    usual: str
    by_name: tuple[str, ...]
    usual_has: str

    def of_entry(self, entry: Any) -> str:
        """Returns the kind of an entry whose name is not known."""
        kind = entry.get("kind", self.usual) if isinstance(entry, Mapping) else getattr(entry, "kind", self.usual)
        return str(kind)

    def of(self, name: str, entry: Any) -> str:
        """Returns the kind of an entry."""
        says_nothing = isinstance(entry, Mapping) and "kind" not in entry and self.usual_has not in entry
        return name if says_nothing and name in self.by_name else self.of_entry(entry)

    def fill(self, name: str, entry: Any) -> Any:
        """Returns an entry that says of which kind it is; what is no table stays as it is."""
        return {"kind": self.of(name, entry), **entry} if isinstance(entry, Mapping) else entry


@dataclass(frozen=True)
class _Shape:
    """What an annotation holds: a section (""), a table of named ones or a list of them, by kind; or no section."""

    step: str = ""
    sections: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    kinds: Kinds | None = None

    def of_entry(self, name: str, table: Any) -> list[type[BaseModel]]:
        """Returns the section of an entry's own kind; none when there is no such kind, all when it is not known."""
        entry = table.get(name) if isinstance(table, Mapping) else None
        if self.kinds is None or entry is None:
            return list(self.sections.values())
        kind = self.kinds.of(name, entry)
        return [self.sections[kind]] if kind in self.sections else []


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, dict[str, FieldInfo]]]:
    """Yields every setting with its dotted key, and its field by kind, which is "" where there are no kinds.

    `<name>` and `[]` in a key stand for what a person names or counts.
    """
    for name, found in model.model_fields.items():
        key = prefix + name
        shape = _shape(found.annotation)
        if not shape.sections or shape.step == LISTED:
            yield key, {"": found}
        if shape.sections:
            yield from _joined(shape, f"{key}.{NAMED}." if shape.step == NAMED else f"{key}{shape.step}.")


def _joined(shape: _Shape, prefix: str) -> Iterator[tuple[str, dict[str, FieldInfo]]]:
    joined: dict[str, dict[str, FieldInfo]] = {}
    for kind, section in shape.sections.items():
        for key, by_kind in settings(section, prefix):
            joined.setdefault(key, {}).update({kind or inner: found for inner, found in by_kind.items()})
    yield from joined.items()


def sections(model: type[BaseModel]) -> list[str]:
    """Returns the keys that hold others."""
    return sorted({key.rpartition(".")[0].removesuffix(f".{NAMED}") for key, _ in settings(model) if "." in key})


@cache  # asked for every key that is shown
def secret_patterns(model: type[BaseModel]) -> tuple[str, ...]:
    """Returns the dotted keys of all secrets, with `<name>` where a person chooses a name."""
    return tuple(
        key
        for key, by_kind in settings(model)
        if any(SecretStr in (each.annotation, *typing.get_args(each.annotation)) for each in by_kind.values())
    )


def secret_keys(model: type[BaseModel], values: Mapping[str, Any]) -> list[str]:
    """Returns the dotted keys of all secrets that may be set, for the names that occur in `values`."""
    keys = []
    for pattern in secret_patterns(model):
        table, _, rest = pattern.partition(f".{NAMED}.")
        entries = values.get(table, {}) if rest else {}
        names = entries if isinstance(entries, Mapping) else ()
        found = [[table, name, *rest.split(".")] for name in names] if rest else [pattern.split(".")]
        keys += [".".join(path) for path in found if exists(model, path, values)]
    return keys


def is_secret(model: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether a path of keys names a secret."""
    return any(len(steps) == len(path) for steps in _secrets_along(model, path))


def is_in_secret(model: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether a path of keys names a secret, or what somebody put into one."""
    return any(len(steps) <= len(path) for steps in _secrets_along(model, path))


def holds_secret(model: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether a path of keys names something that a secret may be in."""
    return any(len(steps) > len(path) for steps in _secrets_along(model, path))


def _secrets_along(model: type[BaseModel], path: Sequence[str]) -> list[list[str]]:
    """Returns the secrets, as steps, on whose way a path lies or beyond which it goes."""
    secrets = [pattern.split(".") for pattern in secret_patterns(model)]
    return [steps for steps in secrets if all(step in (NAMED, one) for step, one in zip(steps, path, strict=False))]


def exists(model: type[BaseModel], path: Sequence[str], values: Mapping[str, Any] | None = None) -> bool:
    """Whether a path of keys names a setting, or a section as a whole; without `values`, of any kind of entry."""
    head, *rest = path
    if head not in model.model_fields or (head == NOT_IN_LAYERS and "timezone" in model.model_fields):
        return False
    shape = _shape(model.model_fields[head].annotation)
    inside = list(shape.sections.values())
    if shape.step == NAMED and rest:
        inside = shape.of_entry(rest[0], (values or {}).get(head))
        rest = rest[1:]
    return not rest or (shape.step != LISTED and any(exists(section, rest) for section in inside))


def without_kind(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """Returns where a value is, without the kind that pydantic names behind the name of an entry."""
    shape = _shape(model.model_fields[path[0]].annotation) if path[0] in model.model_fields else _Shape()
    told = shape.step == NAMED and shape.kinds is not None and path[-1] != "[key]"
    return [str(step) for index, step in enumerate(path) if not (told and index == 2)]


def unknown_paths(
    model: type[BaseModel], values: Mapping[str, Any], everything: Mapping[str, Any]
) -> Iterator[tuple[str, ...]]:
    """Yields the path of each key in `values` that is no setting; `everything` tells the kinds."""
    for key, value in values.items():
        if not exists(model, [key]):
            yield (key,)
            continue
        shape = _shape(model.model_fields[key].annotation)
        for steps, section, inner in _parts(shape, value, everything.get(key)):
            yield from ((key, *steps, *path) for path in unknown_paths(section, inner, inner))


def no_setting(model: type[BaseModel], path: Sequence[str], everything: Mapping[str, Any]) -> str:
    """Returns the sentence for a path of keys that is no setting."""
    if list(path) == [NOT_IN_LAYERS]:
        return "home decides where this file is, so it cannot be set in it: use --home or MEDIAPIPE_HOME"
    return f"{_dotted(path)} is no setting; the nearest is {nearest(model, path, everything)}"


def nearest(model: type[BaseModel], path: Sequence[str], values: Mapping[str, Any]) -> str:
    """Returns the dotted key that was most likely meant by a path of keys, within the entry's own kind."""
    wanted = _dotted(path)
    known = [key for key, _ in settings(model) if key != NOT_IN_LAYERS] + sections(model)
    # Under a name that the person chose, a suggestion keeps that name.
    entry = [[*path[:2], *key.split(".")[2:]] for key in known if key.startswith(f"{path[0]}.{NAMED}.")]
    if entry and len(path) > 1:
        known = [_dotted(one) for one in entry if exists(model, one, values)] or [_dotted(one) for one in entry]
    return max(known, key=lambda key: max(_likeness(wanted, key), 0.95 * _likeness(path[-1], key.rpartition(".")[2])))


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


def default_in_words(key: str, found: FieldInfo) -> str:
    """Returns the default of a setting, for a person."""
    if key in _COMPUTED_DEFAULTS:
        return _COMPUTED_DEFAULTS[key]
    if found.is_required():
        return "required"
    value = found.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    shown = ",".join(value) if isinstance(value, list) else value
    return "none" if shown is None else "empty" if shown == "" else f"`{shown}`"


def described(model: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """Yields key, type, default and description of every setting; what kinds do not share is told by kind."""
    for key, by_kind in settings(model):
        kinds = _shape(model.model_fields[key.partition(".")[0]].annotation).sections
        choices = [each for found in by_kind.values() for each in type_in_words(found.annotation).split(" or ")]
        defaults = {kind: default_in_words(key, found) for kind, found in by_kind.items()}
        words = {kind: found.description or "" for kind, found in by_kind.items()}
        whose = "" if len(by_kind) == len(kinds) or "" in by_kind else f"{_listed_kinds(by_kind)}: "
        yield key, " or ".join(dict.fromkeys(choices)), _told_by_kind(defaults, "; "), whose + _told_by_kind(words, " ")


def _listed_kinds(kinds: Iterable[str]) -> str:
    return ", ".join(f"`{kind}`" for kind in kinds)


def _told_by_kind(by_kind: Mapping[str, str], between: str) -> str:
    """Returns the words of the first kind, and those of each other that has others."""
    first = next(iter(by_kind.values()))
    apart = [f"`{kind}`: {words}" for kind, words in by_kind.items() if words != first]
    return between.join([first, *apart])


def _parts(
    shape: _Shape, value: Any, table: Any
) -> Iterator[tuple[tuple[str, ...], type[BaseModel], Mapping[str, Any]]]:
    """Yields the tables inside a value with the sections that they should be; what has another shape is left alone."""
    inner: list[tuple[tuple[str, ...], list[type[BaseModel]], Any]]
    every = list(shape.sections.values())
    if shape.step == LISTED and isinstance(value, list):
        inner = [((f"[{index}]",), every, entry) for index, entry in enumerate(value)]
    elif shape.step == NAMED and isinstance(value, Mapping):
        # A layer above may hold no table at all there, which is for validation to say.
        known = {**value, **{name: entry for name, entry in _table(table).items() if isinstance(entry, Mapping)}}
        inner = [((str(name),), shape.of_entry(name, known), entry) for name, entry in value.items()]
    else:
        inner = [((), every, value)]
    yield from (
        (steps, section, entry)
        for steps, sections, entry in inner
        for section in sections
        if isinstance(entry, Mapping)
    )


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _shape(annotation: Any) -> _Shape:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _Shape("", {"": annotation})
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin not in (dict, list):
        return _Shape()
    step, inner = NAMED if origin is dict else LISTED, arguments[-1]
    if isinstance(inner, type) and issubclass(inner, BaseModel):
        return _Shape(step, {"": inner})
    union, *marks = typing.get_args(inner) or [inner]
    kinds = next((mark for mark in marks if isinstance(mark, Kinds)), None)
    return _Shape(step, _sections_by_tag(union), kinds) if kinds else _Shape()


def _sections_by_tag(union: Any) -> dict[str, type[BaseModel]]:
    tagged = [typing.get_args(each) for each in typing.get_args(union)]
    return {mark.tag: section for section, *marks in tagged for mark in marks if isinstance(mark, Tag)}


def _dotted(path: Sequence[str]) -> str:
    return ".".join(path).replace(".[", "[")


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
