"""The commands that work on files and need no daemon, and the one that is the daemon."""

from typing import Final

from orchestrator.cli.arguments import Commands, as_json, command, port, which_daemon
from orchestrator.cli.usage import Parser

KINDS: Final = ("model", "routing", "settings")
SHELLS: Final = ("bash", "zsh", "fish", "tcsh")


def run(commands: "Commands[Parser]") -> None:
    """Declare `run`."""
    parser = command(
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


def init(commands: "Commands[Parser]") -> None:
    """Declare `init`."""
    parser = command(
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


def check(commands: "Commands[Parser]") -> None:
    """Declare `check`."""
    parser = command(
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
    as_json(parser)


def plan(commands: "Commands[Parser]") -> None:
    """Declare `plan`."""
    parser = command(
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
    which_daemon(parser)
    as_json(parser)


def schema(commands: "Commands[Parser]") -> None:
    """Declare `schema`."""
    parser = command(
        commands,
        "schema",
        "print the JSON Schema of a kind of file",
        "Editors complete and check the files with it. Without a kind: all of them, in one object.",
        "orchestrator schema model",
        "orchestrator schema | jq keys",
        "orchestrator schema model > .schema/model.json",
    )
    parser.add_argument("kind", metavar="KIND", nargs="?", choices=KINDS, help=" | ".join(KINDS))


def completion(commands: "Commands[Parser]") -> None:
    """Declare `completion`."""
    parser = command(
        commands,
        "completion",
        "print a completion script for a shell",
        "",
        'eval "$(orchestrator completion bash)"      # in ~/.bashrc',
        "orchestrator completion zsh > ~/.zfunc/_orchestrator",
        "orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish",
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=" | ".join(SHELLS))
