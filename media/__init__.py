"""The engine: pure functions on files and pixels.

Belongs here: reading, hashing, dating, decoding, encoding and writing media files. Every task
(`ingest`, `make_rendition`, `copy_verified`, `hash_file`) takes plain values, works file to file,
and returns a small dict, so that it can run in a process pool or on another machine.

Does not belong here: Dagster, the database, the network, settings objects, or any decision about
which file is due. The pipeline asks; the engine answers.
"""
