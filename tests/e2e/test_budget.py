"""One memory budget, in a real daemon with real workers."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.engines.memory.weight import weight_of
from tests.e2e.house import FAST, QUALITY, House, house
from tests.e2e.test_edits import Traffic

MIB = 1 << 20
# What a file says that its model takes is far more than the small ones take: two never fit together.
LIMIT = "memory: {limit: 400MiB}\nmin_residency: 0s\n"
LIMIT_BYTES = 400 * MIB
ROOMY = "memory: 300MiB\n"
LAZY = ROOMY + "load: on-demand\nidle: 10m\n"
# Longer than what asks for the place of what decodes it.
LONG: dict[str, Any] = {"max_tokens": 480, "ignore_eos": True}


class Watch(threading.Thread):
    """Looks again and again at all workers of a house, and at what they are charged."""

    def __init__(self, home: House) -> None:
        super().__init__()
        self._home = home
        self._over = threading.Event()
        self.most_workers = 0
        self.most_bytes = 0
        self.most_charged = 0

    def run(self) -> None:
        assert self._home.process is not None
        daemon = psutil.Process(self._home.process.pid)
        while not self._over.is_set():
            weights = [weight_of(child.pid) for child in daemon.children() if self._loads(child)]
            sizes = [weight.ram_bytes for weight in weights if weight]
            self.most_workers = max(self.most_workers, len(sizes))
            self.most_bytes = max(self.most_bytes, sum(sizes))
            self.most_charged = max(self.most_charged, self._home.status()["memory"]["ram"]["charged_bytes"])
            time.sleep(0.01)

    def stop(self) -> None:
        self._over.set()
        self.join()

    def _loads(self, child: psutil.Process) -> bool:
        try:
            return "orchestrator.workers.serve" in child.cmdline()
        except psutil.Error:
            return False


@contextmanager
def watched(home: House) -> Iterator[Watch]:
    watch = Watch(home)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def served(home: House, model: str) -> bool:
    return home.model(model).get("serving") is not None


def reasons(home: House, model: str) -> list[str]:
    return [event["reason"] for event in home.model(model)["events"]]


def condition(home: House, model: str, kind: str) -> tuple[str, str, str]:
    conditions = home.model(model).get("conditions", [])
    found = next((c for c in conditions if c["type"] == kind), {"status": "", "reason": "", "message": ""})
    return found["status"], found["reason"], found["message"]


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def test_of_two_that_do_not_fit_together_one_makes_room_for_the_other(
    short_folder: Path, figure: Callable[[str], None]
) -> None:
    models = {"a": FAST + LAZY, "b": QUALITY + LAZY}
    with house(short_folder, models=models) as home, ThreadPoolExecutor() as threads:
        home.write("policies/default.yaml", "kind: routing\ndefault: true\notherwise: [a]\n")
        home.write("orchestrator.yaml", LIMIT)
        home.start()
        waits: list[float] = []
        with watched(home) as watch:
            for name in ("a", "b", "a", "b"):
                began = time.monotonic()
                status, _, body = home.chat(name, "Uppercase abc")
                waits.append(time.monotonic() - began)
                assert status == 200, body
            # A long answer is finished before its replica makes room.
            long = threads.submit(home.chat, "b", "Uppercase abc", **LONG)
            other = threads.submit(home.chat, "a", "Uppercase abc")
            status, _, body = long.result()
            assert (status, body["usage"]["completion_tokens"]) == (200, 480)
            assert other.result()[0] == 200
        assert watch.most_workers == 1, "unloaded before the other was loaded"
        assert watch.most_bytes <= LIMIT_BYTES
        assert 0 < watch.most_charged <= LIMIT_BYTES
        swap = ["Loading", "Ready", "Draining", "Unloading", "Unloaded"]
        assert reasons(home, "a")[-12:] == [*swap, *swap, "Loading", "Ready"]
        assert "its memory is needed for 'b'" in unwrapped(home.run("describe", "a").stdout)
        home.until(lambda: "others have to make room first" in condition(home, "b", "Ready")[2])
        assert "400 MiB" in home.run("status").stdout
        figure(f"a request that another model made room for took {max(waits[1:]):.2f} s at most")
        assert home.stop() == 0


def test_what_others_use_is_not_pushed_out_by_one_that_is_pinned_or_always_loaded(
    short_folder: Path,
) -> None:
    models = {"a": FAST + ROOMY, "b": QUALITY + LAZY}
    with house(short_folder, models=models) as home:
        home.write("policies/default.yaml", "kind: routing\ndefault: true\notherwise: [a]\n")
        home.write("orchestrator.yaml", LIMIT)
        home.start()
        status, _, body = home.chat("b", "Uppercase abc")
        assert status == 503
        assert (
            "it needs 300 MiB of memory beside 300 MiB of memory of 'a', which stay loaded"
            in body["error"]["message"]
        )
        assert condition(home, "b", "Fits")[:2] == ("False", "NeverFits")
        assert home.chat("a", "Uppercase abc")[0] == 200
        # Room is made for what is loaded always as soon as a file says so.
        home.write("models.d/a.yaml", FAST + LAZY)
        home.until(lambda: condition(home, "b", "Fits")[0] == "True")
        assert home.chat("b", "Uppercase abc")[0] == 200
        home.write("models.d/a.yaml", FAST + ROOMY)
        home.until(lambda: served(home, "a"))
        assert not served(home, "b")


def test_an_update_whose_two_revisions_do_not_fit_together_holds_its_requests(
    short_folder: Path, figure: Callable[[str], None]
) -> None:
    models = {"fast": FAST + ROOMY, "quality": QUALITY + "memory: 50MiB\n"}
    with house(short_folder, models=models) as home:
        home.write("orchestrator.yaml", LIMIT)
        home.start()
        before = home.model("fast")
        planned = home.root / "planned"
        (planned / "models.d").mkdir(parents=True)
        edited = (FAST + ROOMY).replace("context: 512", "context: 256")
        (planned / "models.d" / "fast.yaml").write_text(edited)
        (planned / "models.d" / "quality.yaml").write_text(models["quality"])
        steps = home.admin("POST", "/v1/plan", {"folder": str(planned)})["steps"]
        assert [step["action"] for step in steps] == ["drain", "unload", "load", "switch"]
        assert all(step["memory"]["peak"]["ram"] <= LIMIT_BYTES for step in steps)
        assert steps[-1]["interrupts"]
        assert steps[-1]["unavailable_s"] > 0, "expected from the load that was measured"
        assert "unavailable" in home.run("plan", str(planned)).stdout
        with watched(home) as watch, Traffic(home) as traffic:
            home.write("models.d/fast.yaml", edited)
            home.until(lambda: (home.model("fast")["serving"] or before["serving"]) != before["serving"])
            took_s = outage_s(home, "fast")
        assert traffic.failures == []
        assert home.model("fast")["serving"]["revision"] != before["desired"]
        assert watch.most_charged <= LIMIT_BYTES
        assert "both do not fit into memory" in home.log()
        # One that will not load leaves nobody unserved: the old revision comes back.
        bad = home.root / "bad.gguf"
        bad.write_bytes(b"GGUF" + b"\0" * 4000)
        good = home.model("fast")["desired"]
        home.write("models.d/fast.yaml", edited.replace("demo:tiny", f"file:{bad}"))
        home.until(lambda: home.model("fast")["rejected"] != [])
        home.until(lambda: served(home, "fast"))
        assert home.model("fast")["serving"]["revision"] == good
        assert home.chat("fast", "Uppercase abc")[0] == 200
        figure(
            f"{traffic.answered} requests answered during the change, none failed; {took_s:.2f} s unserved"
        )


def outage_s(home: House, model: str) -> float:
    """Return the seconds between the last drain and the last time that the model got ready."""
    at = {event["reason"]: event["at"] for event in home.model(model)["events"]}
    seconds = [float(at[reason][17:-6]) + 60 * float(at[reason][14:16]) for reason in ("Draining", "Ready")]
    return seconds[1] - seconds[0]


@pytest.mark.parametrize("load", ["always", "on-demand"])
def test_a_model_that_can_never_fit_is_refused_with_the_figures_everywhere(
    short_folder: Path, load: str
) -> None:
    # Its context alone takes more than the budget; nobody had to say so.
    huge = f"engine: llama-cpp\nsource: demo:small\ncontext: 400000\nparallel: 8\nload: {load}\n"
    with house(short_folder, models={"fast": FAST, "huge": huge}) as home:
        home.write("orchestrator.yaml", LIMIT)
        found = check(home)
        assert "huge" in found
        assert "400 MiB of memory is the whole budget" in found
        home.start(wait=False)
        home.until(lambda: served(home, "fast"))
        home.until(lambda: condition(home, "huge", "Fits")[0] == "False")
        status, reason, message = condition(home, "huge", "Fits")
        assert (status, reason) == ("False", "NeverFits")
        assert "it needs" in message
        assert "400 MiB of memory is the whole budget" in message
        assert condition(home, "huge", "Stalled")[0] == "True"
        began = time.monotonic()
        status_code, _, body = home.chat("huge", "hi")
        assert status_code == 503
        assert message in body["error"]["message"]
        assert time.monotonic() - began < 5, "waiting cannot help"
        for command in (("status",), ("describe", "huge"), ("plan",)):
            assert "400 MiB of memory is the whole budget" in unwrapped(home.run(*command).stdout), command
        # One that is always loaded and cannot be is not ready; one on demand holds nothing up.
        assert home.get("/ready")[0] == (503 if load == "always" else 200)
        assert home.chat("fast", "Uppercase abc")[0] == 200
        assert reasons(home, "huge").count("Loading") == 0
        home.write("models.d/huge.yaml", huge.replace("400000", "512"))
        home.until(lambda: home.chat("huge", "Uppercase abc")[0] == 200)


def check(home: House) -> str:
    done = subprocess.run(
        home.command("check", str(home.config)),
        capture_output=True,
        text=True,
        timeout=60,
        env=home.environment(),
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return unwrapped(done.stdout)
