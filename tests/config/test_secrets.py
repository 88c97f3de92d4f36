"""Secrets: only as references, and never shown."""

from pathlib import Path

import pytest

from orchestrator.config import draft
from orchestrator.config.accepted import store
from orchestrator.config.decode import Surroundings
from orchestrator.config.draft import Draft
from orchestrator.config.scan import Scanner
from orchestrator.config.secrets import secret_lines
from orchestrator.config.settings import read_settings
from orchestrator.config.show import render, report
from orchestrator.values.spec import ModelSpec
from tests.config.engines import ENGINES
from tests.config.files import start
from tests.config.test_settings import LATER

SECRET = "sk-0123456789abcdef"  # noqa: S105 (made up)
OPENAI = "engine: openai\nsource: m\nendpoint: http://10.0.0.7:8000\n"
SERVER = 'engine: server\nsource: m\ncommand: [x, "{port}"]\n'


def model(text: str, env: dict[str, str] | None = None) -> Draft[ModelSpec]:
    around = Surroundings(folder=Path("/conf"), env=env or {"KEY": SECRET}, engines=ENGINES)
    return draft.model("m", "m.yaml", text.encode(), around)


def test_a_key_in_the_file_gets_the_fix() -> None:
    found = model(OPENAI + f"api_key: {SECRET}\n")
    assert "\n".join(render(problem) for problem in found.problems) == (
        "m.yaml:4:10: api_key: a key must not be written into this file\n"
        '  fix: put it into a file of its own and write "${file:PATH}", or use "${env:NAME}"'
    )


@pytest.mark.parametrize(
    "text",
    [
        f"api_key: [{SECRET}]\n",
        f"api_key: 'two words {SECRET}'\n",
        f"api_key: {{a: {SECRET}}}\n",
        f"api_kee: {SECRET}\n",
        f"apikey: {SECRET}\n",
        f"token: {SECRET}\n",
        f"api_key:\n  {SECRET}\n",
        f"api_key: [\n  {SECRET}\n",
        f"environment: {{TOKEN: {SECRET}}}\n",
        f"environment:\n  OTHER: {SECRET}\n",
        f"environment: {SECRET}\n",
        f"environment: [{SECRET}]\n",
        f"enviroment: {{OTHER: {SECRET}}}\n",
        "endpoint: ${env:KEY}\n",
        "quantize: ${env:KEY}\n",
        "prices: {input_per_million: '${env:KEY}'}\n",
    ],
)
def test_no_problem_shows_a_secret(text: str) -> None:
    found = model("engine: openai\nsource: m\n" + text)
    assert found.problems
    shown = "\n".join(render(problem) for problem in found.problems)
    assert SECRET not in shown
    assert SECRET not in repr([(p.what, p.fix, p.excerpt) for p in found.problems])


@pytest.mark.parametrize(
    "text",
    ["hf: {token: %s}\n", "hf:\n  token: %s\n", "hf: {tokken: %s}\n", "hf: {token: [%s]}\n", "hf: %s\n"],
)
def test_no_problem_of_the_settings_shows_a_token(tmp_path: Path, text: str) -> None:
    (tmp_path / "orchestrator.yaml").write_text(text % SECRET)
    found = read_settings(Surroundings(folder=tmp_path, env={}))
    assert found.problems
    assert SECRET not in "\n".join(render(problem) for problem in found.problems)


def test_a_token_in_the_settings_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.yaml").write_text(f"hf: {{token: {SECRET}}}\n")
    (problem,) = read_settings(Surroundings(folder=tmp_path, env={})).problems
    assert problem.what == "hf.token: a token must not be written into this file"


def test_values_hold_secrets_and_show_none() -> None:
    text = OPENAI + 'api_key: "${env:KEY}"\n'
    found = model(text)
    assert found.value is not None
    assert found.value.api_key == SECRET
    assert SECRET not in repr(found)
    other = model(text, {"KEY": "another"})
    assert other.value is not None
    assert other.meaning != found.meaning
    assert other.value.revision == found.value.revision

    text = SERVER + 'environment: {B: "${env:KEY}", A: plain}\n'
    spec = model(text).value
    assert spec is not None
    assert spec.environment == (("A", "plain"), ("B", SECRET))
    assert SECRET not in repr(spec)
    assert "plain" not in repr(spec)
    assert model(text, {"KEY": "another"}).meaning != model(text).meaning


def test_the_order_of_variables_means_nothing() -> None:
    one, two = model(SERVER + "environment: {A: a, B: b}\n"), model(SERVER + "environment: {B: b, A: a}\n")
    assert one.meaning == two.meaning


def test_what_is_stored_and_reported_holds_no_secret(tmp_path: Path) -> None:
    root = start(
        tmp_path, m=OPENAI + 'api_key: "${env:KEY}"\n', n=SERVER + 'environment: {A: "${env:KEY}"}\n'
    )
    scanner = Scanner(root, env={"KEY": SECRET}, engines=ENGINES)
    catalog = scanner.scan(LATER).catalog
    assert len(store(catalog)) == 2
    assert SECRET not in repr(store(catalog))
    assert SECRET not in repr(catalog)
    start(tmp_path, m=OPENAI + 'api_key: "${env:KEY}"\nparallel: x\n')
    assert SECRET not in report(scanner.scan(LATER))


def test_only_lines_that_may_hold_one_are_hidden() -> None:
    text = "engine: openai\nsampling: {max_tokens: 3}\napi_key: x\n  more\nsource: hf:${credential:a}\n"
    assert secret_lines("model", text) == {3, 4}
    assert secret_lines("settings", "egress: true\nhf: {endpoint: x}\nlisten: y\n") == {2}


CREDENTIAL = OPENAI + 'api_key: "${credential:openrouter}"\n'


def test_a_systemd_credential(tmp_path: Path) -> None:
    (tmp_path / "openrouter").write_text(f"{SECRET}\n")
    found = model(CREDENTIAL, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found.value is not None
    assert found.value.api_key == SECRET
    assert found.files == (tmp_path / "openrouter",)


@pytest.mark.parametrize(
    ("name", "env", "what", "fix"),
    [
        ("a", {}, "$CREDENTIALS_DIRECTORY is not set", "LoadCredential=a:PATH"),
        ("a", {"CREDENTIALS_DIRECTORY": ""}, "$CREDENTIALS_DIRECTORY is not set", "write ${file:PATH}"),
        (
            "a/b",
            {"CREDENTIALS_DIRECTORY": "/x"},
            "'a/b' is not the name of a credential",
            "${credential:NAME}",
        ),
        ("..", {"CREDENTIALS_DIRECTORY": "/x"}, "'..' is not the name of a credential", "${credential:NAME}"),
        ("a", {"CREDENTIALS_DIRECTORY": "/none"}, "cannot read a: No such file", "readable"),
    ],
)
def test_a_credential_that_is_not_there(name: str, env: dict[str, str], what: str, fix: str) -> None:
    (problem,) = model(OPENAI + f'api_key: "${{credential:{name}}}"\n', {"X": "", **env}).problems
    assert what in problem.what
    assert fix in problem.fix
