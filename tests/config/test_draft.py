"""One file at a time: every kind of mistake, as people read it."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.config import draft
from orchestrator.config.decode import Surroundings
from orchestrator.config.draft import Draft
from orchestrator.config.show import render
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import ModelSpec, ModelState, Sampling
from tests.config.engines import ENGINES

AROUND = Surroundings(folder=Path("/conf"), env={"HOME": "/home/ann", "KEY": "s3cret"}, engines=ENGINES)
GOOD = "engine: llama-cpp\nsource: demo:tiny\n"
PIN = "ab" * 32


def model(text: str, name: str = "coder", around: Surroundings = AROUND) -> Draft[ModelSpec]:
    return draft.model(name, f"models.d/{name}.yaml", text.encode(), around)


def policy(text: str) -> Draft[RoutingPolicy]:
    return draft.policy("default", "policies/default.yaml", text.encode(), AROUND)


def rendered(found: Draft[Any]) -> str:
    return "\n".join(render(problem) for problem in found.problems)


def test_a_full_model_file() -> None:
    found = model(
        "engine: llama-cpp\n"
        f"source: file:weights/../gemma.gguf@sha256:{PIN}\n"
        "state: testing\n"
        "context: 8192\n"
        "parallel: 2\n"
        "capabilities: [chat, poetry]\n"
        "sampling: {temperature: 1, top_k: 40.0, seed: 7}\n"
    )
    assert not found.problems
    spec = found.value
    assert spec is not None
    assert (spec.source.location, spec.source.sha256) == ("/conf/gemma.gguf", PIN)
    assert (spec.state, spec.context, spec.parallel) == (ModelState.TESTING, 8192, 2)
    assert spec.capabilities == ("chat", "poetry")
    assert spec.sampling == Sampling(temperature=1.0, top_k=40, seed=7)
    assert isinstance(spec.sampling.top_k, int)
    assert found.lines["sampling.seed"] == 7


def test_what_is_left_out_gets_the_defaults_of_the_value() -> None:
    spec = model(GOOD).value
    assert spec is not None
    assert spec == ModelSpec(name="coder", engine="llama-cpp", source=spec.source)


@pytest.mark.parametrize(
    ("written", "location"),
    [
        ("file:/models/a.gguf", "/models/a.gguf"),
        ("file:a.gguf", "/conf/a.gguf"),
        ("file:~/a.gguf", "/home/ann/a.gguf"),
        ("file:${env:HOME}/a.gguf", "/home/ann/a.gguf"),
        ("demo:small", "small"),
        (f"demo:tiny@sha256:{PIN}", "tiny"),
    ],
)
def test_sources(written: str, location: str) -> None:
    spec = model(f"engine: llama-cpp\nsource: {written}\n").value
    assert spec is not None
    assert spec.source.location == location
    assert spec.source.written == written


def test_a_comment_or_another_order_changes_no_meaning() -> None:
    one = model(GOOD + "context: 4096\n")
    two = model("# the same\nparallel: 4\nsource: demo:tiny\nengine: llama-cpp\n")
    assert one.meaning == two.meaning


@pytest.mark.parametrize(
    "more",
    [
        "context: 1\n",
        "parallel: 1\n",
        "state: absent\n",
        "capabilities: [chat]\n",
        "sampling: {seed: 0}\n",
        "load: on-demand\n",
        "idle: 1m\n",
        "pinned: true\n",
        "memory: 1GiB\n",
        "quantize: q8_0\n",
        "accelerator: cpu\n",
        "update: {check: daily}\n",
        "update: {apply: never}\n",
    ],
)
def test_every_field_is_part_of_the_meaning(more: str) -> None:
    assert model(GOOD + more).meaning != model(GOOD).meaning


GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.yaml")))
def test_problems_as_people_read_them(name: str) -> None:
    """Each `golden/NAME.yaml` gives exactly the text of `golden/NAME.txt`."""
    found = model((GOLDEN / f"{name}.yaml").read_text())
    assert rendered(found) + "\n" == (GOLDEN / f"{name}.txt").read_text()


MISTAKES = [
    ("source: 'file:'\n", "'file:' names no file", "write file: and a path"),
    ("source: demo:tinny\n", "'demo:tinny' is not a shipped model", "demo:tiny, demo:small"),
    ("source: demo:tiny@sha256:12\n", "is pinned to something that is not a SHA-256", "64 digits"),
    ("source: tiny.gguf\n", "'tiny.gguf' is not a source", "file:PATH"),
    ("source: 7\n", "7 is not a text", "quotes"),
    ("source:\n", "nothing is not a text", "such as demo:tiny"),
    ("source: [a]\n", "a list is not a text", "demo:tiny"),
    ("engine: olama\n", "'olama' is not known", "did you mean 'ollama'?"),
    ("engine: gpt\n", "'gpt' is not known", "use one of: llama-cpp, ollama, server, openai, far"),
    ("state: on\n", "'on' is not known", "one of: active, testing, deprecated, absent"),
    ("state: true\n", "true is not a text", "active"),
    ("context: 0\n", "0 is out of range", "from 1 to 1048576"),
    ("context: 2000000\n", "2000000 is out of range", "from 1 to 1048576"),
    ("context: 1.5\n", "1.5 is not a whole number", "8192"),
    ("context: true\n", "true is not a whole number", "8192"),
    ("parallel: 257\n", "257 is out of range", "from 1 to 256"),
    ("capabilities: chat\n", "'chat' is not a list", "[chat]"),
    ("capabilities: [chatt]\n", "'chatt' looks like a slip", "'chat'"),
    ("capabilities: [embeddings]\n", "'embeddings' looks like a slip", "'embedding'"),
    ("capabilities: [Chat]\n", "'Chat' is not a capability", "lower-case"),
    ("capabilities: [chat, chat]\n", "'chat' is given twice", "keep one"),
    ("capabilities: [1]\n", "1 is not a text", "quotes"),
    ("sampling: 1\n", "1 is not a mapping", "{temperature: 0.7, max_tokens: 512}"),
    ("sampling: {temprature: 1}\n", "'temprature' is not a field", "'temperature'"),
    ("sampling: {top_p: 0}\n", "0 is out of range", "above 0 to 1"),
    ("sampling: {repeat_penalty: 0}\n", "0 is out of range", "from 0.01 to 10"),
    ("sampling: {repeat_penalty: 20}\n", "20 is out of range", "from 0.01 to 10"),
    ("sampling: {max_tokens: 0}\n", "0 is out of range", "from 1"),
    ("sampling: {seed: -1}\n", "-1 is out of range", "from 0 to 4294967295"),
    ("sampling: {temperature: .nan}\n", ".nan is not a finite number", ""),
    ("name: x\n", "'name' is not a field", "one of: engine, source"),
    ("state: ${oops}\n", "'${oops}' is not a reference", "${env:NAME}"),
    ("state: ${env:KEY\n", "'${env:KEY' is not a reference", "${file:PATH}"),
    ("state: ${env:A-B}\n", "'A-B' is not the name of an environment variable", "${env:NAME}"),
    ("state: ${file:/none}\n", "cannot read /none: No such file or directory", "readable"),
    ("state: ${file:/}\n", "cannot read /: it is a folder, not a file", "readable"),
]


@pytest.mark.parametrize(("line", "what", "fix"), MISTAKES, ids=[case[0].strip() for case in MISTAKES])
def test_every_mistake_says_what_and_how_to_fix_it(line: str, what: str, fix: str) -> None:
    field = line.partition(":")[0]
    rest = "".join(f"{good}\n" for good in GOOD.splitlines() if not good.startswith(f"{field}:"))
    found = model(rest + line)
    assert found.value is None
    (problem,) = [p for p in found.problems if what in p.what] or found.problems
    assert what in problem.what
    assert fix in problem.fix
    assert problem.line == (rest + line).count("\n")
    assert problem.excerpt == line.rstrip("\n")


@pytest.mark.parametrize(
    ("later", "text"),
    [(word, f"{GOOD}{word}: x\n") for word in ("rollout", "profiling", "deprecated")],
)
def test_words_of_later_versions_are_known_as_such(later: str, text: str) -> None:
    (problem,) = model(text).problems
    assert problem.fix == f"this version does not have '{later}' yet; remove the line"


@pytest.mark.parametrize(
    ("name", "fine"),
    [
        ("fast", True),
        ("gemma3.1b-it_q4", True),
        ("0", True),
        ("a" * 63, True),
        ("a" * 64, False),
        ("Fast", False),
        ("-fast", False),
        ("fa st", False),
        ("", False),
        ("auto", False),
    ],
)
def test_names(name: str, fine: bool) -> None:  # noqa: FBT001 (a column of the table)
    assert bool(model(GOOD, name).value) is fine


def test_a_policy() -> None:
    found = policy("kind: routing\ndefault: true\notherwise: [a, b]\nfallback: [c]\n")
    assert found.value == RoutingPolicy(name="default", default=True, otherwise=("a", "b"), fallback=("c",))


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("otherwise: [a]\n", "'kind' is missing", "kind: routing"),
        ("kind: routing\n", "'otherwise' is missing", "otherwise: [quality]"),
        ("kind: rollout\nsteps: []\n", "'rollout' is not known", "does not have 'rollout' yet"),
        ("kind: routing\notherwise: []\n", "the list is empty", "[quality]"),
        ("kind: routing\notherwise: a\n", "'a' is not a list", "[a]"),
        ("kind: routing\notherwise: [A]\n", "'A' cannot be used here", "quality"),
        (
            "kind: routing\notherwise: [a]\nweights: {}\n",
            "'weights' is not a",
            "does not have 'weights' yet",
        ),
        ("kind: routing\notherwise: [a]\ndefault: yes\n", "'yes' is not true or false", "such as true"),
        ("kind: routing\notherwise: [a, b, a]\n", "'a' is given twice", "keep one"),
    ],
)
def test_mistakes_in_a_policy(text: str, what: str, fix: str) -> None:
    (problem,) = policy(text).problems
    assert what in problem.what
    assert fix in problem.fix


def test_a_resolved_secret_is_never_shown() -> None:
    for line in ("engine: ${env:KEY}\n", "state: ${env:KEY}\n", "context: ${env:KEY}\n"):
        found = model(line + "source: file:/a.gguf\n")
        assert found.problems
        assert "s3cret" not in rendered(found)
        assert "s3cret" not in repr(found)
        assert "${env:KEY}" in rendered(found)
    spec = model("engine: llama-cpp\nsource: file:/x/${env:KEY}.gguf\n")
    assert spec.value is not None
    assert spec.value.source.location == "/x/s3cret.gguf"
    assert "s3cret" not in repr(spec)


def test_a_file_reference_is_read_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "path").write_text("/models/a.gguf\n")
    found = model(
        "engine: llama-cpp\nsource: 'file:${file:path}'\n",
        around=Surroundings(folder=tmp_path, env={}, engines=ENGINES),
    )
    assert found.value is not None
    assert found.value.source.location == "/models/a.gguf"
    assert found.files == (tmp_path / "path",)


@pytest.mark.parametrize(
    ("content", "what"), [(b"\xff", "does not lead to UTF-8 text"), (b"x" * 70000, "has more than 64 KiB")]
)
def test_a_file_reference_must_be_a_short_text(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "key").write_bytes(content)
    around = Surroundings(folder=tmp_path, env={}, engines=ENGINES)
    (problem,) = model("engine: llama-cpp\nsource: 'file:${file:key}'\n", around=around).problems
    assert what in problem.what


def test_a_doubled_dollar_is_a_literal_one() -> None:
    found = model("engine: llama-cpp\nsource: file:/a/$${env:KEY}.gguf\n")
    assert found.value is not None
    assert found.value.source.location == "/a/${env:KEY}.gguf"


def test_keys_are_not_substituted() -> None:
    (problem,) = model(GOOD + "${env:KEY}: 1\n").problems
    assert problem.what == "'${env:KEY}' is not a field"


def test_a_file_of_noise_is_cut_short() -> None:
    found = model("".join(f"field{i}: 1\n" for i in range(200)))
    assert len(found.problems) == 51
    assert "152 more problems" in found.problems[-1].what


def test_items_written_differently_may_be_the_same() -> None:
    text = "engine: llama-cpp\nsource: demo:tiny\ncapabilities: ['${env:A}', '${env:B}']\n"
    (problem,) = model(
        text, around=Surroundings(folder=Path("/"), env={"A": "chat", "B": "chat"}, engines=ENGINES)
    ).problems
    assert problem.what == "capabilities: an item is given twice"


def test_a_long_value_is_cut_in_messages() -> None:
    (problem,) = model(f"engine: {'x' * 500}\nsource: demo:tiny\n").problems
    assert len(problem.what) < 100
