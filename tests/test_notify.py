"""Every channel beside Telegram: a real mail server and real webhooks, and the commands that try them."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope
from click.testing import CliRunner
from pydantic import SecretStr
from sqlalchemy import Engine, text

from mediapipe_assets.cli import _code_of
from pipeline.channels import channels_of
from resources.apprise_channels import AppriseChannel, apprise_channels
from resources.messages import Message, TryLater, Unanswered, Unusable
from resources.settings_alerts import NotifySettings
from tests.conftest import Home
from tests.the_catalog import engine, migrated, server
from tests.the_outbox import Clock, a_sender, settings_with, settle, tell_one

__all__ = ["engine", "migrated", "server"]

SECRET = "made-up-PASSWORD"
ALERT = Message("A check failed <3 files>", "Zürich & more\nLook at them", "error", "http://127.0.0.1:3000/runs/1")


@dataclass
class Webhook:
    """What was posted, and the answer: a path that begins with a status is answered with it."""

    port: int = 0
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answering: threading.Event = field(default_factory=threading.Event)

    def address(self, path: str = "", more: str = "") -> str:
        return f"json://me:{SECRET}@127.0.0.1:{self.port}/{path}{more}"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            hook.posted.append((self.path, json.loads(body)))
            if self.path.startswith("/hang"):
                hook.answering.wait(30)
            if self.path.startswith(("/hang", "/drop")):
                return  # the connection ends without an answer
            status = re.match(r"/(\d{3})", self.path)
            self.send_response(int(status.group(1)) if status else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    standing = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.port = standing.server_port
    threading.Thread(target=standing.serve_forever, args=(0.02,), daemon=True).start()
    yield hook
    hook.answering.set()
    standing.shutdown()
    standing.server_close()


@dataclass
class Mailbox:
    """A mail server: what it took, and whether it knows the password."""

    port: int
    knows: str = SECRET
    mails: list[Envelope] = field(default_factory=list)

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:
        self.mails.append(envelope)
        return "250 taken"

    def authenticate(self, *arguments: Any) -> AuthResult:
        return AuthResult(success=arguments[-1].password == self.knows.encode(), handled=False)

    @property
    def address(self) -> str:
        return f"mailto://me:{SECRET}@127.0.0.1:{self.port}/?mode=insecure&from=home@example.org&to=me@example.org"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox(_free_port())
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=box.port,
        authenticator=box.authenticate,
        auth_required=True,
        auth_require_tls=False,
    )
    controller.start()
    yield box
    controller.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def channels(*addresses: str) -> list[AppriseChannel]:
    return apprise_channels(NotifySettings(urls=SecretStr(", ".join(addresses))))


def test_a_webhook_gets_the_message(webhook: Webhook) -> None:
    (channel,) = channels(webhook.address("alerts"))
    channel.send(ALERT)
    ((path, said),) = webhook.posted
    assert (path, said["title"], said["type"]) == ("/alerts", ALERT.title, "failure")
    assert said["message"] == f"{ALERT.body}\n\n{ALERT.link}"


def test_a_message_of_one_line_is_sent_too(webhook: Webhook) -> None:
    (channel,) = channels(webhook.address("alerts"))
    channel.send(Message("The bot is back", "", "info"))
    ((_, said),) = webhook.posted
    assert (said["message"], said["type"]) == ("The bot is back", "info")


def test_a_mail_server_gets_the_message(mailbox: Mailbox) -> None:
    (channel,) = channels(mailbox.address)
    channel.send(ALERT)
    (envelope,) = mailbox.mails
    assert (envelope.mail_from, envelope.rcpt_tos) == ("home@example.org", ["me@example.org"])
    assert isinstance(envelope.content, bytes)
    mail = message_from_bytes(envelope.content, policy=policy.default)
    assert mail["Subject"] == ALERT.title
    assert mail.get_content().split() == f"{ALERT.body} {ALERT.link}".split()


def test_an_account_that_the_mail_server_does_not_know_is_unusable(mailbox: Mailbox) -> None:
    mailbox.knows = "another one"
    with pytest.raises(Unusable, match=r"the mail server refuses .*\(code 535\)"):
        channels(mailbox.address)[0].send(ALERT)


@pytest.mark.parametrize(
    ("path", "more", "trouble", "words"),
    [
        ("401/", "", Unusable, "status 401"),
        ("404/", "", Unusable, "status 404"),
        ("429/", "", TryLater, "fewer messages"),
        ("502/", "", TryLater, "status 502"),
        ("drop/", "", Unanswered, "before the service answered"),
        ("hang/", "?rto=0.1", Unanswered, "before the service answered"),
    ],
)
def test_what_a_service_answers_is_told_apart(
    webhook: Webhook, path: str, more: str, trouble: type[Exception], words: str
) -> None:
    with pytest.raises(trouble, match=words):
        channels(webhook.address(path, more))[0].send(ALERT)
    assert len(webhook.posted) == 1


def test_a_service_that_is_away_was_never_told() -> None:
    with pytest.raises(TryLater, match="cannot be reached"):
        channels(f"json://127.0.0.1:{_free_port()}/")[0].send(ALERT)


def test_an_address_that_is_wrong_is_named_by_kind_and_place_alone(webhook: Webhook) -> None:
    well, wrong, nothing = channels(webhook.address("alerts"), f"discord://{SECRET}", f"no-kind://{SECRET}")
    well.send(ALERT)
    for channel, words in ((wrong, "address 2 of notify.urls (discord://…)"), (nothing, "address 3 of notify.urls")):
        with pytest.raises(Unusable, match=re.escape(words)) as caught:
            channel.send(ALERT)
        assert SECRET not in str(caught.value)


def test_channels_are_named_by_kind_and_a_hash_and_an_address_that_stands_twice_is_one(webhook: Webhook) -> None:
    found = channels(webhook.address("a"), webhook.address("b"), webhook.address("a"))
    assert len({channel.name for channel in found}) == len(found) == 2
    assert all(re.fullmatch(r"json-[0-9a-f]{6}", channel.name) for channel in found)
    assert SECRET not in repr(found)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that any log of this process says; pytest's own fixture also looks into logs that are closed."""
    said = io.StringIO()
    handler, root = logging.StreamHandler(said), logging.getLogger()
    handler.addFilter(lambda record: record.name != "mail.log")  # the mail server's own
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield said
    root.setLevel(before)
    root.removeHandler(handler)


def test_no_log_holds_an_address_even_at_debug(
    webhook: Webhook, mailbox: Mailbox, logged: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    hidden = "hidden-in-the-path"
    logging.getLogger("anybody").debug("everything is heard")
    for channel in channels(webhook.address(hidden), mailbox.address):
        channel.send(ALERT)
    for address in (
        webhook.address(f"401/{hidden}"),
        f"json://127.0.0.1:{_free_port()}/{hidden}",
        f"discord://{hidden}",
    ):
        with pytest.raises((Unusable, TryLater)):
            channels(address)[0].send(ALERT)
    printed = "".join([logged.getvalue(), *capfd.readouterr()])
    assert "everything is heard" in printed
    assert hidden not in printed and SECRET not in printed


def test_what_is_told_reaches_a_mailbox_and_a_webhook_once_each(
    engine: Engine, tmp_path: Path, webhook: Webhook, mailbox: Mailbox
) -> None:
    clock = Clock()
    urls = {"urls": f"{webhook.address('alerts')},{mailbox.address}"}
    found = channels_of(settings_with(tmp_path, notify=urls))
    sender = a_sender(engine, tmp_path, clock, found, notify=urls)
    for number in range(20):
        tell_one(engine, f"File {number} failed")
    settle(sender, clock)
    clock.go_on(3600)
    sender.step()
    assert (len(webhook.posted), len(mailbox.mails)) == (1, 1)
    assert webhook.posted[0][1]["title"] == "File 0 failed – and 19 more"
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT string_agg(s::text, '') FROM notification_sends s")).scalar_one()
    assert SECRET not in stored


def run(home: Home, *arguments: str, urls: str | None = None) -> tuple[int, str, str]:
    runner = CliRunner(env={"MEDIAPIPE_HOME": str(home.path), "MEDIAPIPE_NOTIFY__URLS": urls})
    with runner.isolation() as (out, err, _), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["mediapipe-assets", *arguments])
        code = _code_of()
        return code, out.getvalue().decode(), err.getvalue().decode()


def test_notify_test_says_what_came_of_each_channel(home: Home, webhook: Webhook) -> None:
    urls = f"{webhook.address('alerts')},{webhook.address('401/')}"
    code, out, err = run(home, "notify", "test", "--json", urls=urls)
    assert code == 1
    assert [one["taken"] for one in json.loads(out)] == [True, False]
    assert re.search(r"✓ json-\w+: it took the message\n✗ json-\w+: the service refuses the address", err)
    assert SECRET not in out + err
    assert webhook.posted[0][1]["title"] == "A test by mediapipe-assets"
    assert run(home, "notify", "test", urls=webhook.address("alerts"))[0] == 0


def test_notify_test_without_a_channel_says_how_to_set_one(home: Home) -> None:
    code, _, err = run(home, "notify", "test")
    assert code == 1
    assert "MEDIAPIPE_NOTIFY__URLS" in err and "telegram setup" in err


def test_notify_status_says_what_waits_and_why(home: Home, webhook: Webhook) -> None:
    urls = f"{webhook.address('401/')},{webhook.address('later/')}"
    run(home, "notify", "status", urls=urls)
    with home.opened() as platform:
        clock = Clock()
        settings = settings_with(home.path, notify={"urls": webhook.address("401/")})
        tell_one(platform.engine, "A check failed")
        settle(a_sender(platform.engine, home.path, clock, channels_of(settings)), clock)
    code, out, err = run(home, "notify", "status", "--json", urls=urls)
    assert code == 0
    refused, new = json.loads(out)
    assert (refused["waiting"], new["waiting"], refused["configured"]) == (1, 0, True)
    assert refused["error"].startswith("unusable: the service refuses the address")
    assert "1 wait, the oldest since" in err and "no alert was sent yet" in err and "unusable" not in err
