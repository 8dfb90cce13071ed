"""What tests of the destination start from."""

from tests.icloud_uploads import home

__all__ = ["home"]
