"""A stand-in for iCloud Photos on this machine, to which the real clients log in, without any change to them.

Belongs here: what iCloud answers, its faults included. Does not belong here: how the product talks to iCloud.

It is a forward proxy on the loopback address that answers every request itself and never connects to anything. Client
processes are pointed at it by environment variables; they trust its throw-away certificates by the same way.
"""

from services.icloud_standin.accounts import Account
from services.icloud_standin.assets import Asset
from services.icloud_standin.faults import Fault, Faults
from services.icloud_standin.library import Library
from services.icloud_standin.standin import ICloudStandin

__all__ = ["Account", "Asset", "Fault", "Faults", "ICloudStandin", "Library"]
