"""Puts what is wrong with a value into plain words: where it was set, what was given, and what is allowed.

Belongs here: the words for pydantic's errors, and what of a value may be repeated in them. Does not belong here:
reading the layers (`settings_layers.py`), or which settings exist (`settings_schema.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from resources.settings_layers import DEFAULT, Merged, Origin, listed
from resources.settings_schema import holds_secret, is_in_secret, without_kind

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


def in_words(model: type[BaseModel], error: ValidationError, merged: Merged) -> str:
    """Returns what is wrong with each value: where it was set, what was given, and what is allowed."""
    return listed([line for each in error.errors(include_url=False) for line in _explain(model, each, merged)])


def _explain(model: type[BaseModel], error: ErrorDetails, merged: Merged) -> list[str]:
    allowed = _allowed(error)
    if not error["loc"]:
        return allowed.splitlines()
    path, value = without_kind(model, error["loc"]), error["input"]
    named = path[-1] == "[key]"
    if named:
        path.pop()
    if error["type"] == "union_tag_invalid":
        path, value = [*path, "kind"], value["kind"]
    key = ".".join(path)
    origin = _origin_near(merged.origins, key)
    where = f"{origin.name or origin.layer}: " if origin != DEFAULT else ""
    if named:
        return [f"{where}{key}: the name {allowed}"]
    silent = error["type"] == "missing" or _hidden(model, path, value, origin)
    return [f"{where}{key}{'' if silent else f' = {_shown(value)}'}: {allowed}"]


def _hidden(model: type[BaseModel], path: Sequence[str], value: Any, origin: Origin) -> bool:
    """Whether a value must not be repeated, for a secret may be in it: a table as text that is no JSON, say."""
    if holds_secret(model, path):
        return origin.layer != "file" or isinstance(value, Mapping | list)
    return is_in_secret(model, path)


def _allowed(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind == "union_tag_invalid":
        return f"must be {' or '.join(context['expected_tags'].rsplit(', ', 1))}"
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
