"""A made-up Telegram on loopback: the part of the Bot API that the bot uses, a chat to look at, and troubles at will.

Belongs here: what api.telegram.org would answer. Does not belong here: what the bot should say.
"""

from __future__ import annotations

import contextlib
import html
import itertools
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

TOKEN = "123456789:" + "made-up-TOKEN_" * 3
OWNER, STRANGER = 4711, 666  # a private chat has its person's number
LONGEST = 4096


@dataclass
class Message:
    """What the bot said, as it stands in the chat now."""

    id: int
    chat: int
    text: str
    buttons: list[dict[str, Any]] = field(default_factory=list)
    edits: int = 0


@dataclass
class Fault:
    """What is answered in place of an answer, so many times.

    Attributes:
        status: Of HTTP; 0 closes the connection.
        method: Of the Bot API, in small letters; empty for any.
        times: How often.
        retry_after: Seconds, with 429.
        after: Whether it was done before the answer was lost.
    """

    status: int
    method: str = ""
    times: int = 1
    retry_after: int = 0
    after: bool = False


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, words: str, **parameters: int) -> None:
        super().__init__(words)
        self.status, self.words, self.parameters = status, words, parameters


class TelegramStandin:
    """The server, the chats and the person in them."""

    def __init__(self) -> None:
        self.token = TOKEN
        self.away = False
        self.webhook = ""
        self.faults: list[Fault] = []
        self.messages: list[Message] = []
        self.deleted: list[int] = []
        self.closed_chats: set[int] = set()
        self.toasts: list[str] = []
        self.commands: list[str] = []
        self.calls: list[str] = []
        self._updates: list[dict[str, Any]] = []
        self._numbers, self._update_ids = itertools.count(100), itertools.count(9_000)
        self._changed = threading.Condition()
        self._poller = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> TelegramStandin:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # ------------------------------------------------------------------ what a test does

    def says(
        self,
        text: str,
        *,
        chat: int = OWNER,
        sender: int | None = None,
        date: float | None = None,
        edited: bool = False,
    ) -> int:
        """A person writes; returns the message's number."""
        number = next(self._numbers)
        message = {**self._envelope(number, chat), "from": _user(sender or chat), "text": text}
        message["date"] = int(date if date is not None else time.time())
        if text.startswith("/"):
            length = len(text.split()[0])
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": length}]
        self._happens({"edited_message" if edited else "message": message | ({"edit_date": 1} if edited else {})})
        return number

    def presses(self, message: Message, button: str, *, sender: int | None = None) -> None:
        """A person presses a button of a message."""
        data = next(one["callback_data"] for one in message.buttons if one["text"] == button)
        query = {"id": "1", "chat_instance": "1", "from": _user(sender or message.chat), "data": data}
        query["message"] = {**self._envelope(message.id, message.chat), "text": message.text}
        self._happens({"callback_query": query})

    def texts(self, chat: int = OWNER) -> list[str]:
        """What stands in a chat, the oldest first."""
        return [one.text for one in self.messages if one.chat == chat and one.id not in self.deleted]

    def until(self, holds: Callable[[], Any], seconds: float = 20.0) -> Any:
        """Waits until something holds, and returns it."""
        end = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < end, f"it did not come about; the chat: {self.texts()}; calls: {self.calls[-20:]}"
            with self._changed:
                self._changed.wait(0.02)
        return found

    def waits_for(self, *words: str) -> Message:
        """Waits for a message with these words in it."""
        return self.until(lambda: next((one for one in self.messages if all(w in one.text for w in words)), None))

    def read(self) -> bool:
        """Whether the bot has fetched and confirmed everything."""
        return not self._updates

    # ------------------------------------------------------------------ the Bot API

    def answer(self, token: str, method: str, given: dict[str, Any]) -> Any:
        """Returns the result of a method."""
        with self._changed:
            self.calls.append(method)
        if token != self.token:
            raise Refusal(401, "Unauthorized")
        fault = self._fault(method)
        if fault is not None and not fault.after:
            raise _refusal(fault)
        known = getattr(self, f"_{method}", None)
        if known is None:
            raise Refusal(404, "Not Found")
        result = known(given)
        with self._changed:
            self._changed.notify_all()
        if fault is not None:
            raise _refusal(fault)
        return result

    def _fault(self, method: str) -> Fault | None:
        with self._changed:
            for fault in self.faults:
                if fault.method in ("", method):
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(fault)
                    return fault
        return None

    def _getme(self, _: dict[str, Any]) -> Any:
        return {**_user(int(TOKEN.split(":", maxsplit=1)[0])), "is_bot": True, "username": "mediapipe_bot"}

    def _getupdates(self, given: dict[str, Any]) -> Any:
        offset, end = int(given.get("offset", 0)), time.monotonic() + float(given.get("timeout", 0))
        with self._changed:
            if self.webhook:
                raise Refusal(409, "Conflict: can't use getUpdates method while webhook is active")
            self._poller += 1
            mine = self._poller
            self._changed.notify_all()
            self._updates = [one for one in self._updates if one["update_id"] >= offset]
            while not self._updates and not self.away and (left := end - time.monotonic()) > 0:
                self._changed.wait(min(left, 0.1))
                if mine != self._poller:
                    raise Refusal(409, "Conflict: terminated by other getUpdates request")
            return self._updates[:100]

    def _sendmessage(self, given: dict[str, Any]) -> Any:
        chat, text = int(given["chat_id"]), str(given["text"])
        if chat in self.closed_chats:
            raise Refusal(403, "Forbidden: bot was blocked by the user")
        shown = html.unescape(re.sub("<[^>]*>", "", text)) if given.get("parse_mode") == "HTML" else text
        if not 0 < len(shown.encode("utf-16-le")) // 2 <= LONGEST:
            raise Refusal(400, "Bad Request: message is too long" if text else "Bad Request: message text is empty")
        with self._changed:
            message = Message(next(self._numbers), chat, text, _buttons(given))
            self.messages.append(message)
        return {**self._envelope(message.id, chat), "text": text}

    def _editmessagetext(self, given: dict[str, Any]) -> Any:
        message = self._message(given, "edit")
        if (message.text, message.buttons) == (given["text"], _buttons(given)):
            raise Refusal(400, "Bad Request: message is not modified")
        message.text, message.buttons, message.edits = given["text"], _buttons(given), message.edits + 1
        return {**self._envelope(message.id, message.chat), "text": message.text}

    def _deletemessage(self, given: dict[str, Any]) -> Any:
        self.deleted.append(int(given["message_id"]))
        return True

    def _answercallbackquery(self, given: dict[str, Any]) -> Any:
        self.toasts.append(given.get("text", ""))
        return True

    def _setmycommands(self, given: dict[str, Any]) -> Any:
        self.commands = [one["command"] for one in json.loads(given["commands"])]
        return True

    def _getwebhookinfo(self, _: dict[str, Any]) -> Any:
        return {"url": self.webhook, "has_custom_certificate": False, "pending_update_count": len(self._updates)}

    def _deletewebhook(self, _: dict[str, Any]) -> Any:
        self.webhook = ""
        return True

    def _message(self, given: dict[str, Any], what: str) -> Message:
        number = int(given["message_id"])
        found = next((one for one in self.messages if one.id == number), None)
        if found is None or number in self.deleted:
            raise Refusal(400, f"Bad Request: message to {what} not found")
        return found

    def _envelope(self, number: int, chat: int) -> dict[str, Any]:
        kind = {"type": "private", "first_name": "Ann"} if chat > 0 else {"type": "group", "title": "Family"}
        return {"message_id": number, "date": int(time.time()), "chat": {"id": chat, **kind}}

    def _happens(self, what: dict[str, Any]) -> None:
        with self._changed:
            self._updates.append({"update_id": next(self._update_ids), **what})
            self._changed.notify_all()


def _user(number: int) -> dict[str, Any]:
    return {"id": number, "is_bot": False, "first_name": f"Person {number}", "username": f"person{number}"}


def _buttons(given: dict[str, Any]) -> list[dict[str, Any]]:
    rows = json.loads(given.get("reply_markup", "{}")).get("inline_keyboard", [])
    return [one for row in rows for one in row]


def _refusal(fault: Fault) -> Refusal:
    if fault.status == 429:
        return Refusal(429, f"Too Many Requests: retry after {fault.retry_after}", retry_after=fault.retry_after)
    return Refusal(fault.status, f"made-up {fault.status}")


def _handler(telegram: TelegramStandin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if telegram.away:
                self.close_connection = True
                return
            token, _, method = self.path.removeprefix("/bot").partition("/")
            try:
                answer = {"ok": True, "result": telegram.answer(token, method.lower(), dict(parse_qsl(body.decode())))}
                status = 200
            except Refusal as refusal:
                status = refusal.status
                answer = {"ok": False, "error_code": status, "description": refusal.words}
                answer |= {"parameters": refusal.parameters} if refusal.parameters else {}
            if telegram.away or status == 0:
                self.close_connection = True
                return
            content = json.dumps(answer).encode() if status != 502 else b"<html>502 Bad Gateway</html>"
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # whoever asked has gone
                super().handle()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    return Handler
