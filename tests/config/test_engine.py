"""What does not go together with a file's engine, as people read it."""

from pathlib import Path
from types import MappingProxyType

import pytest
from jsonschema import Draft7Validator

from orchestrator.config import draft
from orchestrator.config.decode import Surroundings
from orchestrator.config.notation import recurrence_s
from orchestrator.config.schema import engine_fields, schema
from orchestrator.config.show import render
from orchestrator.engines import kinds
from orchestrator.values.engine import EngineTraits
from orchestrator.values.spec import Apply, LoadWhen, ModelSpec, Prices, Update
from tests.config.engines import ENGINES, LLAMA_CPP

ENV = {"HOME": "/home/ann", "KEY": "s3cret", "COMMAND": "s3cret {port}"}


def problems(text: str, engines: dict[str, EngineTraits] | None = None) -> str:
    around = Surroundings(folder=Path("/conf"), env=ENV, engines=ENGINES if engines is None else engines)
    found = draft.model("m", "m.yaml", text.encode(), around)
    assert (found.value is None) == bool(found.problems)
    return "\n".join(render(problem) for problem in found.problems)


SERVER = "engine: server\nsource: m\n"
OPENAI = "engine: openai\nsource: m\n"
URL = "endpoint: http://10.0.0.7:8000\n"


def test_a_field_of_other_engines_is_refused_at_its_line() -> None:
    assert problems("engine: llama-cpp\nsource: demo:tiny\ncommand: [x]\n") == (
        "m.yaml:3:1: 'command' is not a field of engine llama-cpp\n"
        "  command: [x]\n"
        "  ^\n"
        "  fix: remove the line; it is for server"
    )
    shown = problems("engine: llama-cpp\nsource: demo:tiny\nhealth: /\n")
    assert "it is for server or openai" in shown


def test_a_field_that_no_engine_has_is_only_to_be_removed() -> None:
    alone = {"llama-cpp": LLAMA_CPP}
    assert problems("engine: llama-cpp\nsource: demo:tiny\npaid: true\n", alone).endswith(
        "fix: remove the line"
    )


def test_what_an_engine_needs_is_said_at_its_name() -> None:
    assert problems(OPENAI) == (
        "m.yaml:1:9: engine openai needs 'endpoint'\n"
        "  engine: openai\n"
        "          ^\n"
        "  fix: add a line such as `endpoint: http://10.0.0.7:8000/v1`"
    )
    assert problems(SERVER).endswith(
        'add a line such as `command: [llama-server, --model, "{model}", --port, "{port}"]`'
    )


def test_without_any_engine_every_name_is_unknown() -> None:
    assert "engine: 'llama-cpp' is not known" in problems("engine: llama-cpp\nsource: demo:tiny\n", {})


def test_a_program_that_an_engine_drives_leads_to_it() -> None:
    shown = problems("engine: OpenAI API\nsource: x\n")
    assert "did you mean 'server', which runs any command that serves the OpenAI API?" in shown
    assert "use one of: " in problems("engine: ${env:KEY}\nsource: x\n")


def test_a_source_of_the_wrong_kind_lists_the_right_ones() -> None:
    shown = problems("engine: ollama\nsource: demo:tiny\n")
    assert "source: 'demo:tiny' is of a kind that engine ollama does not take" in shown
    assert "fix: write file:PATH, or a tag such as gemma3:1b" in shown


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("quantize: q8_O\n", "engine llama-cpp does not have 'q8_O'", "did you mean 'q8_0'?"),
        ("quantize: xyz\n", "engine llama-cpp does not have 'xyz'", "use one of: q8_0, q4_K_M"),
        ("quantize: ${env:KEY}\n", "engine llama-cpp does not have '${env:KEY}'", "use one of: q8_0"),
        ("accelerator: ane\n", "engine llama-cpp does not have 'ane'", "use one of: auto, cpu, cuda, metal"),
        ("accelerator: gpu\n", "'gpu' is not known", "use one of: auto, cpu, cuda"),
    ],
)
def test_words_of_another_engine(text: str, what: str, fix: str) -> None:
    shown = problems("engine: llama-cpp\nsource: demo:tiny\n" + text)
    assert what in shown
    assert fix in shown
    assert shown.count("m.yaml:") == 1
    assert "s3cret" not in shown


def test_many_words_are_not_all_listed() -> None:
    many = EngineTraits(
        name="e",
        summary="s",
        schemes=("demo",),
        takes=frozenset({"quantize"}),
        choices=MappingProxyType({"quantize": tuple(f"q{n}" for n in range(20))}),
    )
    assert problems("engine: e\nsource: demo:tiny\nquantize: zzz\n", {"e": many}).endswith("q10, q11, …")


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        (
            'command: llama-server --model "a b" --port {port}\n',
            "is not a list",
            'write it as a list: [llama-server, --model, a b, --port, "{port}"]',
        ),
        ("command: x .inf 1 {port}\n", "is not a list", 'as a list: [x, ".inf", "1", "{port}"]'),
        ("command: it's {port}\n", "is not a list", 'write it as a list: [it\'s, "{port}"]'),
        ("command: [vllm, --port, {port}]\n", "a mapping is not a text", 'put it in quotes: "{port}"'),
        ('command: [vllm, --port, "{port}", 2]\n', "2 is not a text", "put it in quotes"),
        ("command: []\n", "the list is empty", "at least one item"),
        ("command: [vllm, serve]\n", "nothing says where it listens", 'put "{port}" or "{socket}" into it'),
        ('command: ["a\\0", "{port}"]\n', "NUL character", "remove it"),
        ('command: ["${env:COMMAND}"]\n', "would be seen by every user", "put it into `environment`"),
        ("command: ${env:COMMAND}\n", "'${env:COMMAND}' is not a list", "such as [llama-server"),
        ('command: [x, "{port}"]\nenvironment: {A: 1}\n', "the value is not a text", "put it in quotes"),
        ('command: [x, "{port}"]\nenvironment: {A-B: "1"}\n', "'A-B' cannot be the name", "letters, digits"),
        ('command: [x, "{port}"]\nenvironment: {A: "\\0"}\n', "NUL character", "remove it"),
        ('command: [x, "{port}"]\nenvironment: A=1\n', "the value is not a mapping", "CUDA_VISIBLE_DEVICES"),
        ('command: [x, "{port}"]\nhealth: health\n', "'health' cannot be used here", "/v1/models"),
    ],
)
def test_mistakes_in_a_command(text: str, what: str, fix: str) -> None:
    shown = problems(SERVER + text)
    assert what in shown
    assert fix in shown
    assert shown.count("m.yaml:") == 1
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("endpoint: 10.0.0.7:8000\n", "'10.0.0.7:8000' is not the URL of a server", "http://HOST:PORT"),
        ("endpoint: ftp://h\n", "is not the URL of a server", "http://HOST:PORT"),
        ("endpoint: http://\n", "is not the URL of a server", "http://HOST:PORT"),
        ("endpoint: http://h:99999\n", "is not the URL of a server", "http://HOST:PORT"),
        ("endpoint: 'http://h/a b'\n", "is not the URL of a server", "http://HOST:PORT"),
        ("endpoint: http://ann:pw@h:1\n", "holds a user or a password", "`api_key`"),
        ("endpoint: 'http://h:1/#a'\n", "goes on behind a #", "leave out # and what follows"),
        ("endpoint: http://example.org\n", "over the internet without encryption", "write https://"),
        ("endpoint: []\n", "the list is empty", "such as http://10.0.0.7:8000/v1"),
        ("endpoint: 7\n", "7 is not a text or a list", "http://10.0.0.7:8000/v1"),
        ("endpoint: [http://h, x]\n", "'x' is not the URL of a server", "http://HOST:PORT"),
        ("endpoint: [http://h, http://h]\n", "'http://h' is given twice", "keep one"),
        ("endpoint: ${env:KEY}\n", "'${env:KEY}' is not the URL of a server", "http://HOST:PORT"),
        (URL + "paid: yes\n", "'yes' is not true or false", "such as true"),
        (URL + "prices: 3\n", "3 is not a mapping", "{input_per_million: 0.1, output_per_million: 0.4}"),
        (URL + "prices: {input_per_million: -1}\n", "-1 is out of range", "from 0 to"),
        (URL + "prices: {in: 1}\n", "'in' is not a field", "input_per_million"),
    ],
)
def test_mistakes_in_an_endpoint(text: str, what: str, fix: str) -> None:
    shown = problems(OPENAI + text)
    assert what in shown
    assert fix in shown
    assert shown.count("m.yaml:") == 1
    assert "s3cret" not in shown


def test_the_engines_that_there_are_take_only_fields_that_there_are() -> None:
    assert kinds.traits()
    for each in kinds.traits().values():
        assert each.takes <= set(engine_fields()), each.name
        assert each.needs <= each.takes, each.name
        assert set(each.choices) <= each.takes, each.name
        for name, words in each.choices.items():
            rule = schema("model")["properties"][name]
            assert all(Draft7Validator(rule).is_valid(word) for word in words), (each.name, name)
        assert not each.bare or each.bare in each.schemes, each.name


@pytest.mark.parametrize(
    ("written", "endpoints"),
    [
        ("http://10.0.0.7:8000/v1/", ("http://10.0.0.7:8000/v1",)),
        ("[http://a:1, https://example.org/api/v1]", ("http://a:1", "https://example.org/api/v1")),
        ("https://example.org/v1?api-version=1", ("https://example.org/v1?api-version=1",)),
        ("http://box.lan:8000", ("http://box.lan:8000",)),
        ("http://[::1]:8000", ("http://[::1]:8000",)),
    ],
)
def test_endpoints(written: str, endpoints: tuple[str, ...]) -> None:
    around = Surroundings(folder=Path("/conf"), env=ENV, engines=ENGINES)
    spec = draft.model("m", "m.yaml", f"{OPENAI}endpoint: {written}\n".encode(), around).value
    assert spec is not None
    assert spec.endpoints == endpoints


def test_an_endpoint_with_a_reference_is_known_as_written_and_shown_only_so() -> None:
    around = Surroundings(folder=Path("/conf"), env=ENV, engines=ENGINES)
    written = ("https://example.org/${env:KEY}/v1/", "https://example.net/v1?key=${env:KEY}")
    text = f"{OPENAI}endpoint: ['{written[0]}', '{written[1]}']\n"
    spec = draft.model("m", "m.yaml", text.encode(), around).value
    assert spec is not None
    assert spec.endpoints == ("https://example.org/s3cret/v1", "https://example.net/v1?key=s3cret")
    assert spec.endpoints_written == written
    assert "s3cret" not in repr(spec)
    one = draft.model("m", "m.yaml", f"{OPENAI}endpoint: {written[0]}\n".encode(), around).value
    assert one is not None
    assert one.endpoints_written == written[:1]


def test_every_field_of_an_engine() -> None:
    around = Surroundings(folder=Path("/conf"), env=ENV, engines=ENGINES)

    def spec(text: str) -> ModelSpec:
        found = draft.model("m", "m.yaml", text.encode(), around)
        assert found.value is not None, found.problems
        return found.value

    remote = spec(f"{OPENAI}{URL}paid: true\nprices: {{output_per_million: 2}}\nhealth: /v1/models\n")
    assert (remote.paid, remote.prices, remote.health) == (True, Prices(output_per_million=2.0), "/v1/models")
    command = spec(SERVER + 'command: [x, "{port}"]\nenvironment: {B: b, A: a}\n')
    assert (command.command, command.environment) == (("x", "{port}"), (("A", "a"), ("B", "b")))
    local = spec(
        "engine: llama-cpp\nsource: demo:tiny\nload: on-demand\nidle: 90s\npinned: true\nmemory: 1.5GiB\n"
        "quantize: q8_0\naccelerator: cuda\nupdate: {check: 12h, apply: rollout}\n"
    )
    assert (local.load, local.idle_s, local.pinned) == (LoadWhen.ON_DEMAND, 90.0, True)
    assert (local.memory_bytes, local.quantize, local.accelerator) == (3 * 2**29, "q8_0", "cuda")
    assert local.update == Update(check_every_s=43200.0, apply=Apply.ROLLOUT)
    assert spec("engine: llama-cpp\nsource: demo:tiny\nmemory: auto\n").memory_bytes is None


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("hourly", 3600), ("daily", 86400), ("weekly", 604800), ("1.5h", 5400), ("never", None)],
)
def test_recurrences(written: str, seconds: float | None) -> None:
    assert recurrence_s(written) == seconds


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("load: lazy\n", "'lazy' is not known", "use one of: always, on-demand"),
        ("load: on_demand\n", "'on_demand' is not known", "did you mean 'on-demand'?"),
        ("idle: 10\n", "10 is not a text", "write it with a unit, such as 30m"),
        ("idle: soon\n", "'soon' is not a duration", "such as 30s"),
        ("idle: 400d\n", "'400d' is out of range", "from 0s to 365d"),
        ("pinned: on\n", "'on' is not true or false", "such as true"),
        ("memory: 6\n", "6 is not a text", "write it with a unit, such as 6GiB"),
        ("memory: 6 GBit\n", "'6 GBit' is not a size", "or auto"),
        ("memory: 0B\n", "'0B' is out of range", "from 1MiB to"),
        ("update: daily\n", "'daily' is not a mapping", "{check: daily, apply: rollout}"),
        ("update: {check: dayly}\n", "'dayly' is not a duration", "hourly, daily, weekly, never; or"),
        ("update: {check: 1s}\n", "'1s' is out of range", "from 1m to 365d"),
        ("update: {check: 24}\n", "24 is not a text", "write it with a unit, such as daily"),
        ("update: {apply: yes}\n", "'yes' is not known", "use one of: rollout, notify, never"),
        ("quantize: 'a b'\n", "'a b' cannot be used here", "q8_0"),
        ("quantize: 4\n", "4 is not a text", "put it in quotes, or write something like q8_0"),
    ],
)
def test_mistakes_in_fields_of_every_engine(text: str, what: str, fix: str) -> None:
    shown = problems("engine: llama-cpp\nsource: demo:tiny\n" + text)
    assert what in shown
    assert fix in shown
    assert shown.count("m.yaml:") == 1
