"""What tests of iCloud start from."""

from tests.icloud_clients import account, api, connect, icloud, library, session_folder

__all__ = ["account", "api", "connect", "icloud", "library", "session_folder"]
