"""Models that are loaded when a request asks for them, in a real daemon with real workers."""

import http.client
import json
import math
import re
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.house import FAST, QUALITY, House, house

LAZY = QUALITY + "load: on-demand\nidle: 1s\n"
STAYS = QUALITY + "load: on-demand\nidle: 10m\n"
MODELS = {"fast": FAST, "lazy": LAZY}
CLIENTS = 6


def waiting(home: House, model: str) -> int:
    return int(home.model(model)["waiting"])


def loads(home: House, model: str) -> int:
    return sum(event["reason"] == "Loading" for event in home.model(model)["events"])


def is_away(home: House, model: str) -> bool:
    return not home.model(model)["replicas"]


def why(headers: dict[str, str]) -> str:
    return headers["x-orchestrator-why"]


def shown(home: House, *command: str) -> str:
    """What a command prints, with its lines unwrapped."""
    return " ".join(home.run(*command).stdout.split())


def test_a_request_loads_the_model_and_its_idle_time_unloads_it(
    short_folder: Path, figure: Callable[[str], None]
) -> None:
    with house(short_folder, models=MODELS) as home:
        home.start()
        assert is_away(home, "lazy"), "nobody has asked for it yet"
        home.until(lambda: home.get("/v1/models/lazy")[1]["status"] == "unloaded")
        assert home.get("/v1/models/lazy")[1]["on_demand"]
        assert home.run("status", "--check").returncode == 0, "a model that rests is nothing to worry about"

        began = time.monotonic()
        status, headers, body = home.chat("lazy", "Uppercase abc")
        took_s = time.monotonic() - began
        assert (status, body["choices"][0]["message"]["content"]) == (200, "ABC")
        assert "waited" in why(headers)
        listed = home.get("/v1/models/lazy")[1]
        assert (listed["status"], listed["ready"]) == ("ready", True)

        # While it is used it stays, however long one answer takes.
        held = home.ask_and_hang("lazy", max_tokens=10_000, ignore_eos=True, stream=True)
        assert "waited" not in why(home.chat("lazy", "Uppercase abc")[1])
        held.close()
        home.until(lambda: is_away(home, "lazy"))
        reasons = [event["reason"] for event in home.model("lazy")["events"]]
        assert reasons[-5:] == ["Loading", "Ready", "Draining", "Unloading", "Unloaded"]
        assert len(home.workers()) == 1
        (unused_s,) = set(re.findall(r"nobody has used it for (\d+) s", shown(home, "describe", "lazy")))
        assert 1 <= int(unused_s) <= 3
        load_s = home.get("/v1/models/lazy")[1]["load_s"]
        assert load_s > 0, "measured"
        assert "on demand" in shown(home, "status")
        assert "No changes" in shown(home, "plan"), "a model that rests is as its file asks"

        status, headers, _ = home.chat("lazy", "Uppercase abc")
        assert (status, loads(home, "lazy")) == (200, 2)
        figure(f"first request answered after {took_s:.2f} s; the load itself took {load_s:.2f} s")
        assert home.stop() == 0


def test_a_stream_longer_than_the_idle_time_is_not_cut(short_folder: Path) -> None:
    with house(short_folder, models=MODELS) as home:
        home.start()
        asked: dict[str, Any] = {"max_tokens": 480, "ignore_eos": True, "stream": True}
        assert home.chat("lazy", "Uppercase abc")[0] == 200
        (replica,) = home.model("lazy")["replicas"]
        worker = psutil.Process(replica["pid"])
        held = home.ask_and_hang("lazy", **asked)
        content = held.recv(1 << 16)
        worker.suspend()  # in the middle of its answer
        time.sleep(2.5)
        (unharmed,) = home.model("lazy")["replicas"]
        worker.resume()
        assert (unharmed["id"], unharmed["phase"], unharmed["leases"]) == (replica["id"], "ready", 1)
        while b"0\r\n\r\n" not in content and (piece := held.recv(1 << 16)):
            content += piece
        held.close()
        assert b"data: [DONE]" in content
        home.until(lambda: is_away(home, "lazy"))


def test_requests_queue_in_order_while_it_loads_and_the_urgent_go_first(short_folder: Path) -> None:
    one = LAZY.replace("parallel: 4", "parallel: 1")
    priorities = [5, 5, 9, 5, 9, 1]
    with house(short_folder, models={"fast": FAST, "lazy": one}) as home, ThreadPoolExecutor() as threads:
        home.start()
        ended: list[int] = []

        def client(number: int) -> tuple[int, str]:
            asked = {"max_tokens": 200, "ignore_eos": True, "metadata": {"priority": priorities[number]}}
            status, _, body = home.chat("lazy", "Uppercase abc", **asked)
            ended.append(number)
            return status, str(body)

        futures: list[Future[tuple[int, str]]] = []
        with home.next_load_held() as frozen:
            for number in range(len(priorities)):
                futures.append(threads.submit(client, number))
                home.until(lambda: waiting(home, "lazy") == len(futures))
            assert frozen.wait(30)
            listed = home.get("/v1/models/lazy")[1]
            assert (listed["status"], listed["progress"], listed["waiting"]) == (
                "loading",
                "loading",
                len(priorities),
            )
            assert f"{len(priorities)} requests wait" in shown(home, "status")
            # Others are served meanwhile.
            assert home.chat("fast", "Uppercase abc")[0] == 200
        assert [future.result()[0] for future in futures] == [200] * len(priorities)
        assert ended == [2, 4, 0, 1, 3, 5]
        assert loads(home, "lazy") == 1


def test_a_client_that_leaves_frees_its_place_and_the_others_are_answered(short_folder: Path) -> None:
    with house(short_folder, models=MODELS) as home, ThreadPoolExecutor() as threads:
        home.start()
        with home.next_load_held() as frozen:
            first = home.ask_and_hang("lazy")
            home.until(lambda: waiting(home, "lazy") == 1)
            second = threads.submit(home.chat, "lazy", "Uppercase abc")
            home.until(lambda: waiting(home, "lazy") == 2)
            assert frozen.wait(30)
            first.close()
            home.until(lambda: waiting(home, "lazy") == 1)
        assert second.result()[0] == 200
        assert loads(home, "lazy") == 1
        home.until(lambda: is_away(home, "lazy"))
        # Where the only one who waits leaves, the load comes to its end: the next one may be about to ask.
        with home.next_load_held() as frozen:
            only = home.ask_and_hang("lazy")
            assert frozen.wait(30)
            only.close()
            home.until(lambda: waiting(home, "lazy") == 0)
        home.until(lambda: home.model("lazy")["serving"] is not None)
        home.until(lambda: is_away(home, "lazy"))
        assert loads(home, "lazy") == 2


def test_a_full_queue_and_a_passed_deadline_are_refused_with_the_measured_load_time(
    short_folder: Path,
) -> None:
    with house(short_folder, models=MODELS) as home, ThreadPoolExecutor() as threads:
        home.write("orchestrator.yaml", "wait_queue: 2\nwait_for_model: 2s\n")
        home.start()
        assert home.chat("lazy", "Uppercase abc")[0] == 200
        home.until(lambda: is_away(home, "lazy"))
        expected = str(math.ceil(home.get("/v1/models/lazy")[1]["load_s"]))
        with home.next_load_held() as frozen:
            waiters = [threads.submit(home.chat, "lazy", "Uppercase abc") for _ in range(2)]
            home.until(lambda: waiting(home, "lazy") == 2)
            assert frozen.wait(30)
            began = time.monotonic()
            status, headers, body = home.chat("lazy", "Uppercase abc")
            assert (status, body["error"]["code"]) == (503, "queue_full")
            assert headers["retry-after"] == expected
            assert time.monotonic() - began < 1.5, "at once"
            for waiter in waiters:
                status, headers, body = waiter.result()
                assert (status, body["error"]["code"]) == (503, "model_not_ready")
                assert headers["retry-after"] == expected
                assert "not ready after 2 s: it is loading" in body["error"]["message"]
            assert home.chat("fast", "Uppercase abc")[0] == 200
        home.until(lambda: home.model("lazy")["serving"] is not None)
        assert loads(home, "lazy") == 2


def test_what_is_always_loaded_is_ready_before_the_daemon_says_so(short_folder: Path) -> None:
    with house(short_folder, models=MODELS) as home, ThreadPoolExecutor() as threads:
        home.start(wait=False)
        with home.next_load_held() as frozen:
            home.until(lambda: home.get("/health")[0] == 200)
            assert frozen.wait(30)
            home.until(lambda: "loading" in str(home.get("/ready")[1]["not_ready"].get("fast")))
            status, told = home.get("/ready")
            assert status == 503
            assert list(told["not_ready"]) == ["fast"], "one that is loaded on demand holds nothing up"
            assert "ready:" not in home.log()
            early = threads.submit(home.chat, "fast", "Uppercase abc")
            home.until(lambda: waiting(home, "fast") == 1)
        home.until_ready()
        assert early.result()[0] == 200
        status, headers, _ = home.chat("fast", "Uppercase abc")
        assert status == 200
        assert "waited" not in why(headers)
        home.until(lambda: "ready:" in home.log())
        assert is_away(home, "lazy")


class Steady(threading.Thread):
    """One client that streams from a model again and again, and notes the gaps between pieces."""

    def __init__(self, home: House, model: str) -> None:
        super().__init__()
        self._home = home
        self._model = model
        self.stop = threading.Event()
        self.gaps_ms: list[float] = []
        self.answers: list[bool] = []

    def run(self) -> None:
        while not self.stop.is_set():
            self.answers.append(self._one())

    def _one(self) -> bool:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": "Count from 1 to 5"}],
            "max_tokens": 300,
            "ignore_eos": True,
            "stream": True,
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._home.port, timeout=60)
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        answer = connection.getresponse()
        whole, before = b"", time.monotonic()
        while piece := answer.read1(1 << 16):
            now = time.monotonic()
            self.gaps_ms.append((now - before) * 1000)
            before = now
            whole += piece
        connection.close()
        return answer.status == 200 and b"data: [DONE]" in whole


def gaps(home: House, meanwhile: Callable[[], None]) -> tuple[list[float], list[bool]]:
    client = Steady(home, "fast")
    client.start()
    try:
        meanwhile()
    finally:
        client.stop.set()
        client.join()
    return sorted(client.gaps_ms), client.answers


def test_others_are_served_while_a_model_loads_and_unloads(
    short_folder: Path, figure: Callable[[str], None]
) -> None:
    with house(short_folder, models=MODELS) as home:
        home.start()

        def load_three_times() -> None:
            for _ in range(3):
                assert home.chat("lazy", "Uppercase abc")[0] == 200
                home.until(lambda: is_away(home, "lazy"))

        alone, whole = gaps(home, lambda: time.sleep(2))
        beside, also_whole = gaps(home, load_three_times)
        assert all(whole)
        assert all(also_whole)
        assert beside[-1] < 5000
        figure(
            f"gaps in another model's stream: median {statistics.median(alone):.1f} ms, "
            f"99th of 100 {alone[len(alone) * 99 // 100]:.1f} ms alone; beside three loads and unloads "
            f"{statistics.median(beside):.1f} and {beside[len(beside) * 99 // 100]:.1f} ms, "
            f"most {beside[-1]:.0f} ms; {len(also_whole)} answers whole"
        )


@pytest.mark.parametrize("before", ["unloaded", "loaded"])
def test_a_change_between_the_two_ways_takes_effect_at_once(short_folder: Path, before: str) -> None:
    with house(short_folder, models={"fast": FAST, "lazy": STAYS}) as home:
        home.start()
        if before == "loaded":
            assert home.chat("lazy", "Uppercase abc")[0] == 200
        home.write("models.d/lazy.yaml", QUALITY)
        home.until(lambda: home.model("lazy")["serving"] is not None)
        assert loads(home, "lazy") == 1, "what is loaded already is not loaded again"
        home.write("models.d/lazy.yaml", LAZY)
        home.until(lambda: is_away(home, "lazy"))
