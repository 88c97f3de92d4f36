"""Help that helps: examples everywhere, a reference that is not stale, and no waiting for any of it."""

import argparse
import importlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import commands_of_files
from orchestrator.cli.exits import MEANING, Exit
from orchestrator.cli.main import MODULES
from orchestrator.cli.parser import build
from orchestrator.cli.reference import commands_of, reference
from orchestrator.config.schema import KINDS
from tests.cli import payloads
from tests.cli.admin_server import Script
from tests.cli.conftest import ROOT, Shell

COMMANDS = list(MODULES)


def _commands() -> dict[str, argparse.ArgumentParser]:
    return commands_of(build())


def test_every_declared_command_has_its_module_and_the_other_way_round() -> None:
    assert set(_commands()) == set(MODULES)
    for name, module in MODULES.items():
        if name != "run":  # it imports the daemon, which the tests of the daemon do
            assert callable(importlib.import_module(module).execute)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_examples_that_the_parser_accepts(name: str, shell: Shell) -> None:
    command = _commands()[name]
    examples = (command.epilog or "").splitlines()
    assert examples[0] == "examples:"
    assert len(examples) > 1
    for example in examples[1:]:
        ours = [part for part in _simple_commands(example) if part[0] == "orchestrator"]
        assert ours, example
        for _, *arguments in ours:
            build().parse_args(arguments)
    done = shell(name, "--help")
    assert done.returncode == 0
    assert examples[1].strip() in done.stdout


def _simple_commands(line: str) -> list[list[str]]:
    """Split a shell line into the commands of its pipes and lists, without redirections and comments."""
    line = line.removeprefix('  eval "$(').replace(')"', "")
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if set(word) <= set("|&;"):
            parts.append([])
        elif set(word) <= set("<>"):
            skip = True
            if parts[-1][-1].isdigit():
                parts[-1].pop()  # the 2 of 2>
        elif not skip:
            parts[-1].append(word)
        else:
            skip = False
    return [part for part in parts if part]


def test_every_exit_code_is_explained_in_the_help(shell: Shell) -> None:
    assert set(MEANING) == set(Exit)
    shown = shell("--help").stdout
    assert [code for code in Exit if f"\n  {code.value:<4} " not in shown] == []


def test_the_kinds_of_schemas_are_those_of_the_configuration() -> None:
    assert commands_of_files.KINDS == KINDS


def test_the_reference_is_not_stale() -> None:
    fix = "run: python -m orchestrator.cli.reference > docs/cli.md"
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference(), fix


LOADED = "import sys; from orchestrator.cli.main import execute; execute(sys.argv[1:]); print(*sys.modules)"
HEAVY = {"aiohttp", "asyncio", "duckdb", "jsonschema", "rich", "shtab", "uvicorn", "yaml"}


@pytest.mark.parametrize(
    "args", [("--version",), ("status", "--socket", "admin.sock")], ids=lambda args: args[0]
)
def test_quick_commands_import_nothing_heavy(args: tuple[str, ...], shell: Shell, daemon: Script) -> None:
    daemon.answers["GET /v1/status"] = (200, payloads.calm())
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *args],
        env=shell.env,
        cwd=shell.home,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert HEAVY & set(done.stdout.splitlines()[-1].split()) == set()


@pytest.mark.parametrize(
    "args", [("--help",), ("status", "--socket", "admin.sock")], ids=lambda args: args[0]
)
def test_quick_commands_take_less_than_200_ms_of_cpu(
    args: tuple[str, ...], shell: Shell, daemon: Script
) -> None:
    daemon.answers["GET /v1/status"] = (200, payloads.calm())
    shell(*args)  # compiles the modules, once per version
    assert min(_cpu_s(shell, args) for _ in range(3)) < 0.2


def _cpu_s(shell: Shell, args: tuple[str, ...]) -> float:
    """Return the processor time of one run: what the wall clock says depends on who else is running."""
    argv = [sys.executable, "-m", "orchestrator", *args]
    nowhere = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    here = Path.cwd()
    os.chdir(shell.home)
    try:
        pid = os.posix_spawn(sys.executable, argv, shell.env, file_actions=[nowhere])
    finally:
        os.chdir(here)
    _, status, usage = os.wait4(pid, 0)
    assert status == 0
    return usage.ru_utime + usage.ru_stime
