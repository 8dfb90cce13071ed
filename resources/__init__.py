"""One module per outside system, and the settings: what reaches out of the platform.

Belongs here: settings, PostgreSQL, folders, the archive, the worker pool. Each hands out a plain object that
works without Dagster. Does not belong here: what happens to a file (pipeline), the tables (catalog), pixels (media).
"""
