"""`up` with the bot: started with everything else, started again when it was killed, and ended with it."""

from __future__ import annotations

import signal

from catalog import heartbeats
from services.running import is_up
from tests.conftest import Home, processes_of
from tests.telegram_standin import OWNER, TOKEN, TelegramStandin
from tests.test_up import free_port


def test_up_runs_the_bot_and_starts_it_again(home: Home, telegram: TelegramStandin) -> None:
    home.environment = {
        "MEDIAPIPE_TELEGRAM__BASE_URL": telegram.url,
        "MEDIAPIPE_TELEGRAM__BOT_TOKEN": TOKEN,
        "MEDIAPIPE_TELEGRAM__CHAT_ID": str(OWNER),
    }
    process = home.start("up", "--port", str(free_port()))
    telegram.says("/help")
    telegram.until(lambda: len(telegram.texts()) == 1, seconds=90)
    info = is_up(home.path)
    assert info is not None
    bot = next(one for one in processes_of(home) if one.pid == info.children["bot"])
    bot.kill()
    telegram.says("/status")
    telegram.until(lambda: any("files found" in text for text in telegram.texts()), seconds=90)
    with home.opened() as platform, platform.engine.begin() as connection:
        heartbeats.beat(connection, heartbeats.SENSORS)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 0 and "bot ended (by SIGKILL)" in err
    assert not processes_of(home)
    with home.opened() as platform, platform.engine.connect() as connection:
        beats = [heartbeats.last_beat(connection, one) for one in (heartbeats.SENSORS, heartbeats.BOT)]
    assert beats == [None, None], "what ends on purpose is missed by nobody"
    logs = "".join(one.read_text() for one in (home.path / "logs").glob("*.log*"))
    assert TOKEN not in logs and TOKEN not in err
