"""`bot` and `telegram setup`: the process that speaks in Telegram, and how it learns whom to speak to.

Belongs here: the words of these commands. Does not belong here: the process (`services.telegram_bot`), or single calls
of the Bot API (`resources.telegram`).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import time
from typing import TYPE_CHECKING

import click

from mediapipe_assets.cli import OK, say

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from telegram import Bot, Update

    from resources.settings import Settings

SETUP_SECONDS = 600.0
POLL_SECONDS, PAUSE_SECONDS = 20, 2.0
LOG_FORMAT = "%(asctime)s - %(levelname)s - %(message)s"  # as `up` reads the lines that a person should see


@click.command()
def bot() -> int:
    """Run the bot in the foreground until Ctrl-C: it asks for Apple's codes, hears commands and sends alerts."""
    from resources.redaction import install
    from resources.settings import home_folder, load_settings
    from resources.telegram import keep_out_of_logs
    from services.telegram_bot import NoChannel, serve

    home = home_folder()
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    install(load_settings(home))
    keep_out_of_logs()
    try:
        serve(home, say)
    except NoChannel as error:
        raise click.UsageError(str(error)) from None
    return OK


@click.group()
def telegram() -> None:
    """Connect the Telegram bot."""


@telegram.command()
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=SETUP_SECONDS,
    show_default=True,
    help="Seconds to wait for /start.",
)
def setup(wait: float) -> int:
    """Check the bot's token, find your chat, and remember it in mediapipe.toml."""
    from resources.redaction import install
    from resources.settings import load_settings

    settings = load_settings()
    install(settings)
    if settings.telegram.bot_token is None:
        raise click.UsageError(
            "no bot token is set. Open Telegram, write /newbot to @BotFather, and put the token that it gives you into "
            "MEDIAPIPE_TELEGRAM__BOT_TOKEN (or name a file that holds it in MEDIAPIPE_TELEGRAM__BOT_TOKEN_FILE). "
            "Then run this again"
        )
    return asyncio.run(_setup(settings, wait))


async def _setup(settings: Settings, wait: float) -> int:
    from telegram.error import Conflict, TelegramError

    from resources.settings import load_settings
    from resources.settings_file import set_telegram_chat
    from resources.telegram import in_words, opened
    from services.bot_commands import greeting
    from services.running import is_up

    try:
        async with opened(settings.telegram) as bot:
            me = await bot.get_me()
            say(f"The token is good: it is the bot @{me.username}.")
            await _end_webhook(bot)
            chat_id, sender_id = await _found_chat(bot, me.username or "", wait)
            set_telegram_chat(settings.home, chat_id, sender_id if sender_id != chat_id else None)
            await bot.send_message(chat_id, greeting())
    except Conflict as error:
        own = "If it is this one's own, end `mediapipe-assets up` or `mediapipe-assets bot`, then run this again."
        raise click.ClickException(f"{in_words(error)} {own}") from None
    except TelegramError as error:
        raise click.ClickException(in_words(error)) from None
    if load_settings(settings.home).telegram.chat_id != chat_id:
        raise click.ClickException(
            f"The chat {chat_id} is written to {settings.file}, but MEDIAPIPE_TELEGRAM__CHAT_ID says another one, and "
            "the environment counts more. Unset it, or set it to this one."
        )
    running = is_up(settings.home)
    then = "End `mediapipe-assets up` and start it again: then it" if running else "mediapipe-assets up"
    say(f"Done: the chat is remembered in {settings.file}. {then} also runs the bot.")
    return OK


async def _end_webhook(bot: Bot) -> None:
    """Takes a webhook away after asking: while one is set, Telegram tells the bot nothing in the way that we ask."""
    from urllib.parse import urlsplit

    webhook = (await bot.get_webhook_info()).url
    if not webhook:
        return
    say(f"Telegram sends what people write to this bot to a server at {urlsplit(webhook).hostname} (a webhook).")
    if not _agreed("Take that away, so that the bot works here?"):
        raise click.ClickException("Nothing was changed. Make a bot of its own for this with /newbot at @BotFather.")
    await bot.delete_webhook()


async def _found_chat(bot: Bot, name: str, wait: float) -> tuple[int, int]:
    """Waits until a person starts the bot, and returns the chat and who it was."""
    nonce = secrets.token_urlsafe(12)
    say(f"Open this address on your phone and press Start:\n\n  https://t.me/{name}?start={nonce}\n")
    say("For a group: take the bot into the group, and write there: " + f"/start@{name} {nonce}")
    say("Waiting …")
    async for update in _written(bot, wait):
        message = update.message
        if message is None or message.from_user is None or not (message.text or "").startswith("/start"):
            continue
        sender, words = message.from_user, (message.text or "").split()
        if nonce in words[1:] or (
            message.chat.id == sender.id
            and _agreed(f"{sender.full_name}{f' (@{sender.username})' if sender.username else ''} wrote /start. You?")
        ):
            await bot.get_updates(offset=update.update_id + 1, timeout=0, limit=1)  # it is dealt with
            return message.chat.id, sender.id
        say("Somebody wrote /start without the right address; passed over.")
    raise click.ClickException("Nobody pressed Start in time. Nothing was changed; run it again when you are ready.")


async def _written(bot: Bot, wait: float) -> AsyncIterator[Update]:
    from telegram.error import BadRequest, NetworkError

    offset, end = None, time.monotonic() + wait
    while (left := end - time.monotonic()) > 0:
        seconds = int(min(POLL_SECONDS, left))
        try:
            found = await bot.get_updates(offset=offset, timeout=seconds, allowed_updates=["message"])
        except BadRequest:
            raise
        except NetworkError:  # a person who looks for the phone should not have to begin again
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        for update in found:
            offset = update.update_id + 1
            yield update


def _agreed(question: str) -> bool:
    """Asks on the terminal; where nobody can type, the answer is no."""
    return sys.stdin.isatty() and click.confirm(question, err=True)
