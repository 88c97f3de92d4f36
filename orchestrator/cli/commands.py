"""What can be typed: every command with its arguments, its help and its examples; no behaviour."""

import argparse
import textwrap
from collections.abc import Callable
from typing import Final

from orchestrator.cli.usage import Parser

KINDS: Final = ("model", "routing", "settings")
SHELLS: Final = ("bash", "zsh", "fish", "tcsh")
HELP_WIDTH: Final = 78
HIGHEST_PORT: Final = 65535

Commands = argparse._SubParsersAction  # noqa: SLF001 (argparse has no public name for what it returns)


def epilog(*examples: str) -> str:
    """Return the examples as the end of a help page."""
    return "examples:\n" + "\n".join(f"  {example}" for example in examples)


def wrapped(text: str) -> str:
    """Return `text` wrapped for a help page, each of its lines a paragraph."""
    return "\n".join(textwrap.fill(line, HELP_WIDTH) for line in text.splitlines())


def _command(
    commands: "Commands[Parser]", name: str, summary: str, detail: str, *examples: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=wrapped(f"{summary[0].upper()}{summary[1:]}.\n{detail}".rstrip()),
        epilog=epilog(*examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _daemon(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which daemon is meant; none are needed where one runs with the defaults."""
    group = parser.add_argument_group("which daemon")
    group.add_argument("--config", metavar="DIR", help="configuration folder (default: as for run)")
    group.add_argument("--state", metavar="DIR", help="its state folder (default: as for run)")
    group.add_argument(
        "--socket", metavar="PATH", help="its admin socket (default: found by the state folder)"
    )


def _json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")


def seconds(text: str) -> float:
    """Return a positive number of seconds; the type of every deadline argument."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def positive(text: str) -> int:
    """Return a positive whole number."""
    value = int(text)
    if value <= 0:
        raise ValueError(text)
    return value


def port(text: str) -> int:
    """Return a TCP port; 0 asks for any free one."""
    value = int(text)
    if not 0 <= value <= HIGHEST_PORT:
        raise ValueError(text)
    return value


def _run(commands: "Commands[Parser]") -> None:
    parser = _command(
        commands,
        "run",
        "run the daemon in the foreground",
        "It prints its address when it is ready. SIGTERM and Ctrl-C drain and stop it; SIGHUP makes it "
        "read its files at once.\n"
        "What is not given here comes from orchestrator.yaml, else from the defaults.",
        "orchestrator run",
        "orchestrator run --config ~/models --port 8080",
        "orchestrator run --log-format json 2>> orchestrator.log",
    )
    parser.add_argument(
        "--config",
        metavar="DIR",
        help="folder with models.d/ and policies/ (default: the current one if it has a models.d/, "
        "else $XDG_CONFIG_HOME/orchestrator, else /etc/orchestrator)",
    )
    parser.add_argument(
        "--state",
        metavar="DIR",
        help="folder for what must survive a restart "
        "(default: $STATE_DIRECTORY, else $XDG_STATE_HOME/orchestrator)",
    )
    parser.add_argument("--host", metavar="HOST", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument(
        "--port", metavar="PORT", type=port, help="port to listen on; 0: any free one (default: 11435)"
    )
    parser.add_argument(
        "--log-format",
        choices=("auto", "text", "json"),
        help="auto (default): text on a terminal, else one JSON object per line",
    )
    parser.add_argument("--verbose", action="store_true", help="log every decision, too")


def _check(commands: "Commands[Parser]") -> None:
    parser = _command(
        commands,
        "check",
        "validate a configuration folder; needs no daemon",
        "Every problem of every file is reported with its line and its fix.\n"
        "Exit code 0: all files are valid; 1: some are not.",
        "orchestrator check",
        "orchestrator check ~/models",
        "orchestrator check --json | jq -r '.problems[].path'",
    )
    parser.add_argument(
        "folder", metavar="DIR", nargs="?", help="folder with models.d/ (default: as for run)"
    )
    _json(parser)


def _plan(commands: "Commands[Parser]") -> None:
    parser = _command(
        commands,
        "plan",
        "show what the files would change, and do nothing",
        "With a daemon: what it would do now. Without one: what it would do when started.\n"
        "Exit code 0: nothing to change; 2: there are changes; 1: a problem in a file, or another error.",
        "orchestrator plan",
        "orchestrator plan ~/models-next",
        'orchestrator plan > plan.txt; [ $? -eq 2 ] && echo "there are changes"',
    )
    parser.add_argument(
        "folder",
        metavar="DIR",
        nargs="?",
        help="plan for this folder (default: the one that the daemon watches)",
    )
    _daemon(parser)
    _json(parser)


def _status(commands: "Commands[Parser]") -> None:
    parser = _command(
        commands,
        "status",
        "show every model at a glance",
        "A model's NOTE is the one sentence that matters about it.",
        "orchestrator status",
        "orchestrator status --watch",
        "orchestrator status --check || echo 'something is not as the files ask'",
        "orchestrator status --json | jq '.models[] | {name, serving}'",
    )
    how = parser.add_mutually_exclusive_group()
    _json(how)
    how.add_argument("--watch", action="store_true", help="refresh every second until Ctrl-C")
    how.add_argument("--names", action="store_true", help="print the models' names only, one per line")
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with 4 unless every model is ready as its file asks and every file is valid",
    )
    _daemon(parser)


def _describe(commands: "Commands[Parser]") -> None:
    parser = _command(
        commands,
        "describe",
        "show everything about one model: spec, conditions, replicas, recent events",
        "",
        "orchestrator describe fast",
        "orchestrator describe fast --json | jq .conditions",
    )
    parser.add_argument("model", metavar="MODEL", help="the model's name: the stem of its file")
    _json(parser)
    _daemon(parser)


def _reload(commands: "Commands[Parser]") -> None:
    parser = _command(
        commands,
        "reload",
        "have the daemon read its files now",
        "The daemon does so by itself within moments of an edit; this reports what came of it.\n"
        "Exit code 1: a file has a problem, or --wait ran out.",
        "orchestrator reload",
        "orchestrator reload --wait && ./smoke-test.sh",
        "orchestrator reload --wait --timeout 300",
        "orchestrator reload --confirm-removal",
    )
    parser.add_argument("--wait", action="store_true", help="until the models are as the files say")
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=120.0,
        help="the longest wait (default: 120)",
    )
    parser.add_argument(
        "--confirm-removal",
        action="store_true",
        help="yes, the files that disappeared were meant to go (the daemon keeps their models until then)",
    )
    _json(parser)
    _daemon(parser)


def _sql(commands: "Commands[Parser]") -> None:
    parser = _command(
        commands,
        "sql",
        "query the history with SQL (DuckDB)",
        "The query cannot write, read other files or run away. Without a query: the tables, with examples.",
        "orchestrator sql",
        'orchestrator sql "select model, count(*), avg(ttft_ms) from requests group by all"',
        'orchestrator sql --csv "from requests where status >= 400" > failures.csv',
        "echo 'select reason, count(*) from events group by all' | orchestrator sql -",
    )
    parser.add_argument(
        "query", metavar="QUERY", nargs="?", help="one SELECT statement; - reads it from stdin"
    )
    how = parser.add_mutually_exclusive_group()
    _json(how)
    how.add_argument("--csv", action="store_true", help="print CSV with a header line")
    parser.add_argument(
        "--max-rows", metavar="N", type=positive, default=1000, help="rows shown at most (default: 1000)"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=30.0,
        help="the longest the query may run (default: 30)",
    )
    _daemon(parser)


def _schema(commands: "Commands[Parser]") -> None:
    parser = _command(
        commands,
        "schema",
        "print the JSON Schema of a kind of file",
        "Editors complete and check the files with it. Without a kind: all of them, in one object.",
        "orchestrator schema model",
        "orchestrator schema | jq keys",
        "orchestrator schema model > .schema/model.json",
    )
    parser.add_argument("kind", metavar="KIND", nargs="?", choices=KINDS, help=" | ".join(KINDS))


def _chat(commands: "Commands[Parser]") -> None:
    parser = _command(
        commands,
        "chat",
        "talk with a model",
        "The conversation is kept; /reset forgets it, /model NAME talks with another model, /quit ends. "
        "Ctrl-C stops an answer.\nPiped, it answers what it reads, as plain text.",
        "orchestrator chat",
        "orchestrator chat fast",
        'orchestrator chat fast -m "sort: pear apple fig"',
        "echo 'sort: pear apple fig' | orchestrator chat fast",
        "orchestrator chat --address http://lan-box:11435 --api-key-env LAN_KEY",
    )
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", default="auto", help="a model, policy/NAME, or auto (default)"
    )
    parser.add_argument(
        "-m", "--message", metavar="TEXT", help="send this one message, print the answer, end"
    )
    parser.add_argument("--system", metavar="TEXT", help="a system message to begin with")
    parser.add_argument(
        "--address", metavar="URL", help="the public address (default: asked from the daemon)"
    )
    parser.add_argument(
        "--api-key-env",
        metavar="NAME",
        default="ORCHESTRATOR_API_KEY",
        help="environment variable that holds the API key (default: ORCHESTRATOR_API_KEY)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=seconds,
        default=120.0,
        help="the longest silence of the server (default: 120)",
    )
    _daemon(parser)


def _init(commands: "Commands[Parser]") -> None:
    parser = _command(
        commands,
        "init",
        "write a commented starting configuration",
        "Nothing that exists is overwritten. The models it names ship with the package: nothing is "
        "downloaded.",
        "orchestrator init ~/models",
        "orchestrator init . && orchestrator check",
    )
    parser.add_argument(
        "folder", metavar="DIR", help="folder to write models.d/, policies/ and orchestrator.yaml into"
    )


def _completion(commands: "Commands[Parser]") -> None:
    parser = _command(
        commands,
        "completion",
        "print a completion script for a shell",
        "",
        'eval "$(orchestrator completion bash)"      # in ~/.bashrc',
        "orchestrator completion zsh > ~/.zfunc/_orchestrator",
        "orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish",
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=" | ".join(SHELLS))


COMMANDS: Final[tuple[Callable[["Commands[Parser]"], None], ...]] = (
    _run,
    _init,
    _check,
    _plan,
    _status,
    _describe,
    _reload,
    _chat,
    _sql,
    _schema,
    _completion,
)
