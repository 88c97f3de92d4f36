from typing import Any

import pytest

from orchestrator.errors import RequestError
from orchestrator.gateway.guard import Guard, is_loopback
from orchestrator.values.settings import Settings

EVERYWHERE = "0.0.0.0"  # noqa: S104 (nothing is bound here)
OURS = [
    "localhost",
    "LOCALHOST:11435",
    "127.0.0.1",
    "127.0.0.1:80",
    "127.8.9.1",
    "[::1]",
    "[::1]:11435",
    "box.lan:1",
    "box.lan",
]
FOREIGN = [
    "",
    "evil.example",
    "evil.example:11435",
    "localhost.evil.example",
    "192.168.1.5",
    "[::2]:1",
    "127.0.0.1.evil.example",
    "2130706433",
    "[::1",
    "::1]x",
]


def guard(**settings: Any) -> Guard:  # noqa: ANN401 (any setting)
    fields: dict[str, Any] = {"allowed_hosts": ("box.lan",), "allowed_origins": ("https://app.example",)}
    return Guard(Settings(**(fields | settings)))


@pytest.mark.parametrize("host", OURS)
def test_a_host_that_means_this_machine_passes(host: str) -> None:
    guard().check_place({b"host": host.encode()})


@pytest.mark.parametrize("host", FOREIGN)
def test_on_loopback_any_other_host_is_refused_with_the_fix(host: str) -> None:
    with pytest.raises(RequestError) as raised:
        guard().check_place({b"host": host.encode()})
    assert (raised.value.status, raised.value.code) == (403, "host_not_allowed")
    assert "allowed_hosts:" in raised.value.fix


def test_beyond_loopback_keys_guard_and_any_host_passes() -> None:
    guard(host=EVERYWHERE, api_keys=("k",)).check_place({b"host": b"my.machine"})


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "http://localhost:3000",
        "https://127.0.0.1:8443",
        "http://[::1]:5",
        "https://app.example",
        "https://APP.example",
    ],
)
def test_an_origin_of_this_machine_or_of_the_settings_passes_and_may_read(origin: str) -> None:
    headers = {b"host": b"localhost", b"origin": origin.encode()}
    guard().check_place(headers)
    assert (b"access-control-allow-origin", origin.encode()) in guard().cors(headers)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil",
        "https://app.example:444",
        "file://",
        "ftp://localhost",
        "http://[::1",
        "http://localhost.evil.example",
        "http://evil.example@localhost",
        "http://localhost:3000, https://evil.example",
        "http://localhost/page",
    ],
)
@pytest.mark.parametrize("bound", ["127.0.0.1", EVERYWHERE])
def test_any_other_origin_is_refused_wherever_we_listen(origin: str, bound: str) -> None:
    headers = {b"host": b"localhost", b"origin": origin.encode()}
    with pytest.raises(RequestError) as raised:
        guard(host=bound).check_place(headers)
    assert (raised.value.status, raised.value.code) == (403, "origin_not_allowed")
    assert guard().cors(headers) == []


def test_who_sends_no_origin_is_no_page() -> None:
    guard().check_place({b"host": b"localhost"})
    assert guard().cors({b"host": b"localhost"}) == []


@pytest.mark.parametrize("sent", [b"Bearer two", b"bearer two", b"Bearer  two "])
def test_any_of_the_keys_opens(sent: bytes) -> None:
    guard(api_keys=("one", "two")).check_key({b"authorization": sent})


@pytest.mark.parametrize(
    "sent",
    [None, b"", b"two", b"Bearer", b"Bearer ", b"Bearer tw", b"Bearer twoo", b"Basic two", b"Bearer \xff"],
)
def test_anything_else_is_401(sent: bytes | None) -> None:
    headers = {} if sent is None else {b"authorization": sent}
    with pytest.raises(RequestError) as raised:
        guard(api_keys=("one", "two")).check_key(headers)
    assert (raised.value.status, raised.value.code) == (401, "invalid_api_key")
    assert "two" not in f"{raised.value}"


def test_without_keys_nobody_needs_one() -> None:
    guard().check_key({})


def test_loopback_is_what_can_only_mean_this_machine() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert not is_loopback(EVERYWHERE)
    assert not is_loopback("")
