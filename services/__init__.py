"""Long-lived processes beside Dagster: `up`, which starts and watches them all, the Telegram bot, the exporter.

Belongs here: processes and their lives. Does not belong here: what a run does (`pipeline`), what Dagster shows
(`mediapipe_assets`), the database server (`resources.postgres`).
"""
