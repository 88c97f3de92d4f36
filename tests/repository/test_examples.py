"""What is shown as a configuration is one: every folder of examples/, every block in the pages."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import draft
from orchestrator.config.check import check
from orchestrator.config.decode import Surroundings
from orchestrator.config.settings import read_settings
from orchestrator.config.show import render
from orchestrator.decide.features import Features
from orchestrator.decide.rules import candidates
from orchestrator.engines import kinds
from orchestrator.values.catalog import Problem, Reading
from orchestrator.values.policy import RoutingPolicy

ROOT = Path(__file__).parents[2]
FOLDERS = sorted(path.parent for path in ROOT.glob("examples/*/models.d"))
FAMILY = {"primary", "fast", "coder", "quality"}
FAMILIES = [folder for folder in FOLDERS if folder.name.startswith("gemma-")]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("examples/**/README.md"))]
# What the examples refer to, and what everybody has to bring along.
ENV = {"HOME": "/home/ann", "OPENROUTER_API_KEY": "a-key", "HF_TOKEN": "a-token"}
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def reading(folder: Path) -> Reading:
    return check(folder, ENV, kinds.traits())


def test_there_are_examples() -> None:
    names = {folder.name for folder in FOLDERS}
    assert names >= {"gemma-ollama", "gemma-gguf", "gemma-mlx", "lan-mixed"}
    assert len(FAMILIES) == 3


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_example_is_valid(folder: Path) -> None:
    """As a user checks it."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "check", "--json", str(folder)],
        env=os.environ | ENV,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=ROOT,
    )
    answer = json.loads(done.stdout)
    assert answer["problems"] == []
    assert done.returncode == 0
    files = {str(path.relative_to(folder)) for path in folder.glob("*.yaml")}
    files |= {str(path.relative_to(folder)) for path in folder.glob("*/*.yaml")}
    assert set(answer["files"]) == files


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_example_is_explained(folder: Path) -> None:
    page = (folder / "README.md").read_text()
    assert f"cp -r examples/{folder.name} " in page
    for path in [*folder.glob("*.yaml"), *folder.glob("*/*.yaml")]:
        kind = {"models.d": "model", "policies": "routing"}.get(path.parent.name, "settings")
        up = "" if kind == "settings" else "../"
        first, second, third, *_ = path.read_text().splitlines()
        assert first == f"# yaml-language-server: $schema={up}.schema/{kind}.json", path
        assert second == "#"
        assert third.startswith("# "), path
        for name in re.findall(r"^[^#\n]*\$\{env:(\w+)\}", path.read_text(), re.MULTILINE):
            assert f"    export {name}=" in page, path


@pytest.mark.parametrize("folder", FAMILIES, ids=lambda folder: folder.name)
def test_the_family_is_routed_as_the_design_asks(folder: Path) -> None:
    catalog = reading(folder).catalog
    assert set(catalog.models) == FAMILY
    default = catalog.default_policy
    assert default is not None
    assert default.otherwise == ("primary",)
    judges = {"relevance": "primary", "faithfulness": "quality", "minimality": "fast", "safety": "quality"}
    for judge, model in judges.items():
        assert catalog.policies[f"judge-{judge}"].value.otherwise[0] == model
        assert first_choice(default, task=f"judge_{judge}", priority=10) == model
    assert first_choice(default, priority=9) == "quality"
    assert first_choice(default, priority=8, estimated_tokens=99) == "fast"
    assert first_choice(default, estimated_tokens=100) == "primary"
    assert first_choice(default, task="code_generation", estimated_tokens=10) == "coder"
    assert first_choice(default, complexity=0.71) == "quality"
    assert first_choice(default, complexity=0.7) == "primary"


def first_choice(policy: RoutingPolicy, **known: Any) -> str:  # noqa: ANN401 (the fields of Features)
    """Return the first model for such a request."""
    return next(iter(candidates(policy, Features(**({"estimated_tokens": 1000} | known))))).model


def test_the_sources_of_the_family_are_the_ones_of_the_design() -> None:
    models = reading(ROOT / "examples" / "gemma-ollama").catalog.models
    tags = {name: document.value.source.location for name, document in models.items()}
    assert tags == {
        "primary": "gemma3n:e2b",
        "fast": "gemma3:1b",
        "coder": "gemma3:4b",
        "quality": "gemma3n:e4b",
    }


def test_nothing_of_the_mixed_example_leaves_the_network_unless_two_places_say_so() -> None:
    folder = ROOT / "examples" / "lan-mixed"
    catalog = reading(folder).catalog
    settings = read_settings(Surroundings(folder=folder, env=ENV)).value
    assert settings is not None
    assert not settings.egress
    assert [name for name, document in catalog.models.items() if document.value.remote] == ["cloud"]
    open_ones = [name for name, document in catalog.policies.items() if "remote" in document.value.tiers]
    assert open_ones == ["with-cloud"]
    assert len(catalog.models["chat"].value.endpoints) == 2


def blocks() -> Iterator[tuple[str, str]]:
    """Yield every block of a page that is a whole file, with its place."""
    for page in PAGES:
        text = page.read_text()
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 2
            yield f"{page.relative_to(ROOT)}:{line}", found[1]


BLOCKS = dict(blocks())


@pytest.mark.parametrize("place", BLOCKS)
def test_every_block_of_a_page_is_valid(place: str, tmp_path: Path) -> None:
    text = BLOCKS[place]
    around = Surroundings(folder=tmp_path, env=ENV, engines=kinds.traits())
    problems: tuple[Problem, ...]
    if re.search(r"^engine:", text, re.MULTILINE):
        problems = draft.model("model", place, text.encode(), around).problems
    elif re.search(r"^kind: routing", text, re.MULTILINE):
        problems = draft.policy("policy", place, text.encode(), around).problems
    else:
        (tmp_path / "orchestrator.yaml").write_text(text)
        problems = read_settings(around).problems
    assert not problems, "\n".join(render(problem) for problem in problems)


def test_pages_have_blocks() -> None:
    assert len(BLOCKS) >= 5
