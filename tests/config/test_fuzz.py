"""Damaged files: never an exception, and what is in force is the old version or a valid new one."""

import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import clock
from orchestrator.config import draft
from orchestrator.config.decode import Surroundings
from orchestrator.config.scan import Scanner
from orchestrator.config.settings import read_settings
from orchestrator.config.show import render, report
from orchestrator.values.catalog import Document
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import ModelSpec
from tests.config.engines import ENGINES

REPOSITORY = Path(__file__).parents[2]
SECRET = "sk-0123456789"  # noqa: S105 (made up)
AROUND = Surroundings(folder=Path("/conf"), env={"KEY": SECRET}, engines=ENGINES)
FULL = b"""# every field, and references
engine: llama-cpp
source: "file:${env:HOME}/a.gguf@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
state: active
context: 8192
parallel: 2
capabilities:
  - chat
  - code
sampling: {temperature: 0.7, top_p: 0.9, top_k: 40, min_p: 0.05, repeat_penalty: 1.1, max_tokens: 2048}
"""
REMOTE = b"""engine: openai
source: google/gemma-3-27b-it:free
endpoint: ["http://10.0.0.7:8000/v1", https://example.org/v1]
api_key: "${env:KEY}"
paid: true
prices: {input_per_million: 0.1, output_per_million: 0.4}
update: {check: 12h, apply: rollout}
"""
SERVED = b"""engine: server
source: hf:org/repo/a.gguf@main
command: [llama-server, --model, "{model}", --port, "{port}"]
environment: {TOKEN: "${env:KEY}", CUDA_VISIBLE_DEVICES: "0"}
health: /health
load: on-demand
idle: 10m
memory: 6GiB
"""
RULES = b"""kind: routing
rules:
  - when: {priority: {at_least: 9}, task: [a, b]}
    use: [fast]
  - when: {complexity: {above: 0.3, at_most: 0.7}}
    prefer: [quality]
otherwise: [fast]
tiers: [local, remote]
"""
SETTINGS = b"""listen: "[::1]:8080"
api_keys: ["${file:key}", "${env:KEY}"]
drain: 1.5m
max_body: 16MiB
memory: {limit: 24GiB, reserve: 4GiB}
hf: {endpoint: "https://huggingface.co", token: "${env:KEY}"}
egress: true
"""
MODELS = {path.name: path.read_bytes() for path in (REPOSITORY / "models.d").glob("*.yaml")} | {
    "full.yaml": FULL,
    "remote.yaml": REMOTE,
    "served.yaml": SERVED,
}
POLICIES = {path.name: path.read_bytes() for path in (REPOSITORY / "policies").glob("*.yaml")} | {
    "rules.yaml": RULES
}


def damaged(raw: bytes) -> list[bytes]:
    """Return the file cut at every place, and with one bit turned at every place."""
    cut = [raw[:end] for end in range(len(raw))]
    turned = [raw[:at] + bytes([raw[at] ^ (1 << at % 8)]) + raw[at + 1 :] for at in range(len(raw))]
    return cut + turned


@pytest.mark.parametrize("name", MODELS)
def test_a_model_file_damaged_anywhere_is_valid_or_a_problem(name: str) -> None:
    for raw in damaged(MODELS[name]):
        found = draft.model("name", "models.d/name.yaml", raw, AROUND)
        assert (found.value is None) == bool(found.problems)
        shown = "".join(render(problem) for problem in found.problems)
        assert SECRET not in shown + repr(found)


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_damaged_anywhere_is_valid_or_a_problem(name: str) -> None:
    for raw in damaged(POLICIES[name]):
        found = draft.policy("name", "policies/name.yaml", raw, AROUND)
        assert (found.value is None) == bool(found.problems)


def test_a_settings_file_damaged_anywhere_is_valid_or_a_problem(tmp_path: Path) -> None:
    for raw in damaged(SETTINGS):
        (tmp_path / "orchestrator.yaml").write_bytes(raw)
        found = read_settings(Surroundings(folder=tmp_path, env={"KEY": SECRET}, engines=ENGINES))
        assert (found.value is None) == bool(found.problems)
        assert SECRET not in repr(found)


@given(st.binary(max_size=300))
def test_any_bytes_are_valid_or_a_problem(raw: bytes) -> None:
    found = draft.model("name", "models.d/name.yaml", raw, AROUND)
    assert (found.value is None) == bool(found.problems)


# Text that looks like YAML gets deeper into the checks than noise does.
PIECES = [
    "engine", "source", "context", "sampling", "capabilities", "llama-cpp", "demo:tiny",
    "${env:A}", "${file:b}", "$${", "${", ": ", ":", "\n", "\n  ", "\n- ", "- ", "[", "]", "{",
    "}", ", ", "'", '"', "#", "|\n", ">", "&a", "*a", "!!int ", "<<", "?", "---\n", "...", "\t",
    "endpoint", "api_key", "command", "environment", "rules", "when", "use", "openai", "server",
    "http://a", "hf:", "@sha256:", "{port}", "${credential:c}",
    "1", "1e9", ".nan", "0x", "~", "true", "%YAML", "\\", "é", "温",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=40))
@settings(max_examples=400, deadline=None)
def test_any_yaml_is_valid_or_a_problem(pieces: list[str]) -> None:
    for parse in (draft.model, draft.policy):
        found = parse("name", "x/name.yaml", "".join(pieces).encode(), AROUND)
        assert (found.value is None) == bool(found.problems)
        for problem in found.problems:
            render(problem).encode()


FILES = [f"models.d/{name}" for name in MODELS] + [f"policies/{name}" for name in POLICIES]
Edit = tuple[str, int, int, bytes]
EDITS = st.lists(
    st.tuples(st.sampled_from(FILES), st.integers(0, 500), st.integers(0, 500), st.binary(max_size=3)),
    min_size=1,
    max_size=5,
)


@given(EDITS)
@settings(max_examples=100, deadline=None)
def test_after_any_damage_the_catalog_is_the_old_one_or_a_valid_new_one(edits: list[Edit]) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        original = {f"models.d/{n}": raw for n, raw in MODELS.items()}
        original |= {f"policies/{n}": raw for n, raw in POLICIES.items()}
        for path, raw in original.items():
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_bytes(raw)
        scanner = Scanner(root, env={"HOME": "/home/ann", "KEY": SECRET}, engines=ENGINES)
        now = clock.now() + timedelta(hours=1)
        before = scanner.scan(now)
        assert not before.problems
        for path, start, end, instead in edits:
            raw = (root / path).read_bytes()
            (root / path).write_bytes(raw[:start] + instead + raw[max(start, end) :])
            os.utime(root / path, ns=(time.time_ns(), time.time_ns()))  # see files.put
            now += timedelta(seconds=1)
            reading = scanner.scan(now)
            report(reading).encode()
            broken = {problem.path for problem in reading.problems}
            documents: list[Document[ModelSpec] | Document[RoutingPolicy]] = [
                *reading.catalog.models.values(),
                *reading.catalog.policies.values(),
            ]
            assert {d.path for d in documents} == set(original)
            for document in documents:
                says = (root / document.path).read_bytes()
                assert document.path in broken or document.text.encode() == says
        for path, raw in original.items():
            (root / path).write_bytes(raw)
            os.utime(root / path, ns=(time.time_ns(), time.time_ns()))
        after = scanner.scan(now + timedelta(seconds=1))
        assert not after.problems
        assert {n: d.meaning for n, d in after.catalog.models.items()} == {
            n: d.meaning for n, d in before.catalog.models.items()
        }
