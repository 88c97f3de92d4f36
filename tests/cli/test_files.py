"""The commands that need no daemon: `init`, `check`, `schema`, `completion`, `plan` on files alone."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from orchestrator.cli.init import settings_file, starting_files
from orchestrator.config.schema import KINDS
from orchestrator.engines import kinds
from tests.cli.conftest import Shell


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_init_writes_a_configuration_that_check_accepts_without_a_hint(shell: Shell) -> None:
    done = shell("init", "models")
    assert (done.returncode, done.stderr) == (0, "")
    assert _files(shell.home / "models") == set(starting_files())
    assert "orchestrator run --config" in done.stdout
    checked = shell("check", "models")
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "4 files are valid\n", "")


def test_init_never_overwrites_and_then_writes_nothing(shell: Shell) -> None:
    mine = shell.home / "models" / "policies" / "default.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    done = shell("init", "models")
    assert (done.returncode, done.stdout) == (1, "")
    assert "this exists: policies/default.yaml" in done.stderr
    assert "fix:" in done.stderr
    assert _files(shell.home / "models") == {"policies/default.yaml"}
    assert mine.read_text() == "mine"


def test_init_where_nothing_can_be_written_says_so(shell: Shell) -> None:
    (shell.home / "file").write_text("")
    done = shell("init", "file/models")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot write it" in done.stderr
    assert "fix:" in done.stderr


def test_every_commented_field_of_the_starting_files_may_be_taken_in(shell: Shell) -> None:
    shell("init", "models")
    folder = shell.home / "models"
    for name in ("models.d/fast.yaml", "policies/default.yaml", "orchestrator.yaml"):
        path = folder / name
        lines = path.read_text().splitlines()
        taken_in = [_taken_in(line) for line in lines]
        assert taken_in != lines
        path.write_text("\n".join(taken_in) + "\n")
    # What needs something that is not there: the files with a key and a token.
    for secret in (shell.home / ".orchestrator-key", shell.home / ".cache" / "huggingface" / "token"):
        secret.parent.mkdir(parents=True, exist_ok=True)
        secret.write_text("a-key")
    checked = shell("check", "models")
    assert (checked.returncode, checked.stdout) == (0, "4 files are valid\n")


def _taken_in(line: str) -> str:
    name, colon, _ = line.removeprefix("# ").partition(":")
    is_field = line.startswith("# ") and colon and name.replace("_", "").isalpha() and name.islower()
    return line.removeprefix("# ") if is_field else line


def test_the_settings_file_explains_every_setting() -> None:
    written = settings_file()
    schema = json.loads(starting_files()[".schema/settings.json"])
    assert [name for name in schema["properties"] if f"\n# {name}: " not in written] == []


def test_check_reports_every_problem_and_counts_them(shell: Shell) -> None:
    shell("init", "models")
    fast = shell.home / "models" / "models.d" / "fast.yaml"
    fast.write_text("engine: llamacpp\nsource: demo:tiny\ncontxt: 12\n")
    done = shell("check", "models")
    assert done.returncode == 1
    assert "models.d/fast.yaml:1:9: " in done.stdout
    assert "models.d/fast.yaml:3:1: " in done.stdout
    assert "did you mean 'context'?" in done.stdout
    assert "\n  contxt: 12\n  ^\n" in done.stdout
    assert done.stdout.endswith("2 problems in 1 of 4 files\n")


def test_check_refuses_what_can_never_fit_with_the_figures(shell: Shell) -> None:
    shell("init", "models")
    fast = shell.home / "models" / "models.d" / "fast.yaml"
    fast.write_text("engine: llama-cpp\nsource: demo:tiny\nmemory: 60000GiB\n")
    done = shell("check", "models")
    assert done.returncode == 1
    assert "models.d/fast.yaml:3:1: it needs 60000.0 GiB of memory, and " in done.stdout
    assert "\n  memory: 60000GiB\n  ^\n  fix: " in done.stdout
    assert done.stdout.endswith("1 problem in 1 of 4 files\n")


def test_check_says_what_it_could_not_tell(shell: Shell) -> None:
    shell("init", "models")
    command = 'engine: server\nsource: m\ncommand: [x, "{port}"]\n'
    (shell.home / "models" / "models.d" / "fast.yaml").write_text(command)
    done = shell("check", "models")
    assert (done.returncode, done.stderr) == (0, "")
    assert "hint: model 'fast': what its command will take cannot be known" in done.stdout


def test_check_as_json_holds_the_same_for_programs(shell: Shell) -> None:
    shell("init", "models")
    (shell.home / "models" / "models.d" / "fast.yaml").write_text("engine: llamacpp\nsource: demo:tiny\n")
    done = shell("check", "models", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["folder"] == str(shell.home / "models")
    assert len(answer["files"]) == 4
    [problem] = answer["problems"]
    assert (problem["path"], problem["line"], problem["column"]) == ("models.d/fast.yaml", 1, 9)


def test_check_takes_the_current_folder_when_none_is_named(shell: Shell) -> None:
    shell("init", ".")
    assert shell("check").stdout == "4 files are valid\n"


def test_check_of_a_folder_without_a_configuration_is_an_error(shell: Shell) -> None:
    done = shell("check", "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "orchestrator init" in done.stderr


def test_check_gives_a_hint_about_what_is_allowed_and_probably_not_meant(shell: Shell) -> None:
    shell("init", "models")
    (shell.home / "models" / "policies" / "default.yaml").unlink()
    done = shell("check", "models")
    assert done.returncode == 0
    assert "hint: " in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_schema_prints_a_valid_schema_per_kind(kind: str, shell: Shell) -> None:
    done = shell("schema", kind)
    assert done.returncode == 0
    Draft7Validator.check_schema(json.loads(done.stdout))


def test_schema_names_the_engines_that_there_are(shell: Shell) -> None:
    engine = json.loads(shell("schema", "model").stdout)["properties"]["engine"]
    assert engine["enum"] == list(kinds.traits())
    shell("init", "models")
    written = json.loads((shell.home / "models" / ".schema" / "model.json").read_text())
    assert written["properties"]["engine"] == engine


def test_schema_without_a_kind_prints_all_of_them(shell: Shell) -> None:
    assert set(json.loads(shell("schema").stdout)) == set(KINDS)


def test_plan_without_a_daemon_works_on_the_files_alone(shell: Shell) -> None:
    shell("init", "models")
    done = shell("plan", "models")
    assert done.returncode == 2
    assert "no daemon is running" in done.stderr
    assert "+ create" in done.stdout
    assert "models.d/fast.yaml" in done.stdout
    (shell.home / "models" / "models.d" / "fast.yaml").write_text("engine: llamacpp\n")
    assert shell("plan", "models").returncode == 1


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish", "tcsh"])
def test_completion_is_printed_for_every_shell_and_knows_the_commands(shell_name: str, shell: Shell) -> None:
    done = shell("completion", shell_name)
    assert (done.returncode, done.stderr) == (0, "")
    assert "confirm-removal" in done.stdout
    assert "orchestrator status --names" in done.stdout
    program = shutil.which(shell_name)
    if program is not None and shell_name != "tcsh":
        subprocess.run([program, "-n"], input=done.stdout, text=True, check=True, timeout=30)


def test_bash_really_completes_commands_options_and_models(shell: Shell) -> None:
    script = shell("completion", "bash").stdout
    ask = """
orchestrator() {{ [ "$*" = "status --names" ] && printf 'fast\\nsmall\\n'; }}
COMP_WORDS=({words}); COMP_CWORD={at}; COMP_LINE="{words}"; COMP_POINT=${{#COMP_LINE}}; COMPREPLY=()
_shtab_orchestrator orchestrator
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    for words, at, expected in (
        ("orchestrator st", 1, "status"),
        ("orchestrator status --wa", 2, "--watch"),
        ("orchestrator completion z", 2, "zsh"),
        ("orchestrator describe f", 2, "fast"),
    ):
        done = subprocess.run(
            ["bash", "--norc"],  # noqa: S607 (the user's own bash is the one to test)
            input=script + ask.format(words=words, at=at),
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert done.stdout.split() == [expected], words
