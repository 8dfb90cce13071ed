"""Rows of text as tables that the UI shows.

Belongs here: that one conversion. Does not belong here: what is in a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import dagster as dg


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.TableMetadataValue:
    """Returns rows of text as a table that the UI shows."""
    records = [dg.TableRecord(dict(zip(columns, map(str, row), strict=True))) for row in rows]
    schema = dg.TableSchema(columns=[dg.TableColumn(name) for name in columns])
    return dg.MetadataValue.table(records, schema)
