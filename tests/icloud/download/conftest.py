"""What tests of the downloader start from."""

from tests.icloud_cdn import apple, bare_environment, certificates, client, part, secure

__all__ = ["apple", "bare_environment", "certificates", "client", "part", "secure"]
