"""The stand-in as a whole: its accounts, its faults, what was asked of it, and the environment that leads to it.

Belongs here: assembly, and which part answers for which host. Does not belong here: the answers.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Self

from services.icloud_standin import downloads, setup, signin, uploads
from services.icloud_standin.accounts import Account
from services.icloud_standin.certificates import Authority
from services.icloud_standin.faults import Faults
from services.icloud_standin.messages import Dropped, Request, Response
from services.icloud_standin.photos import Photos
from services.icloud_standin.proxy import Proxy
from services.icloud_standin.records import Wire

_LOCAL = "127.0.0.1,localhost"


class ICloudStandin:
    """A fake iCloud on this machine, which serves while its `with` block runs.

    Attributes:
        faults: What goes wrong; see `Fault`.
    """

    def __init__(self, folder: Path, announce: Callable[[str], None] = lambda line: None) -> None:
        """Takes a free port on the loopback address.

        Args:
            folder: For certificates and what is uploaded; made if missing.
            announce: Told a line for each code that would be sent to a person.
        """
        self._lock = RLock()
        self._announce = announce
        self._accounts: dict[str, Account] = {}
        self._requests: list[tuple[str, str, str]] = []
        self.faults = Faults(self._lock)
        self._authority = Authority(folder / "certificates")
        self._proxy = Proxy(self._authority, self._answer)
        self._downloads = downloads.Downloads(self._lock, self.faults)
        self._setup = setup.Setup(self._accounts, self._lock)
        received = uploads.Uploads(folder / "uploads", self._setup.owner, self._lock, self.faults)
        photos = Photos(self._setup.owner, Wire(self._downloads.address), self._lock, self.faults)
        self._hosts: dict[str, Callable[[Request], Response]] = {
            signin.HOST: signin.SignIn(self._accounts, self._lock, self.faults).answer,
            setup.HOST: self._setup.answer,
            setup.PHOTOS_HOST: photos.answer,
            setup.UPLOAD_HOST: received.answer,
            setup.WITHDRAWN_HOST: lambda request: Response.of(b"", 410, "text/html"),
            uploads.CONTENT_HOST: received.receive,
            downloads.HOST: self._downloads.answer,
        }

    def __enter__(self) -> Self:
        """Serves from now on."""
        self._proxy.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends all connections."""
        self._proxy.stop()

    @property
    def port(self) -> int:
        """Where the proxy listens."""
        return self._proxy.port

    @property
    def environment(self) -> dict[str, str]:
        """Variables that lead a client process here, and make it trust what it finds."""
        address, bundle = f"http://127.0.0.1:{self.port}", str(self._authority.bundle)
        return {
            "HTTPS_PROXY": address,
            "https_proxy": address,
            "REQUESTS_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "NO_PROXY": _LOCAL,
            "no_proxy": _LOCAL,
        }

    def account(self, name: str, password: str, trusted_device: bool = True, phones: Sequence[str] = ()) -> Account:
        """Makes an account with an empty library.

        Args:
            name: Its address.
            password: Of which only what checks a proof is kept.
            trusted_device: Whether a device can show a code.
            phones: Numbers that a code can be sent to, as they are shown.
        """
        with self._lock:
            account = Account(
                name,
                password,
                number=len(self._accounts),
                trusted_device=trusted_device,
                phones=phones,
                lock=self._lock,
                announce=self._announce,
            )
            self._accounts[name] = account
            return account

    @property
    def requests(self) -> Counter[tuple[str, str, str]]:
        """How often each host, method and path was asked since the last reset."""
        with self._lock:
            return Counter((host, method, path) for method, host, path in self._requests)

    def request_log(self) -> list[tuple[str, str, str]]:
        """Returns method, host and path of each request since the last reset, in order."""
        with self._lock:
            return list(self._requests)

    def reset_requests(self) -> None:
        """Forgets what was asked so far."""
        with self._lock:
            self._requests.clear()

    def expire_urls(self) -> None:
        """Makes every download address that was handed out so far answer 410."""
        self._downloads.expire()

    def _answer(self, request: Request) -> Response:
        """Answers one request, with the faults that are due; called in the thread of its connection."""
        target = request.target
        with self._lock:
            self._requests.append((request.method, request.host, request.path))
        if slow := self.faults.take("slow", target):
            time.sleep(slow.seconds)
        if self.faults.take("drop", target):
            raise Dropped
        if refusal := self.faults.take("answer", target):
            return refusal.response()
        host = self._hosts.get(request.host)
        response = host(request) if host else Response.json({"error": "No such host"}, 404)
        if self.faults.take("lose_answer", target):
            raise Dropped
        for kind in ("truncate", "flip"):
            if spoiling := self.faults.take(kind, target):
                spoiling.spoil(response)
        return response
