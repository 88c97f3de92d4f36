"""Edits of every kind on a running daemon."""

import http.client
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from tests.e2e.house import FAST, QUALITY, House

ROUNDS = 200
SEED = 7


@dataclass
class Traffic:
    """Clients that ask for every model all the time, in threads; `failures` is what went wrong."""

    home: House
    failures: list[str] = field(default_factory=list)
    answered: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        for model in ("fast", "quality", "auto", "policy/default"):
            self._threads.append(threading.Thread(target=self._ask, args=(model,)))
            self._threads[-1].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self, model: str) -> None:
        while not self._stop.is_set():
            try:
                status, _, body = self.home.chat(model, "Uppercase abc", max_tokens=16)
            except (OSError, ValueError) as error:
                self.failures.append(f"{model}: {error!r}")
                continue
            if status == 200:
                self.answered += 1
            else:
                self.failures.append(f"{model}: {status} {body}")
            time.sleep(0.01)


# -- ways to hurt a file, each leaving it broken, odd or away


def truncate(path: Path, draw: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: draw.randrange(len(content))])


def flip_a_bit(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def empty(path: Path, draw: random.Random) -> None:
    del draw
    path.write_bytes(b"")


def rename(path: Path, draw: random.Random) -> None:
    path.rename(path.with_name(f"{path.stem}{draw.randrange(3)}.yaml"))


def remove(path: Path, draw: random.Random) -> None:
    del draw
    path.unlink()


def take_permissions(path: Path, draw: random.Random) -> None:
    del draw
    path.chmod(0)


def save_like_vim(path: Path, draw: random.Random) -> None:
    """A probe file, the old one renamed to a backup, the new one written in pieces, the backup removed."""
    content = path.read_bytes()
    probe = path.with_name("4913")
    probe.write_bytes(b"")
    probe.unlink()
    backup = path.with_name(path.name + "~")
    path.rename(backup)
    with path.open("wb") as file:
        half = draw.randrange(len(content))
        file.write(content[:half])
        file.flush()
        time.sleep(draw.random() * 0.02)
        file.write(content[half:] + b"# saved\n")
    backup.unlink()


def save_like_git(path: Path, draw: random.Random) -> None:
    """Unlink, then create and write, as a checkout does."""
    content = path.read_bytes()
    path.unlink()
    time.sleep(draw.random() * 0.02)
    path.write_bytes(content + b"# another branch\n")


def swap_a_symlink(path: Path, draw: random.Random) -> None:
    """Like a mounted config map: the file becomes a link, and what it leads to is replaced."""
    versions = path.parent.parent / "versions"
    versions.mkdir(exist_ok=True)
    target = versions / f"{path.stem}-{draw.randrange(10**9)}.yaml"
    content = path.read_bytes()
    target.write_bytes(content if draw.random() < 0.5 else content[: len(content) // 2])
    link = path.with_name(f".{path.name}.link")
    link.symlink_to(target)
    link.replace(path)


WAYS: list[Callable[[Path, random.Random], None]] = [
    truncate,
    flip_a_bit,
    empty,
    rename,
    remove,
    take_permissions,
    save_like_vim,
    save_like_git,
    swap_a_symlink,
]


@pytest.mark.slow
def test_200_rounds_of_broken_edits_fail_no_request(home: House, figure: Callable[[str], None]) -> None:
    draw = random.Random(SEED)  # noqa: S311 (a repeatable storm)
    home.start()
    before = {name: home.model(name)["desired"] for name in ("fast", "quality")}
    originals = {
        path: path.read_bytes()
        for path in (home.config / "models.d/fast.yaml", home.config / "models.d/quality.yaml")
    }
    originals[home.config / "policies/default.yaml"] = (home.config / "policies/default.yaml").read_bytes()
    with Traffic(home) as traffic:
        for number in range(ROUNDS):
            path = draw.choice(list(originals))
            WAYS[number % len(WAYS)](path, draw)
            time.sleep(draw.random() * 0.3)
            restore(path, originals[path], atomic=draw.random() < 0.5)
            time.sleep(draw.random() * 0.1)
        home.until(lambda: home.status()["problems"] == [])
        # Renamed files were models for a moment; that most of them are gone again is for a person to confirm.
        time.sleep(3)
        home.admin("POST", "/v1/confirm-removal", {})
        home.until(lambda: tidy(home))
    assert traffic.failures == []
    assert traffic.answered > ROUNDS
    figure(f"{traffic.answered} requests answered over {ROUNDS} broken edits, none failed")
    for name, revision in before.items():
        assert home.model(name)["serving"]["revision"] == revision
    assert len(home.workers()) == 2
    assert home.stop() == 0


def restore(path: Path, content: bytes, *, atomic: bool) -> None:
    for stray in path.parent.glob(f"{path.stem}[0-9].yaml"):
        stray.unlink()
    if atomic or path.is_symlink():
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(content)
        temporary.replace(path)
    else:
        if path.exists():
            path.chmod(0o644)  # nobody but root may write to it otherwise
        path.write_bytes(content)


def tidy(home: House) -> bool:
    models = home.status()["models"]
    return {m["name"] for m in models} == {"fast", "quality"} and all(
        m["serving"] and m["serving"]["revision"] == m["desired"] and len(m["replicas"]) == 1 for m in models
    )


def pids(home: House) -> set[int]:
    return {replica["pid"] for model in home.status()["models"] for replica in model["replicas"]}


def test_an_edit_that_changes_nothing_in_meaning_does_nothing(home: House) -> None:
    home.start()
    before, status = pids(home), home.status()
    home.write("models.d/fast.yaml", f"# a comment\nparallel: 4\n{FAST.replace('parallel: 4', '')}")
    home.admin("POST", "/v1/reload", {"wait_s": 10})
    assert pids(home) == before
    assert [m["generation"] for m in home.status()["models"]] == [m["generation"] for m in status["models"]]


def test_a_live_field_changes_without_a_reload(home: House) -> None:
    home.start()
    before = pids(home)
    home.write("models.d/fast.yaml", FAST + "sampling: {max_tokens: 2}\n")
    home.until(lambda: home.model("fast")["generation"] == 2)
    answer = home.chat("fast", "Uppercase abcdef")[2]
    assert answer["usage"]["completion_tokens"] == 2
    assert pids(home) == before


def test_a_changed_parallel_reloads_the_same_revision(home: House) -> None:
    home.start()
    fast = home.model("fast")
    home.write("models.d/fast.yaml", FAST.replace("parallel: 4", "parallel: 2"))
    home.until(lambda: tidy(home) and home.model("fast")["replicas"][0]["id"] != fast["replicas"][0]["id"])
    assert home.model("fast")["serving"]["revision"] == fast["serving"]["revision"]


def test_a_revision_that_does_not_load_leaves_the_old_one_serving_and_says_why(home: House) -> None:
    home.start()
    fast = home.model("fast")
    bad = home.root / "bad.gguf"
    bad.write_bytes(b"GGUF" + b"\0" * 4000)
    home.write("models.d/fast.yaml", FAST.replace("demo:tiny", f"file:{bad}"))
    home.until(lambda: home.model("fast")["rejected"] != [])
    now = home.model("fast")
    assert now["serving"] == fast["serving"]
    assert now["replicas"] == [fast["replicas"][0] | {"memory_bytes": now["replicas"][0]["memory_bytes"]}]
    assert home.chat("fast", "Uppercase abc")[1]["x-orchestrator-revision"] == fast["desired"]
    conditions = {c["type"]: c for c in now["conditions"]}
    assert conditions["Degraded"]["status"] == "True"
    why = now["rejected"][0]["message"]
    for place in (
        conditions["Degraded"]["message"],
        home.run("status").stdout,
        home.run("describe", "fast").stdout,
        home.run("plan").stdout,
        home.run("sql", "select message from events where model = 'fast'").stdout,
        home.log(),
    ):
        assert " ".join(why.split()).rstrip(".") in " ".join(place.split())
    home.write("models.d/fast.yaml", FAST)
    home.until(lambda: tidy(home))
    assert home.model("fast")["replicas"][0]["pid"] == fast["replicas"][0]["pid"], (
        "what stays is not restarted"
    )


def test_an_edit_back_during_a_swap_restarts_nothing_that_stays(home: House) -> None:
    home.start()
    before = pids(home)
    for _ in range(5):
        home.write("models.d/fast.yaml", QUALITY)
        home.until(lambda: len(home.model("fast")["replicas"]) == 2)
        home.write("models.d/fast.yaml", FAST)
        home.until(lambda: tidy(home))
    after = home.model("quality")["replicas"][0]["pid"]
    assert after in before
    assert home.chat("fast", "Uppercase abc")[0] == 200


def test_a_removed_file_removes_the_model_after_a_while_and_an_absent_one_at_once(home: House) -> None:
    home.write("models.d/third.yaml", FAST)
    home.start()
    (home.config / "models.d/third.yaml").unlink()
    home.until(lambda: {m["name"] for m in home.status()["models"]} == {"fast", "quality"})
    status, _, body = home.chat("third", "hi")
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    home.write("models.d/quality.yaml", QUALITY + "state: absent\n")
    home.until(lambda: len(home.workers()) == 1)
    assert home.chat("quality", "hi")[0] == 404


def test_a_folder_that_vanishes_is_held_and_not_obeyed(home: House) -> None:
    home.start()
    before = pids(home)
    away = home.root / "away"
    (home.config / "models.d").rename(away)
    home.until(lambda: home.status()["held"] != [])
    accepted = next(c for c in home.model("fast")["conditions"] if c["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "Held")
    time.sleep(3)
    assert pids(home) == before
    assert home.chat("fast", "hi")[0] == 200
    shutil.move(away, home.config / "models.d")
    home.until(lambda: home.status()["held"] == [] and home.status()["problems"] == [])
    assert pids(home) == before


def test_reload_waits_and_reports(home: House) -> None:
    home.start()
    home.write("models.d/fast.yaml", QUALITY)
    done = home.run("reload", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert home.model("fast")["source"] == "demo:small"
    assert home.model("fast")["serving"]["revision"] == home.model("fast")["desired"]
    home.write("models.d/fast.yaml", "engine: llama-cpp\nsorce: demo:tiny\n")
    broken = home.run("reload", "--wait")
    assert broken.returncode == 1
    assert "did you mean" in broken.stdout + broken.stderr


def test_sighup_reads_the_files(home: House) -> None:
    home.write("orchestrator.yaml", "watch: poll\nscan_every: 1h\n")
    home.start()
    home.write("models.d/fast.yaml", FAST + "sampling: {seed: 3}\n")
    assert home.process is not None
    home.process.send_signal(signal.SIGHUP)
    home.until(lambda: home.model("fast")["generation"] == 2)


def test_sigterm_lets_running_requests_end_and_exits_0(home: House) -> None:
    home.start()
    found: list[str] = []

    def stream() -> None:
        body = {
            "model": "quality",
            "messages": [{"role": "user", "content": "Count from 1 to 5"}],
            "max_tokens": 450,
            "ignore_eos": True,
            "stream": True,
        }
        connection = http.client.HTTPConnection("127.0.0.1", home.port, timeout=60)
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
        )
        answer = connection.getresponse()
        found.append(answer.readline().decode())
        found.append(answer.read().decode())
        connection.close()

    client = threading.Thread(target=stream)
    client.start()
    home.until(lambda: bool(found))
    assert home.stop() == 0
    client.join(30)
    assert "data: [DONE]" in found[1]
    assert home.workers() == []
    assert not list((home.state / "history").glob("*.tmp"))


def test_a_configuration_folder_that_never_was_is_one_clear_line(home: House) -> None:
    refused = home.run("run", "--config", str(home.root / "slip"), "--port", str(home.port))
    assert refused.returncode == 78
    assert "slip: there is no such configuration folder" in refused.stderr
    assert "orchestrator init" in refused.stderr
    assert home.workers() == []


def test_a_configuration_folder_that_is_away_at_the_start_is_served_as_last_accepted(home: House) -> None:
    home.start()
    assert home.stop() == 0
    away = home.root / "away"
    home.config.rename(away)
    home.start()
    assert home.chat("fast", "hi")[0] == 200
    away.rename(home.config)
    home.until(lambda: home.status()["held"] == [] and home.status()["problems"] == [])


def test_a_taken_port_is_one_clear_line(home: House) -> None:
    home.start()
    other = House(root=home.root / "other")
    other.root.mkdir()
    refused = other.run("run", "--config", str(home.config), "--port", str(home.port))
    assert refused.returncode == 1
    assert f"port {home.port} on 127.0.0.1 is taken" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_state_folder_without_permission_is_one_clear_line(home: House) -> None:
    home.state.mkdir(parents=True)
    home.state.chmod(0o500)
    refused = home.run("run", "--config", str(home.config))
    assert refused.returncode == 1
    assert "fix:" in refused.stderr
