"""The PostgreSQL catalog: tables, migrations, and queries as plain functions over a connection.

Belongs here: what the database knows and how it is asked. Every function takes an open
`sqlalchemy.Connection` and leaves the transaction to its caller.

Does not belong here: Dagster, files, decisions about what to do next, or another system's client.
"""
