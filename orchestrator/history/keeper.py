"""The child that owns the live file: takes one JSON line per request, answers with one, ends with its input.

A process of its own, because DuckDB takes 50 MB and more, holds the interpreter while it
takes rows, and is native code: its crash must cost rows at the most (docs/history.md#processes).

    {"do": "append", "rows": [["events", ["2026-11-20T12:00:00", …]], …]}  →  {"failed": 0, "refusal": ""}
    {"do": "checkpoint"}                                                   →  {}
    {"do": "close"}                                                        →  {}

The first answer comes unasked: `{"rows": 17}`, the number of rows in the file that was
opened. A fault is answered by `{"fault": KIND, "what": …, "fix": …, "where": …, "broken": …}`.
"""

import json
import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from orchestrator import clock
from orchestrator.errors import HistoryError
from orchestrator.history.store import Row, Store

# Ends come from the daemon, through the pipe: Ctrl-C and `systemctl stop` reach every process
# of the daemon at once, and it still has rows to store then.
_IGNORED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Serve the folder named by the first line until the input ends."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what native code prints must not mix with the answers
    try:
        store = Store(Path(json.loads(sys.stdin.readline())["folder"]), clock.now())
    except HistoryError as fault:
        _say(answers, _told(fault, broken=True))
        return
    try:
        _say(answers, {"rows": store.rows()})
        for line in sys.stdin:
            request = json.loads(line)
            if request["do"] == "close":
                break
            _say(answers, _answer(store, request))
    finally:
        store.close()
    _say(answers, {})


def _answer(store: Store, request: dict[str, Any]) -> dict[str, object]:
    try:
        if request["do"] == "append":
            return {
                "failed": store.append([_row(cells) for cells in request["rows"]]),
                "refusal": store.refusal,
            }
        store.checkpoint()
    except HistoryError as fault:
        return _told(fault, broken=store.broken)
    return {}


def _row(parts: list[Any]) -> Row:
    table, (at, *cells) = parts
    return table, (datetime.fromisoformat(at), *cells)


def _told(fault: HistoryError, *, broken: bool) -> dict[str, object]:
    kind = type(fault).__name__
    return {"fault": kind, "what": fault.what, "fix": fault.fix, "where": fault.where, "broken": broken}


def _say(answers: TextIO, answer: dict[str, object]) -> None:
    try:
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()
    except BrokenPipeError:
        pass  # the daemon was killed; the end of the input follows


if __name__ == "__main__":
    main()
