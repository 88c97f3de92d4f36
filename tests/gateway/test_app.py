"""Paths, methods, keys, origins and the list of models, over real HTTP."""

import pytest

from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import ModelState
from tests.gateway.fakes import route, table
from tests.gateway.running import CHAT, HELLO, gateway
from tests.gateway.standin import Call, worker

pytestmark = [
    pytest.mark.looptime(False),  # noqa: FBT003 (its signature)
    pytest.mark.timeout(60),
]

DAILY = RoutingPolicy(name="daily", default=True, otherwise=("fast",), fallback=("big", "gone"))
ORIGIN = {"Origin": "http://localhost:3000"}
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
NOTHING = table()


async def plain(call: Call) -> None:
    await call.json({"choices": []})


async def test_health_says_that_we_serve() -> None:
    async with gateway(NOTHING, api_keys=("k",)) as running:
        reply = await running.ask("GET", "/health")
        assert (reply.status, reply.json) == (200, {"status": "ok"})
        assert (await running.ask("HEAD", "/health")).status == 200


async def test_ready_tells_what_the_daemon_thinks() -> None:
    async with gateway(NOTHING, api_keys=("k",)) as running:
        running.ready = (False, {"models": {"fast": "loading"}})
        reply = await running.ask("GET", "/ready")
        assert (reply.status, reply.json) == (
            503,
            {"ready": False, "draining": False, "models": {"fast": "loading"}},
        )
        running.ready = (True, {})
        assert (await running.ask("GET", "/ready")).status == 200


async def test_the_list_has_every_model_but_the_absent_and_auto() -> None:
    routes = (route("big"), route("fast", "/s"), route("old", state=ModelState.ABSENT))
    async with gateway(table(*routes, policies=(DAILY,))) as running:
        reply = await running.ask("GET", "/v1/models")
        assert [entry["id"] for entry in reply.json["data"]] == ["big", "fast", "auto"]
        big, fast, auto = reply.json["data"]
        assert all(
            entry["object"] == "model" and isinstance(entry["created"], int) for entry in (big, fast, auto)
        )
        assert (big["ready"], big["unready"], big["revision"]) == (False, "it is loading", None)
        assert (fast["ready"], fast["state"], fast["revision"]) == (True, "active", "r1")
        assert fast["capabilities"] == ["chat", "completion", "embedding"]
        assert (auto["ready"], auto["policy"], auto["models"]) == (True, "daily", ["fast", "big", "gone"])


async def test_one_model_can_be_looked_up_by_each_name_a_request_can_use() -> None:
    async with gateway(table(route("fast", "/s"), policies=(DAILY,))) as running:
        for name in ("fast", "auto", "policy/daily"):
            reply = await running.ask("GET", f"/v1/models/{name}")
            assert (reply.status, reply.json["id"]) == (200, name)


@pytest.mark.parametrize("name", ["fastt", "FAST", "policy/dayly", "policy/Daily"])
async def test_an_unknown_name_is_404_with_the_nearest(name: str) -> None:
    async with gateway(table(route("fast", "/s"), policies=(DAILY,))) as running:
        reply = await running.ask("GET", f"/v1/models/{name}")
        assert (reply.status, reply.code) == (404, "model_not_found")
        assert "did you mean" in reply.json["error"]["message"]


async def test_auto_without_a_default_policy_is_404_with_the_fix() -> None:
    async with gateway(table(route("fast", "/s"))) as running:
        reply = await running.ask("GET", "/v1/models/auto")
        assert reply.status == 404
        assert "`default: true`" in reply.json["error"]["message"]
        assert len((await running.ask("GET", "/v1/models")).json["data"]) == 1


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("/chat/completions", CHAT),
        ("/v1/chat/completion", CHAT),
        ("/v1/chat/completions/", CHAT),
        ("/models", "/v1/models"),
        ("/embeddings", "/v1/embeddings"),
        ("/healthz", "/health"),
    ],
)
async def test_a_slip_in_the_path_is_404_with_the_right_one(path: str, nearest: str) -> None:
    async with gateway(NOTHING) as running:
        reply = await running.ask("POST", path)
        assert (reply.status, reply.code) == (404, "path_not_found")
        assert f"did you mean {nearest}?" in reply.json["error"]["message"]


async def test_any_other_path_is_404_with_those_there_are() -> None:
    async with gateway(NOTHING) as running:
        reply = await running.ask("GET", "/v1/audio/speech")
        assert reply.status == 404
        assert CHAT in reply.json["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "allow"), [("GET", CHAT, "POST"), ("POST", "/v1/models", "GET, HEAD")]
)
async def test_the_wrong_method_is_405_with_the_right_one(method: str, path: str, allow: str) -> None:
    async with gateway(NOTHING) as running:
        reply = await running.ask(method, path)
        assert (reply.status, reply.code, reply.headers["allow"]) == (405, "method_not_allowed", allow)


async def test_keys_are_asked_for_everywhere_but_at_health_and_ready() -> None:
    async with (
        worker(plain) as upstream,
        gateway(table(route(socket=upstream.socket)), api_keys=("k",)) as running,
    ):
        for method, path in (
            ("POST", CHAT),
            ("GET", "/v1/models"),
            ("GET", "/v1/models/fast"),
            ("GET", "/x"),
        ):
            reply = await running.ask(method, path, json={})
            assert (reply.status, reply.code) == (401, "invalid_api_key")
            assert reply.headers["www-authenticate"] == "Bearer"
        fact = await running.history.next()
        assert (fact.status, fact.error) == (401, "invalid_api_key")
        reply = await running.post(
            {"model": "fast", "messages": HELLO}, headers={"Authorization": "Bearer k"}
        )
        assert reply.status == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/health", "/ready", "/x"])
async def test_a_foreign_host_or_origin_is_refused_everywhere(path: str) -> None:
    async with gateway(NOTHING) as running:
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            reply = await running.ask("POST", path, headers=headers)
            assert reply.status == 403
            assert "access-control-allow-origin" not in reply.headers


async def test_a_page_of_this_machine_may_ask_and_read() -> None:
    async with (
        worker(plain) as upstream,
        gateway(table(route(socket=upstream.socket)), api_keys=("k",)) as running,
    ):
        before = await running.ask("OPTIONS", CHAT, headers=ORIGIN | PREFLIGHT)
        assert (before.status, before.content) == (204, b"")
        assert before.headers["access-control-allow-origin"] == ORIGIN["Origin"]
        assert before.headers["access-control-allow-headers"] == "content-type"
        headers = ORIGIN | {"Authorization": "Bearer k"}
        for reply in (
            await running.post({"model": "fast", "messages": HELLO}, headers=headers),
            await running.post({"model": "none"}, headers=headers),
            await running.ask("GET", "/v1/models", headers=headers),
        ):
            assert reply.headers["access-control-allow-origin"] == ORIGIN["Origin"]
            assert "x-orchestrator-decision" in reply.headers["access-control-expose-headers"].lower()


async def test_a_foreign_page_gets_no_preflight() -> None:
    async with gateway(NOTHING) as running:
        reply = await running.ask("OPTIONS", CHAT, headers=PREFLIGHT | {"Origin": "https://evil.example"})
        assert reply.status == 403
