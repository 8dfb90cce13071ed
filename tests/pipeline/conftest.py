"""Every test here works on the one real catalog of the session, and those of proofs on a file of their own."""

from tests.proof_files import archive, file, proof
from tests.the_catalog import connection, engine, migrated, server

__all__ = ["archive", "connection", "engine", "file", "migrated", "proof", "server"]
