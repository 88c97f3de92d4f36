"""The commands that ask a running daemon."""

from orchestrator.cli.arguments import Commands, as_json, command, positive, seconds, which_daemon
from orchestrator.cli.usage import Parser


def status(commands: "Commands[Parser]") -> None:
    """Declare `status`."""
    parser = command(
        commands,
        "status",
        "show every model at a glance",
        "A model's NOTE is the one sentence that matters about it.",
        "orchestrator status",
        "orchestrator status --watch",
        "orchestrator status --check || echo 'something is wrong, or still under way'",
        "orchestrator status --json | jq '.models[] | {name, serving}'",
    )
    how = parser.add_mutually_exclusive_group()
    as_json(how)
    how.add_argument("--watch", action="store_true", help="refresh every second until Ctrl-C")
    how.add_argument("--names", action="store_true", help="print the models' names only, one per line")
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit with 4 unless every model is as its file asks, every file is valid and history is written",
    )
    which_daemon(parser)


def describe(commands: "Commands[Parser]") -> None:
    """Declare `describe`."""
    parser = command(
        commands,
        "describe",
        "show everything about one model: spec, conditions, replicas, recent events",
        "",
        "orchestrator describe fast",
        "orchestrator describe fast --json | jq .conditions",
    )
    parser.add_argument("model", metavar="MODEL", help="the model's name: the stem of its file")
    as_json(parser)
    which_daemon(parser)


def doctor(commands: "Commands[Parser]") -> None:
    """Declare `doctor`."""
    parser = command(
        commands,
        "doctor",
        "look at engines, accelerators, memory, disks and versions",
        "What is missing comes with the command that mends it. Without a daemon it looks for itself.\n"
        "Nothing here is an error of the daemon: only models that need what is missing are held up by it.",
        "orchestrator doctor",
        "orchestrator doctor --json | jq '.[\"this machine\"]'",
    )
    as_json(parser)
    parser.add_argument("--check", action="store_true", help="exit with 4 where something is missing")
    which_daemon(parser)


def reload(commands: "Commands[Parser]") -> None:
    """Declare `reload`."""
    parser = command(
        commands,
        "reload",
        "have the daemon read its files now",
        "The daemon does so by itself within moments of an edit; this reports what came of it.\n"
        "Exit code 1: a file has a problem, or with --wait a model did not become what its file asks.",
        "orchestrator reload",
        "orchestrator reload --wait && ./smoke-test.sh",
        "orchestrator reload --wait --timeout 300",
        "orchestrator reload --confirm-removal",
    )
    parser.add_argument(
        "--wait", action="store_true", help="until the models are as the files ask, or will not be"
    )
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
    as_json(parser)
    which_daemon(parser)


def chat(commands: "Commands[Parser]") -> None:
    """Declare `chat`."""
    parser = command(
        commands,
        "chat",
        "talk with a model",
        "The conversation is kept; /reset forgets it, /model NAME talks with another model, /quit ends. "
        "Ctrl-C stops an answer.\nPiped, it answers what it reads, as plain text.",
        "orchestrator chat",
        "orchestrator chat fast",
        'orchestrator chat fast -m "Is 7 greater than 3?"',
        "echo 'Is 7 greater than 3?' | orchestrator chat fast",
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
    which_daemon(parser)


def sql(commands: "Commands[Parser]") -> None:
    """Declare `sql`."""
    parser = command(
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
    as_json(how)
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
    which_daemon(parser)
