import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from orchestrator.errors import AddressUnavailable, ConfigError
from orchestrator.gateway.bind import bind_tcp, refuse_open_bind
from orchestrator.values.settings import Settings

EVERYWHERE = "0.0.0.0"  # noqa: S104 (nothing is bound there)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_loopback_needs_no_key(host: str) -> None:
    refuse_open_bind(Settings(host=host))


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "", "192.168.1.5", "my.machine"])
def test_beyond_loopback_a_key_is_needed(host: str) -> None:
    with pytest.raises(ConfigError) as raised:
        refuse_open_bind(Settings(host=host))
    assert "without API keys" in raised.value.what
    assert "api_keys:" in raised.value.fix
    refuse_open_bind(Settings(host=host, api_keys=("k",)))


@pytest.fixture
def taken() -> Iterator[int]:
    with closing(bind_tcp("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_bound_socket_takes_connections_before_anything_serves_it(taken: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", taken), timeout=5)):
        pass


def test_a_taken_port_is_named_with_the_fix(taken: int) -> None:
    with pytest.raises(AddressUnavailable) as raised:
        bind_tcp("127.0.0.1", taken)
    assert f"port {taken} on 127.0.0.1 is taken" in raised.value.what
    assert "`listen:` in orchestrator.yaml or `--port`" in raised.value.fix


def test_localhost_is_where_most_clients_look_for_it() -> None:
    with closing(bind_tcp("localhost", 0)) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.name.invalid", "a" * 300])
def test_an_address_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(AddressUnavailable, match="is not an address of this machine"):
        bind_tcp(host, 0)


def test_a_privileged_port_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whether a port is privileged depends on who runs the tests and on the kernel's settings.
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "socket", type("Refusing", (socket.socket,), {"bind": refuse}))
    with pytest.raises(AddressUnavailable) as raised:
        bind_tcp("127.0.0.1", 80)
    assert "port 80 on 127.0.0.1 may not be opened by this user" in raised.value.what
    assert "1024" in raised.value.fix


def test_any_other_failure_keeps_the_systems_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(105, "No buffer space available")

    monkeypatch.setattr(socket, "socket", type("Refusing", (socket.socket,), {"bind": refuse}))
    with pytest.raises(AddressUnavailable, match="No buffer space available"):
        bind_tcp("127.0.0.1", 80)
