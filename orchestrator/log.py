"""Log lines on stderr: text for people at a terminal, JSON lines for everything else."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

# systemd takes the priority from a prefix and strips it: sd-daemon(3).
PRIORITY: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


class JsonLines(logging.Formatter):
    def __init__(self, *, prefixed: bool) -> None:
        super().__init__()
        self._prefixed = prefixed

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "from": record.name.removeprefix("orchestrator."),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        prefix = f"<{PRIORITY.get(record.levelno, 6)}>" if self._prefixed else ""
        return prefix + json.dumps(line, ensure_ascii=False)


class Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")


def set_up(log_format: str, *, under_systemd: bool, verbose: bool = False) -> None:
    """Send every log record to stderr.

    Args:
        log_format: auto (text where stderr is a terminal, else JSON lines), text or json.
        under_systemd: prefix JSON lines with their priority.
        verbose: log what the engines and libraries say at debug level, too.
    """
    text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Text() if text else JsonLines(prefixed=under_systemd))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    # Every request of ours passes through these; their INFO lines are the request log of a library.
    for name in ("asyncio", "uvicorn", "watchdog"):
        logging.getLogger(name).setLevel(logging.WARNING)
