"""With the switch off nothing is connected to beyond this machine's own networks, whatever the YAML says."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from orchestrator.engines.egress import Egress, EgressRefused, is_local, refusal_of
from orchestrator.engines.openai.engine import OpenAIEngine
from orchestrator.errors import EngineError, NotAllowed
from orchestrator.values.spec import is_near
from tests.egress_watch import Seen, watching
from tests.engines.openai_client import ANSWER, of, replica, saying
from tests.engines.openai_servers import Asked, answer, models, scripted
from tests.engines.real_time import REAL_TIME
from tests.engines.rig import Arrivals

pytestmark = REAL_TIME

AWAY = (
    "http://8.8.8.8/v1",
    "https://8.8.8.8:8443/v1",
    "http://8.8.8.8./v1",
    "http://134744072/v1",
    "http://0x08080808/v1",
    "http://01002004010/v1",
    "http://010.010.010.010/v1",
    "http://0x8.0x8.0x8.0x8/v1",
    "http://8.8/v1",
    "http://８.８.８.８/v1",  # noqa: RUF001 (that is the trick)
    "http://8。8。8。8/v1",
    "http://[2001:4860:4860::8888]/v1",
    "http://[::ffff:8.8.8.8]/v1",
    "http://[::ffff:808:808]/v1",
    "http://[::8.8.8.8]/v1",
    "http://[64:ff9b::8.8.8.8]/v1",
    "http://[64:ff9b:1::808:808]/v1",
    "http://[2002:808:808::1]/v1",
    "http://[2001:0:808:808::1]/v1",
    "http://224.0.0.251/v1",
    "http://127.0.0.1@8.8.8.8/v1",
    "http://localhost:80@8.8.8.8/v1",
    "http://127.0.0.1%2f@8.8.8.8/v1",
    "http://api.openai.com/v1",
    "http://localhost.example.com/v1",
    "http://127.0.0.1.example.com/v1",
    "http://box.local.example.com/v1",
    "http://liar.lan/v1",
    "http://liar/v1",
    "http://liar.localhost/v1",
    "http://liar6.local/v1",
)
# What a resolver of the attacker's says of names that look near.
LIES: Mapping[str, Sequence[str]] = {
    "liar.lan": ("8.8.8.8",),
    "liar": ("8.8.8.8", "1.1.1.1"),
    "liar.localhost": ("::ffff:8.8.8.8",),
    "liar6.local": ("2001:4860:4860::8888",),
}


class Resolver:
    """Answers in place of the network's own, and keeps what it was asked."""

    def __init__(self, says: Mapping[str, Sequence[str]]) -> None:
        self.says = dict(says)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        self.asked.append(host)
        if host not in self.says:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.says[host]
        ]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    made = Resolver(LIES)

    async def resolve(_: object, *args: Any, **kwargs: Any) -> list[ResolveResult]:  # noqa: ANN401 (the original's)
        return await made.resolve(*args, **kwargs)

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    return made


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that would lead everything through a proxy out there."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://8.8.8.8:3128")
        monkeypatch.setenv(name.upper(), "http://8.8.8.8:3128")


async def try_everything(engine: OpenAIEngine, endpoint: str, *, paid: bool) -> list[EngineError]:
    """Ask an engine for all that makes connections; return how it refused."""
    model = of(endpoint, paid=paid)
    refusals = []
    verbs = (
        engine.version(model),
        engine.ensure_fetched(model, Arrivals()),
        engine.ensure_loaded("r1", model),
    )
    for verb in verbs:
        try:
            await verb
        except EngineError as refusal:
            refusals.append(refusal)
    await engine.observe()
    await engine.diagnose()
    return refusals


@pytest.mark.usefixtures("proxied")
@pytest.mark.parametrize("endpoint", AWAY)
async def test_no_spelling_of_an_endpoint_leads_away(
    runtime: Path, resolver: Resolver, endpoint: str
) -> None:
    engine = OpenAIEngine(runtime / "run")
    with watching() as seen:
        for paid in (False, True):
            refusals = await try_everything(engine, endpoint, paid=paid)
            assert refusals
            assert all(isinstance(refusal, NotAllowed) for refusal in refusals), refusals
            assert all("egress: true" in refusal.fix and "tiers" in refusal.fix for refusal in refusals)
    await engine.close()
    assert seen == Seen()
    assert all(is_near(f"http://{host}") for host in resolver.asked)


@pytest.mark.usefixtures("proxied")
async def test_a_redirect_does_not_lead_away(runtime: Path) -> None:
    async def redirect(asked: Asked, transport: asyncio.Transport) -> None:
        if asked.method == "GET" and not always:
            transport.write(models("theirs"))
        else:
            transport.write(answer(307, b"", "location: http://8.8.8.8/v1/models"))

    always = False
    with watching() as seen:
        async with scripted(redirect) as server:
            async with replica(runtime, of(server.url)) as client:
                status, got = await client.ask()
                assert (status, got["error"]["code"]) == (502, "upstream_redirect")
            always = True
            engine = OpenAIEngine(runtime / "again")
            assert await try_everything(engine, server.url, paid=False)
            await engine.close()
    assert seen.connected
    assert seen.away == []


async def test_a_name_that_moves_away_later_is_not_followed(resolver: Resolver) -> None:
    closing = answer(200, ANSWER, "connection: close")
    async with scripted(saying(closing)) as server:
        resolver.says["box.lan"] = ("127.0.0.1",)
        url = server.url.replace("127.0.0.1", "box.lan")
        with watching() as seen:
            async with Egress(anywhere=False).session() as session:
                async with session.post(url, data=b"{}") as response:
                    assert response.status == 200
                resolver.says["box.lan"] = ("8.8.8.8",)
                connector = session.connector
                assert isinstance(connector, aiohttp.TCPConnector)
                connector.clear_dns_cache()
                with pytest.raises(aiohttp.ClientConnectorError) as caught:
                    await session.post(url, data=b"{}")
        assert isinstance(refusal_of(caught.value), EgressRefused)
    assert seen.connected
    assert seen.away == []


async def test_a_list_of_endpoints_is_refused_for_one_of_them(runtime: Path) -> None:
    async with scripted(saying()) as server:
        engine = OpenAIEngine(runtime / "run")
        with watching() as seen, pytest.raises(NotAllowed):
            await engine.ensure_loaded("r1", of(server.url, "http://8.8.8.8/v1"))
        assert seen == Seen()
        await engine.close()


async def test_with_the_switch_on_a_near_name_that_lies_is_still_refused(
    runtime: Path, resolver: Resolver
) -> None:
    """A policy takes its model for local, so the user has not said it in the second place."""
    engine = OpenAIEngine(runtime / "run", egress=True)
    with watching() as seen, pytest.raises(NotAllowed, match=r"liar\.lan.*8\.8\.8\.8"):
        await engine.ensure_loaded("r1", of("http://liar.lan/v1"))
    assert seen == Seen()
    assert resolver.asked == ["liar.lan"]
    await engine.close()


async def test_with_the_switch_on_a_remote_endpoint_is_reached(runtime: Path, resolver: Resolver) -> None:
    async with scripted(saying(answer(200, ANSWER))) as server:
        resolver.says["api.example.com"] = ("127.0.0.1",)
        url = server.url.replace("127.0.0.1", "api.example.com")
        async with replica(runtime, of(url, paid=True), egress=True) as client:
            assert (await client.ask())[0] == 200


async def test_near_addresses_among_others_are_used(resolver: Resolver) -> None:
    async with scripted(saying()) as server:
        resolver.says["box.lan"] = ("8.8.8.8", "127.0.0.1")
        url = server.url.replace("127.0.0.1", "box.lan") + "/models"
        with watching() as seen:
            async with Egress(anywhere=False).session() as session, session.get(url) as response:
                assert response.status == 200
    assert seen.connected == ["127.0.0.1"]


async def test_the_socket_itself_is_guarded_where_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    egress = Egress(anywhere=False)
    with watching() as seen:
        async with egress.session() as session:
            monkeypatch.setattr(egress, "check_host", lambda _: None)
            for url in ("http://8.8.8.8/", "http://[2001:4860:4860::8888]/"):
                with pytest.raises(aiohttp.ClientConnectorError) as caught:
                    await session.get(url)
                assert isinstance(refusal_of(caught.value), EgressRefused)
    assert seen == Seen()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "http://[::1]/", "http://10.0.0.7:8000/", "http://box/"]
)
def test_what_is_near_passes_the_first_look(url: str) -> None:
    Egress(anywhere=False).check(URL(url))


def test_anywhere_is_anywhere() -> None:
    Egress(anywhere=True).check(URL("http://8.8.8.8/"))


@given(st.ip_addresses())
def test_local_is_what_the_internet_does_not_route(address: IPv4Address | IPv6Address) -> None:
    if is_local(str(address)):
        assert not address.is_global
    if isinstance(address, IPv4Address):
        assert is_local(str(address)) == (not address.is_global and not address.is_multicast)
        assert is_local(f"::ffff:{address}") == is_local(str(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "fe80::1%eth0",
    ],
)
def test_the_networks_of_a_home_and_an_office_are_local(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    "address", ["", "localhost", "127.1", "0x7f000001", "127.0.0.1 ", "8.8.8.8", "::ffff:8.8.8.8", "ff02::1"]
)
def test_what_is_not_plainly_a_local_address_is_none(address: str) -> None:
    assert not is_local(address)


async def test_the_watch_sees_what_it_has_to_see() -> None:
    """What the tests above rest on: an attempt is seen, on both event loops, also one that fails."""
    loop = asyncio.get_running_loop()
    with watching() as seen:
        with socket.socket() as sock, suppress(OSError):
            sock.setblocking(False)  # noqa: FBT003 (its signature)
            await loop.sock_connect(sock, ("127.0.0.1", 9))
        async with aiohttp.ClientSession() as session:
            with suppress(aiohttp.ClientError):
                await session.get("http://127.0.0.2:9/")
    assert seen.connected == ["127.0.0.1", "127.0.0.2"]
    assert ip_address("8.8.8.8").is_global


def test_a_whole_program_can_be_watched(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "connects.py").write_text("import socket; socket.socket().connect_ex(('127.0.0.1', 9))\n")
    argv = [sys.executable, "-m", "tests.egress_watch", str(log), "connects"]
    subprocess.run(argv, check=True, env={"PYTHONPATH": f"{Path.cwd()}:{tmp_path}"})
    assert log.read_text() == "connect 127.0.0.1\n"
