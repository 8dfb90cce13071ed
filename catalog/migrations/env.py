"""Alembic's entry: runs the migrations over the connection that `catalog.migrate` hands in."""

from __future__ import annotations

from alembic import context

from catalog.tables import SCHEMA, metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table="schema_version",
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=lambda name, type_, _parents: type_ != "schema" or name == SCHEMA,
)
with context.begin_transaction():
    context.run_migrations()
