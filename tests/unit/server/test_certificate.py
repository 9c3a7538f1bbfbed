"""What listeners show: loaded together, again when asked, renewed in time, and never lost to a bad file."""

import datetime
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from trio.testing import MockClock, wait_all_tasks_blocked

from securechat import limits
from securechat.errors import CertificateError, SecurechatError
from securechat.server import certificate as certificate_module
from securechat.server.certificate import CertificateKeeper, judge_dates
from securechat.transport import certificates
from securechat.transport.certificates import Leaf, Pair, make_pair, pin_of, read_key
from securechat.transport.own import OwnPair
from securechat.transport.tls import ServerTls, load_for_all
from tests.support import certified
from tests.support.certified import UNUSABLE
from tests.support.patience import PATIENCE

DAY = 24 * 3600.0
ALPNS = ["securechat/1", "other"]
LOADED = "the certificate was reloaded"


class Listeners:
    """What would listen: it knows only what it was given last."""

    def __init__(self) -> None:
        self.given: list[Sequence[ServerTls]] = []

    def use(self, tls: Sequence[ServerTls]) -> None:
        self.given.append(tls)


@asynccontextmanager
async def running(
    files: Pair | OwnPair, wall: Callable[[], float] = time.time
) -> AsyncIterator[tuple[CertificateKeeper, Listeners]]:
    keeper, listeners = CertificateKeeper(files, ALPNS, wall), Listeners()
    listeners.use(await keeper.load())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run, listeners.use)
        await wait_all_tasks_blocked()
        yield keeper, listeners
        nursery.cancel_scope.cancel()


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what another thread does; the clock of the tests may stand still."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        await trio.lowlevel.checkpoint()


async def pass_an_hour(clock: MockClock) -> None:
    """Let the keeper look at the dates; what it does then may take a moment more."""
    await wait_all_tasks_blocked()
    clock.jump(limits.CERTIFICATE_INTERVAL + 1)
    await wait_all_tasks_blocked()


def dated(pair: Pair, start: datetime.datetime, end: datetime.datetime) -> None:
    """Give a certificate of ours other dates."""
    old = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
    builder = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), 2, start, end)
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    signed = builder.sign(read_key(pair.key), hashes.SHA256())
    pair.certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def with_days_left(directory: Path, days: float) -> Pair:
    """Return a pair that was made by 'securechat cert' and ends so many days from now."""
    pair = make_pair(directory, ["box"])
    now = datetime.datetime.now(datetime.UTC)
    dated(pair, now - datetime.timedelta(days=300), now + datetime.timedelta(days=days, minutes=1))
    return pair


def own(directory: Path) -> OwnPair:
    return OwnPair(directory, lambda: ["box"])


def has_come(listeners: Listeners, times: int) -> bool:
    return len(listeners.given) == times


def is_said(caplog: pytest.LogCaptureFixture, times: int) -> bool:
    return len(caplog.messages) == times


# Reload


async def test_all_listeners_get_one_certificate(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pair = make_pair(tmp_path, ["a"])
    async with running(pair) as (keeper, listeners):
        make_pair(tmp_path, ["b"], overwrite=True)
        keeper.request()
        await until(lambda: LOADED in caplog.messages)
        (_, (one, other)) = listeners.given
        assert one.leaf == other.leaf == pair.read_leaf()
    assert caplog.messages == [LOADED]


@pytest.mark.parametrize("kind", UNUSABLE)
async def test_a_bad_pair_changes_nothing_and_is_said_once(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    pair = make_pair(tmp_path, ["a"])
    async with running(pair) as (keeper, listeners):
        make, sentence = UNUSABLE[kind]
        certified.write(tmp_path, *make())
        keeper.request()
        await until(lambda: bool(caplog.messages))
        assert len(listeners.given) == 1
        (message,) = caplog.messages
        assert message.startswith("the certificate stays as it was: ")
        assert sentence in message
        make_pair(tmp_path, ["b"], overwrite=True)
        keeper.request()
        await until(lambda: len(listeners.given) == 2)
        assert listeners.given[1][0].names == ("b",)


async def test_requests_during_a_load_are_one_that_comes_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = make_pair(tmp_path, ["a"])
    async with running(pair) as (keeper, listeners):
        begun, go_on = threading.Event(), threading.Event()
        loads, load = 0, load_for_all

        def wait(given: Pair, *alpns: str) -> list[ServerTls]:
            nonlocal loads
            loads += 1
            loaded = load(given, *alpns)
            begun.set()
            assert go_on.wait(PATIENCE)
            return loaded

        monkeypatch.setattr(certificate_module, "load_for_all", wait)
        keeper.request()
        await until(begun.is_set)
        make_pair(tmp_path, ["last"], overwrite=True)
        for _ in range(10):
            keeper.request()
        go_on.set()
        await until(lambda: len(listeners.given) == 3)
        assert [tls[0].names for tls in listeners.given] == [("a",), ("a",), ("last",)]
    assert loads == 2


async def test_files_that_hang_delay_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pair, go_on, threads = make_pair(tmp_path, ["a"]), threading.Event(), 0

    def hang(self: Pair) -> Leaf:
        nonlocal threads
        threads += 1
        assert go_on.wait(PATIENCE)
        raise CertificateError("too late")

    async with running(pair) as (keeper, listeners):
        with monkeypatch.context() as patch:
            patch.setattr(limits, "CERTIFICATE_TIMEOUT", 0.05)
            patch.setattr(Pair, "read_leaf", hang)
            for count in (1, 2, 3):
                keeper.request()
                await until(partial(is_said, caplog, count))
            assert threads == 1, "those that follow do not hang as well"
            go_on.set()
            await until(lambda: keeper._limiter.borrowed_tokens == 0)
        keeper.request()
        await until(lambda: len(listeners.given) == 2)
    assert "could not be read in 0 s. Check the disk or network" in caplog.messages[0]


async def test_a_start_with_files_that_hang_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CERTIFICATE_TIMEOUT", 0.05)
    go_on = threading.Event()

    def hang(self: Pair) -> Leaf:
        assert go_on.wait(PATIENCE)
        raise CertificateError("too late")

    monkeypatch.setattr(Pair, "read_leaf", hang)
    with pytest.raises(CertificateError, match=r"could not be read in 0 s\."):
        await CertificateKeeper(make_pair(tmp_path, ["a"]), ALPNS).load()
    go_on.set()


async def test_a_start_without_a_usable_pair_ends(tmp_path: Path) -> None:
    with pytest.raises(SecurechatError, match="cannot be read"):
        await CertificateKeeper(Pair(tmp_path / "cert.pem", tmp_path / "key.pem"), ALPNS).load()


# Dates


@pytest.mark.parametrize(
    ("days", "says"),
    [
        (397, ""),
        (22, ""),
        (20.5, "expires on"),
        (0.2, "expires on"),
        (-1, "has expired on"),
        (-10000, "has expired on"),
    ],
)
async def test_dates_of_a_given_pair_are_said(
    tmp_path: Path, days: float, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    pair = make_pair(tmp_path, ["a"])
    end = pair.read_leaf().not_after.timestamp()
    async with running(pair, lambda: end - days * DAY) as (keeper, listeners):
        assert len(caplog.messages) == bool(says)
        assert says in "".join(caplog.messages)
        keeper.request()
        await until(lambda: len(listeners.given) == 2)
        await until(lambda: len(caplog.messages) == 2 * bool(says))


def test_a_certificate_of_tomorrow_is_said(tmp_path: Path) -> None:
    leaf = make_pair(tmp_path, ["a"]).read_leaf()
    (text,) = judge_dates(leaf, 0)
    assert "is not valid before 20" in text
    assert judge_dates(leaf, leaf.not_before.timestamp() + 1) == []


async def test_dates_are_said_daily_while_they_are_bad(
    tmp_path: Path, mock_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    pair = make_pair(tmp_path, ["a"])
    start = pair.read_leaf().not_after.timestamp() - 30 * DAY
    async with running(pair, lambda: start + trio.current_time()):
        said = []
        for _ in range(33 * 24):
            await pass_an_hour(mock_clock)
            if caplog.messages:
                said.append(trio.current_time() / DAY)
                caplog.clear()
    assert 9 <= said[0] <= 9.1
    assert 24 <= len(said) <= 25
    assert all(0.95 < later - earlier < 1.1 for earlier, later in pairwise(said))


# The server's own


@pytest.mark.parametrize("days", [30, -30])
async def test_a_running_server_renews_its_own(
    tmp_path: Path, mock_clock: MockClock, caplog: pytest.LogCaptureFixture, days: int
) -> None:
    caplog.set_level(logging.INFO)
    pair = make_pair(tmp_path, ["box"])
    pin, end = pin_of(pair), pair.read_leaf().not_after.timestamp()
    wall = time.time()
    async with running(own(tmp_path), lambda: wall) as (_, listeners):
        wall = end - days * DAY
        await pass_an_hour(mock_clock)
        await until(lambda: LOADED in caplog.messages)
        assert [tls[0].pin for tls in listeners.given] == [pin, pin]
        assert listeners.given[0][0].leaf != listeners.given[1][0].leaf
    assert caplog.messages == [LOADED]


async def test_a_renewal_that_fails_is_said_daily_and_tried_hourly(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_days_left(tmp_path, 30)
    tries = 0

    def fail(*_: object) -> None:
        nonlocal tries
        tries += 1
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(certificates, "write_private", fail)
        async with running(own(tmp_path)) as (_, listeners):
            for hour in range(1, 27):
                await pass_an_hour(mock_clock)
                await until(partial(has_come, listeners, hour + 1))
    assert tries == 27
    assert len(caplog.messages) == 2
    assert all("could not be renewed" in message and "No space left" in message for message in caplog.messages)


async def test_a_clock_that_is_set_right_heals_the_dates(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, real = 0.0, time.time()
    monkeypatch.setattr("time.time", lambda: wall)
    async with running(own(tmp_path), lambda: wall) as (_, listeners):
        assert listeners.given[0][0].leaf.not_after.year == 1971
        for wall in (real + 40 * 365 * DAY, real):
            count = len(listeners.given)
            await pass_an_hour(mock_clock)
            await until(partial(has_come, listeners, count + 1))
            leaf = listeners.given[-1][0].leaf
            assert leaf.not_before.timestamp() < wall < leaf.not_after.timestamp()
    assert len({tls[0].pin for tls in listeners.given}) == 1


async def test_what_a_start_repaired_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_pair(tmp_path, ["box"]).certificate.unlink()
    async with running(own(tmp_path)):
        pass
    assert caplog.messages == [f"{tmp_path}/cert.pem was missing: the key was signed again, and the pin is the same"]


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
async def test_a_file_that_goes_away_ends_nothing(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    async with running(own(tmp_path)) as (keeper, listeners):
        (tmp_path / name).unlink()
        keeper.request()
        await until(lambda: bool(caplog.messages))
        assert len(listeners.given) == 1
    (message,) = caplog.messages
    assert message.startswith(f"the certificate stays as it was: {tmp_path}/{name} cannot be read: No such file")


async def test_a_fault_of_ours_in_a_reload_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keeper, listeners = CertificateKeeper(own(tmp_path), ALPNS), Listeners()
    await keeper.load()
    faults = [LookupError("ours")]

    def use(tls: Sequence[ServerTls]) -> None:
        while faults:
            raise faults.pop()
        listeners.use(tls)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run, use)
        keeper.request()
        await until(lambda: bool(caplog.messages))
        keeper.request()
        await until(partial(has_come, listeners, 1))
        nursery.cancel_scope.cancel()
    (record,) = caplog.records
    assert record.message == "the certificate stays as it was, by a fault of this server; please report it"
    assert record.exc_info
