"""`kill -9` of the daemon while models load, make room for each other and are fetched."""

import contextlib
import http.client
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.house import FAST, QUALITY, REPOSITORY, House, house
from tests.e2e.test_kill import no_orphans, state_opens
from tests.engines.fetch.origin import Origin, Repository

ROUNDS = 20
SEED = 3
ROOMY = "memory: 300MiB\nload: on-demand\nidle: 10m\n"
FETCHED = QUALITY.replace("demo:small", "hf:org/one") + ROOMY
MODELS = {"a": FAST + ROOMY, "b": QUALITY + ROOMY, "fetched": FETCHED}
# What may be between the server and the daemon when that is killed, in buffers of the kernel.
IN_FLIGHT = 256 * 1024


class Asking(threading.Thread):
    """A client that asks for one model after the other, whether anybody answers or not."""

    def __init__(self, home: House, models: tuple[str, ...]) -> None:
        super().__init__()
        self._home = home
        self._models = itertools.cycle(models)
        self.over = threading.Event()
        self.outcomes: Counter[str] = Counter()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                status, _, body = self._home.chat(next(self._models), "Uppercase abc", max_tokens=16)
            except (OSError, http.client.HTTPException, ValueError):
                self.outcomes["nobody there"] += 1
                time.sleep(0.02)
                continue
            self.outcomes["answered" if status == 200 else body["error"]["code"]] += 1


@pytest.mark.slow
def test_kill_9_while_models_load_make_room_and_are_fetched(
    short_folder: Path, figure: Callable[[str], None]
) -> None:
    draw = random.Random(SEED)  # noqa: S311 (a repeatable storm)
    content = (REPOSITORY / "orchestrator" / "demo" / "small.gguf").read_bytes()
    with Origin().running() as origin, house(short_folder, models=MODELS) as home:
        origin.repositories["org/one"] = Repository(files={"one.gguf": content})
        origin.chunk_bytes, origin.pace_s = 4096, 0.05
        home.write("policies/default.yaml", "kind: routing\ndefault: true\notherwise: [a]\n")
        home.write(
            "orchestrator.yaml",
            f"memory: {{limit: 400MiB}}\nmin_residency: 0s\nhf: {{endpoint: '{origin.url}'}}\n",
        )
        clients = [Asking(home, ("a", "b")), Asking(home, ("b", "a", "a"))]
        for client in clients:
            client.start()
        phases: Counter[str] = Counter()
        try:
            for _ in range(ROUNDS):
                home.start(wait=False)
                home.until(lambda: home.get("/health")[0] == 200)
                time.sleep(draw.random() * 1.5)
                phases.update(what_goes_on(home))
                home.kill()
                no_orphans(home)
                state_opens(home)
        finally:
            for client in clients:
                client.over.set()
            for client in clients:
                client.join()
        origin.pace_s = 0.0
        home.start()
        for name in MODELS:
            status, _, body = home.chat(name, "Uppercase abc", max_tokens=16)
            assert status == 200, body
            assert [w.pid for w in home.workers()] == [home.model(name)["replicas"][0]["pid"]]
        status = home.status()
        assert (status["ready"], status["problems"], status["state"]["ok"]) == (True, [], True)
        for model in status["models"]:
            assert model["rejected"] == []
            assert model["takes"]["load_s"] > 0
            assert {c["type"]: c["status"] for c in model["conditions"]}["Fetched"] == "True"
        assert len(content) <= origin.sent_bytes <= len(content) + ROUNDS * IN_FLIGHT
        assert home.stop() == 0
        no_orphans(home)
        total = clients[0].outcomes + clients[1].outcomes
        assert set(total) <= {"answered", "nobody there", "model_not_ready"}
        figure(f"{ROUNDS} kills while {dict(phases)}; {dict(total)}")


def what_goes_on(home: House) -> list[str]:
    """Return what the daemon is doing, as far as it says."""
    with contextlib.suppress(OSError, http.client.HTTPException, KeyError):
        models = home.status()["models"]
        found = [replica["phase"] for model in models for replica in model["replicas"]]
        return found + ["fetching" for model in models if model["fetch"]]
    return ["starting the daemon"]
