"""The code between the process that needs it and the person who has it: good answers, refused ones, and waiting."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from catalog import heartbeats, twofa
from catalog.twofa import CodeRequest
from pipeline import icloud_account
from pipeline.icloud_account import ask_for_code, enter_code
from pipeline.stage import CLAIM_BATCH
from pipeline.twofa import Answer, Answers, Verdict, ask_person, cancel, wait_for_code
from resources.icloud_errors import Need, NeedsPerson
from services.icloud_standin import Account, ICloudStandin, Library
from tests.icloud_library import jpeg
from tests.icloud_world import TrustEnds, World

LATER = timedelta(minutes=11)
NOON = datetime(2026, 5, 17, 10, 0, tzinfo=UTC)


class Person:
    """Somebody with a phone, whose messages are numbered as Telegram does."""

    def __init__(self, world: World, account: Account) -> None:
        self.world = world
        self.phone = account
        self.answers = Answers(world.engine, world.account, now=lambda: datetime.now(UTC) + self.ahead)
        self.ahead = timedelta()
        self.number = 100

    def sends(self, code: str | None = None, *, sent: timedelta = timedelta(), update: int | None = None) -> Verdict:
        self.number += 1
        answer = Answer(code or self.code, datetime.now(UTC) + self.ahead + sent, update or self.number, self.number)
        return self.answers.judge(answer)[0]

    @property
    def code(self) -> str:
        assert self.phone.code is not None
        return self.phone.code

    def wrong(self, number: int = 0) -> str:
        return [one for one in ("000000", "111111", "222222", "333333") if one != self.code][number]

    @property
    def request(self) -> CodeRequest | None:
        with self.world.engine.connect() as connection:
            return twofa.open_request_of(connection, "icloud")


@pytest.fixture
def person(world: World, account: Account) -> Person:
    return Person(world, account)


@pytest.fixture
def asked(person: Person) -> Person:
    """The same, whom Apple has sent a code."""
    ask_for_code(person.world.engine, person.world.account())
    return person


def test_a_code_that_answers_the_question_signs_in(asked: Person) -> None:
    assert asked.sends() is Verdict.ACCEPTED
    assert asked.request is None


def test_a_code_that_nobody_asked_for_is_refused(person: Person) -> None:
    assert person.sends("123456") is Verdict.NOT_ASKED


def test_a_wrong_code_may_be_followed_by_the_right_one(asked: Person) -> None:
    assert asked.sends(asked.wrong()) is Verdict.WRONG
    assert asked.sends() is Verdict.ACCEPTED


def test_three_wrong_codes_end_the_request(asked: Person) -> None:
    assert [asked.sends(asked.wrong(number)) for number in range(3)] == [
        Verdict.WRONG,
        Verdict.WRONG,
        Verdict.TOO_MANY,
    ]
    assert asked.sends() is Verdict.NOT_ASKED


def test_a_code_that_was_tried_is_not_shown_to_apple_again(asked: Person) -> None:
    assert asked.sends(asked.wrong()) is Verdict.WRONG
    assert asked.sends(asked.wrong()) is Verdict.USED
    assert asked.request is not None
    assert asked.request.wrong_codes == 1


def test_a_code_that_apple_did_not_get_to_see_may_be_sent_again(asked: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*_: object, **__: object) -> bool:
        raise icloud_account.AccountBusy("icloud")

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.twofa.enter_code", busy)
        with pytest.raises(icloud_account.AccountBusy):
            asked.sends()
    assert asked.sends() is Verdict.ACCEPTED


def test_a_message_that_answered_answers_no_other_request(asked: Person) -> None:
    assert asked.sends(update=7) is Verdict.ACCEPTED
    ask_for_code(asked.world.engine, asked.world.account(), renew=True)
    assert asked.sends(update=7) is Verdict.USED


def test_a_code_that_apple_sends_anew_lives_as_long_as_any(asked: Person) -> None:
    assert asked.request is not None
    first = asked.request
    asked.world.ahead = timedelta(minutes=9)
    ask_for_code(asked.world.engine, asked.world.account(), now=asked.world.now)
    assert asked.request is not None
    assert asked.request.id == first.id
    assert asked.request.expires_at >= first.expires_at + timedelta(minutes=9)
    asked.world.ahead = timedelta(minutes=10)
    ask_for_code(asked.world.engine, asked.world.account(), now=asked.world.now)
    assert asked.request.expires_at < first.expires_at + timedelta(minutes=9, seconds=30), "Apple sent none this time"


def test_a_second_answer_after_a_good_one_is_refused(asked: Person) -> None:
    code = asked.code
    assert asked.sends(code) is Verdict.ACCEPTED
    assert asked.sends(code) is Verdict.NOT_ASKED


def test_a_code_that_is_older_than_the_question_is_refused(asked: Person) -> None:
    assert asked.sends(sent=-timedelta(minutes=5)) is Verdict.OLDER
    assert asked.request is not None


def test_a_messenger_whose_clock_is_slow_is_believed_when_the_code_follows_the_question(asked: Person) -> None:
    assert asked.request is not None
    with asked.world.engine.begin() as connection:
        twofa.set_message(connection, asked.request.id, asked.number)
    assert asked.sends(sent=-timedelta(minutes=5)) is Verdict.ACCEPTED


def test_a_code_that_comes_too_late_is_refused(asked: Person) -> None:
    asked.ahead = LATER
    assert asked.sends() is Verdict.EXPIRED
    assert asked.request is None


def test_while_one_code_is_tried_another_waits(asked: Person) -> None:
    assert asked.request is not None
    with asked.world.engine.begin() as other:
        assert twofa.hold(other, asked.request.id)
        assert asked.sends() is Verdict.BUSY
    assert asked.sends() is Verdict.ACCEPTED


def test_who_asks_again_gets_the_same_request(asked: Person) -> None:
    first = asked.request
    ask_for_code(asked.world.engine, asked.world.account())
    assert asked.request == first


def test_a_request_that_was_canceled_is_opened_again_by_who_asks_again(asked: Person) -> None:
    assert asked.request is not None
    assert cancel(asked.world.engine, asked.request.id)
    assert not cancel(asked.world.engine, 10**9)
    ask_for_code(asked.world.engine, asked.world.account())
    assert asked.sends() is Verdict.ACCEPTED


def test_a_code_from_the_command_line_ends_the_request_too(asked: Person) -> None:
    assert enter_code(asked.world.engine, asked.world.account(), asked.code)
    assert asked.request is None


# ------------------------------------------------------------------ waiting


@pytest.mark.parametrize("ending, goes_on", [("accepted", True), ("canceled", False), ("refused", False)])
def test_who_waits_is_told_at_once_how_it_ended(asked: Person, ending: twofa.Ending, goes_on: bool) -> None:
    def settle() -> None:
        with asked.world.engine.begin() as connection:
            twofa.end_of_account(connection, "icloud", ending)

    threading.Timer(0.2, settle).start()
    began = time.monotonic()
    assert wait_for_code(asked.world.engine, "icloud") is goes_on
    assert time.monotonic() - began < icloud_account.CODE_LIVES.total_seconds() / 2


def test_who_waits_goes_on_with_the_code_of_another_process(asked: Person) -> None:
    threading.Timer(0.2, asked.sends).start()
    assert wait_for_code(asked.world.engine, "icloud")


def test_nobody_waits_longer_than_a_code_is_good(asked: Person) -> None:
    assert not wait_for_code(asked.world.engine, "icloud", now=lambda: datetime.now(UTC) + LATER)
    assert asked.request is None


def test_nobody_waits_for_what_is_not_asked(person: Person) -> None:
    assert not wait_for_code(person.world.engine, "icloud")


def test_a_run_that_ends_waits_no_more(asked: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.twofa.POLL_SECONDS", 0.05)
    looks = iter([False, True])
    assert not wait_for_code(asked.world.engine, "icloud", stopped=lambda: next(looks))
    assert asked.request is not None


# ------------------------------------------------------------------ asking


def beats(world: World) -> None:
    """A bot is there."""
    with world.engine.begin() as connection:
        heartbeats.beat(connection, heartbeats.BOT)


def ask(person: Person, need: Need = "code") -> datetime | None:
    return ask_person(person.world.engine, person.world.account(), NeedsPerson(need), now=person.answers.now)


def test_a_person_is_asked_only_while_a_bot_hears_the_answer(person: Person) -> None:
    assert ask(person) is None
    beats(person.world)
    person.ahead = timedelta(minutes=5)
    assert ask(person) is None, "it fell silent"
    person.ahead = timedelta()
    assert ask(person) is not None
    assert person.sends() is Verdict.ACCEPTED


def test_a_person_is_asked_once_each_time_that_the_trust_ends(person: Person) -> None:
    beats(person.world)
    first = ask(person)
    assert first is not None
    assert ask(person) == first, "whoever comes meanwhile waits for the same answer"
    assert person.request is not None
    cancel(person.world.engine, person.request.id)
    assert ask(person) is None
    assert person.phone.codes_sent == 1
    ask_for_code(person.world.engine, person.world.account())
    assert person.sends() is Verdict.ACCEPTED
    person.phone.expire_trust()
    assert ask(person) is not None, "the next time is another one"


def test_nobody_is_asked_for_what_no_code_mends(person: Person) -> None:
    beats(person.world)
    assert ask(person, "password") is None
    assert person.phone.codes_sent == 0


# ------------------------------------------------------------------ downloads that wait


@pytest.fixture
def ending(signed_in: World, account: Account, library: Library, icloud: ICloudStandin) -> Person:
    """Somebody whose trust ends among the downloads of a few more photos than one batch has."""
    for number in range(CLAIM_BATCH + 2):
        library.add(f"IMG_{number:04d}.JPG", jpeg(number), taken=NOON, offset_seconds=7200)
    signed_in.sync()
    icloud.faults.add(TrustEnds("answer", "records/lookup$", after=1, status=421, account=account))
    beats(signed_in)
    return Person(signed_in, account)


def test_a_download_that_apple_wants_a_code_for_goes_on_in_the_same_run_when_the_person_answers(
    ending: Person, library: Library
) -> None:
    def answers() -> None:
        while ending.request is None:
            time.sleep(0.05)
        ending.sends()

    threading.Thread(target=answers, daemon=True).start()
    report = ending.world.work()
    assert report.counts == {"stored": CLAIM_BATCH + 2}
    assert ending.world.value("SELECT count(*) FROM media_files") == len(library.assets)
    assert ending.phone.codes_sent == 2, "one at the first sign-in, and one now"


def test_a_download_whose_question_is_canceled_leaves_the_rest_for_later(ending: Person) -> None:
    def cancels() -> None:
        while ending.request is None:
            time.sleep(0.05)
        cancel(ending.world.engine, ending.request.id)

    threading.Thread(target=cancels, daemon=True).start()
    report = ending.world.work()
    assert report.counts["stored"] == CLAIM_BATCH and report.counts["failed"] == 0
    assert ending.world.value("SELECT needs FROM icloud_accounts") == "code"
    assert ending.phone.codes_sent == 2


def test_a_sync_that_is_patient_goes_on_when_the_person_answers(signed_in: World, account: Account) -> None:
    person = Person(signed_in, account)
    beats(signed_in)
    account.expire_trust()
    told: list[str] = []

    def waits(words: str) -> None:
        told.append(words)
        threading.Timer(0.1, person.sends).start()

    assert signed_in.read(patient=waits).found.complete
    assert "Apple wants a code" in told[0]


def test_a_sync_that_cannot_wait_still_has_the_person_asked(signed_in: World, account: Account) -> None:
    person = Person(signed_in, account)
    beats(signed_in)
    account.expire_trust()
    with pytest.raises(NeedsPerson):
        signed_in.sync()
    assert person.request is not None
    assert person.sends() is Verdict.ACCEPTED
    assert signed_in.sync().complete


def test_no_code_is_in_any_table(asked: Person) -> None:
    code, wrong = asked.code, asked.wrong()
    asked.sends(wrong)
    asked.sends()
    with asked.world.engine.connect() as connection:
        rows = connection.execute(text("SELECT t::text FROM twofa_requests t")).scalars().all()
    assert rows
    assert not any(one in row for row in rows for one in (code, wrong))
