"""The settings file: values, refusals, and what a running daemon says of a change."""

from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator import clock
from orchestrator.config.decode import Surroundings
from orchestrator.config.scan import Scanner
from orchestrator.config.settings import load_settings, read_settings
from orchestrator.config.show import render
from orchestrator.errors import ConfigError
from orchestrator.values.settings import Settings
from tests.config.engines import ENGINES
from tests.config.files import MODEL, start

SECRET = "sk-0123456789abcdef"  # noqa: S105 (made up)
LATER = clock.now() + timedelta(hours=1)  # what is written during a test is then old enough to settle


def problem(folder: Path, text: str) -> str:
    (folder / "orchestrator.yaml").write_text(text)
    draft = read_settings(Surroundings(folder=folder, env={"KEY": SECRET, "EMPTY": ""}))
    assert draft.value is None
    return "\n".join(render(each) for each in draft.problems)


def load(folder: Path, text: str) -> Settings:
    (folder / "orchestrator.yaml").write_text(text)
    return load_settings(folder, {"KEY": SECRET, "HOME": "/home/ann"})


def test_no_file_is_all_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path, {}) == Settings()


@pytest.mark.parametrize("text", ["", "# everything commented out\n# listen: x\n"])
def test_an_empty_file_is_all_defaults(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == Settings()


def test_every_field(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("file-key\n")
    settings = load(
        tmp_path,
        """
listen: "[::1]:8080"
api_keys: ["${file:key}", "${env:KEY}"]
allowed_hosts: [models.lan]
allowed_origins: ["http://localhost:3000"]
state: state
cache: ~/models
memory: {limit: 24GiB, reserve: 2 GB, gpu_reserve: 0B}
min_residency: 1m
egress: true
offline: true
fetches_at_once: 4
fetch_stall: 2m
hf: {endpoint: "https://mirror.lan/", token: "${env:KEY}"}
wait_queue: 0
watch: poll
scan_every: 500ms
resync_every: 2m
drain: 0s
load_deadline: 1.5h
hang_deadline: 10 s
request_deadline: 5m
wait_for_model: 1m
max_body: 1MiB
log_format: json
""",
    )
    assert settings == Settings(
        host="::1",
        port=8080,
        api_keys=("file-key", SECRET),
        allowed_hosts=("models.lan",),
        allowed_origins=("http://localhost:3000",),
        state_folder=str(tmp_path / "state"),
        cache_folder="/home/ann/models",
        memory_limit_bytes=24 * 1024**3,
        memory_reserve_bytes=2 * 1000**3,
        gpu_reserve_bytes=0,
        min_residency_s=60,
        egress=True,
        offline=True,
        fetches_at_once=4,
        fetch_stall_s=120,
        hf_endpoint="https://mirror.lan",
        hf_token=SECRET,
        wait_queue=0,
        watch="poll",
        scan_every_s=0.5,
        resync_every_s=120,
        drain_s=0,
        load_deadline_s=5400,
        hang_deadline_s=10,
        request_deadline_s=300,
        wait_for_model_s=60,
        max_body_bytes=1024 * 1024,
        log_format="json",
    )


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("listen: 8080\n", "8080 is not a text", "127.0.0.1:11435"),
        ("listen: localhost\n", "is not an address to listen on", "HOST:PORT"),
        ("listen: 127.0.0.1:99999\n", "is not an address to listen on", "HOST:PORT"),
        ("listen: 300.0.0.1:80\n", "is not an address to listen on", "HOST:PORT"),
        ("listen: 0.0.0.0:80\n", "can be reached from other machines", "api_keys"),
        ("listen: models.lan:80\n", "can be reached from other machines", "api_keys"),
        ('listen: "[::]:80"\n', "can be reached from other machines", "api_keys"),
        ("drain: 30\n", "30 is not a text", "write it with a unit, such as 2m"),
        ("drain: 30 seconds\n", "'30 seconds' is not a duration", "30s"),
        ("scan_every: 1ms\n", "'1ms' is out of range", "from 100ms to 1h"),
        ("max_body: 16\n", "16 is not a text", "write it with a unit"),
        ("max_body: 16 megabytes\n", "is not a size", "16MiB"),
        ("max_body: 2GiB\n", "is out of range", "from 1KiB to 1GiB"),
        ("memory: 24GiB\n", "'24GiB' is not a mapping", "such as {limit: 24GiB, reserve: 4GiB}"),
        ("memory: {limit: 24}\n", "24 is not a text", "write it with a unit, such as 24GiB"),
        ("memory: {limit: 80%}\n", "'80%' is not a size", "16MiB (binary)"),
        ("memory: {limit: 0B}\n", "'0B' is out of range", "from 1MiB to"),
        ("memory: {limits: 1GiB}\n", "'limits' is not a field", "did you mean 'limit'?"),
        ("egress: yes\n", "'yes' is not true or false", "such as true"),
        ("fetches_at_once: 0\n", "0 is out of range", "from 1 to 16"),
        ("wait_queue: -1\n", "-1 is out of range", "from 0"),
        ("hf: {endpoint: huggingface.co}\n", "is not the URL of a server", "http://HOST:PORT"),
        ("hf: {endpoint: 'http://huggingface.co'}\n", "without encryption", "https://"),
        ('hf: {token: "${env:EMPTY}"}\n', "the value is not usable as a key", "printable"),
        ("watch: events\n", "'events' is not known", "one of: auto, poll"),
        ("lissten: 1\n", "'lissten' is not a field", "did you mean 'listen'?"),
        ("state: ''\n", "'' cannot be used here", "/var/lib/orchestrator"),
        ("allowed_origins: ['*']\n", "'*' cannot be used here", "http://localhost:3000"),
        ('api_keys: ["${env:NONE}"]\n', "NONE is not set", "environment of the daemon"),
        ('api_keys: ["${env:EMPTY}"]\n', "the value is not usable as a key", "printable"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, what: str, fix: str) -> None:
    shown = problem(tmp_path, text)
    assert what in shown
    assert fix in shown
    assert shown.startswith("orchestrator.yaml:1:")


@pytest.mark.parametrize(
    "text",
    [
        f"api_keys: [{SECRET}]\n",
        f"api_keys: {SECRET}\n",
        f"api_keys:\n  - {SECRET}\n  - [\n",
        f"api_keys:\n- 'two words {SECRET}'\n- 7\n",
        f'api_keys: ["{SECRET}", "{SECRET}"]\n',
        f"api_keys: {{a: {SECRET}}}\n",
    ],
)
def test_a_key_in_the_file_is_refused_and_never_shown(tmp_path: Path, text: str) -> None:
    shown = problem(tmp_path, text)
    assert SECRET not in shown
    assert "orchestrator.yaml:" in shown


def test_a_literal_key_gets_the_fix(tmp_path: Path) -> None:
    assert problem(tmp_path, f"listen: 127.0.0.1:1\napi_keys: [{SECRET}]\n") == (
        "orchestrator.yaml:2:12: api_keys: a key must not be written into this file\n"
        '  fix: put it into a file of its own and write "${file:PATH}", or use "${env:NAME}"'
    )


def test_keys_open_the_door(tmp_path: Path) -> None:
    settings = load(tmp_path, 'listen: 0.0.0.0:0\napi_keys: ["${env:KEY}"]\n')
    assert (settings.host, settings.port) == ("0.0.0.0", 0)  # noqa: S104 (with a key)
    assert SECRET not in repr(settings)


def test_all_problems_come_in_one_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "drain: 1\nwatch: x\n")
    assert "orchestrator.yaml:1:8" in str(caught.value)
    assert "orchestrator.yaml:2:8" in str(caught.value)


def test_the_other_ending_is_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.yml").write_text("drain: 1s\n")
    with pytest.raises(ConfigError, match=r"rename it to orchestrator\.yaml"):
        load_settings(tmp_path, {})


def test_a_folder_in_its_place_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.yaml").mkdir()
    with pytest.raises(ConfigError, match="it is a folder, not a file"):
        load_settings(tmp_path, {})


def test_a_change_is_reported_until_it_is_taken_back(tmp_path: Path) -> None:
    root = start(tmp_path, fast=MODEL.format(context=1))
    file = root / "orchestrator.yaml"
    file.write_text("drain: 1s\n")
    scanner = Scanner(root, env={}, settings=load_settings(root, {}), engines=ENGINES)
    assert not scanner.scan(LATER).problems

    file.write_text("watch: poll\ndrain: 2s\n")
    problems = scanner.scan(LATER).problems
    assert [(p.where, p.what.partition(":")[0], p.fix) for p in problems] == [
        ("orchestrator.yaml:1:1", "watch", "restart the daemon to apply it"),
        ("orchestrator.yaml:2:1", "drain", "restart the daemon to apply it"),
    ]
    file.unlink()
    assert [p.where for p in scanner.scan(LATER).problems] == ["orchestrator.yaml"]

    file.write_text("drain: [\n")
    reading = scanner.scan(LATER)
    assert [p.line for p in reading.problems] == [1]
    assert "fast" in reading.catalog.models

    file.write_text("drain: 1000ms\n")
    assert not scanner.scan(LATER).problems


def test_a_changed_key_is_reported_without_showing_it(tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "key").write_text("one\n")
    (tmp_path / "orchestrator.yaml").write_text('api_keys: ["${file:key}"]\n')
    scanner = Scanner(tmp_path, env={}, engines=ENGINES)
    assert not scanner.scan(LATER).problems
    (tmp_path / "key").write_text("another\n")
    (found,) = scanner.scan(LATER).problems
    assert found.what.startswith("api_keys: changed")
    assert "another" not in render(found)


def test_a_change_inside_of_a_group_is_reported_at_its_line(tmp_path: Path) -> None:
    start(tmp_path)
    file = tmp_path / "orchestrator.yaml"
    file.write_text("memory: {limit: 1GiB}\n")
    scanner = Scanner(tmp_path, env={}, engines=ENGINES)
    assert not scanner.scan(LATER).problems
    file.write_text("egress: true\nmemory:\n  reserve: 1GiB\n  limit: 2GiB\n")
    problems = scanner.scan(LATER).problems
    assert [(p.where, p.what.partition(":")[0]) for p in problems] == [
        ("orchestrator.yaml:1:1", "egress"),
        ("orchestrator.yaml:3:1", "memory.reserve"),
        ("orchestrator.yaml:4:1", "memory.limit"),
    ]
