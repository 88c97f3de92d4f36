"""Where output goes, and what that place can show: colour, characters beyond ASCII, a width."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, TextIO

# Every character beyond ASCII that this package prints itself; what models and files say may hold others.
ASCII: Final = str.maketrans(
    {"→": "->", "·": "-", "…": "...", "×": "x", "└": "`", "—": "-", "│": "|", "●": "*", "›": ">"}  # noqa: RUF001 (a glyph we print, not a typo)
)
STYLES: Final = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}
NARROWEST: Final = 40


def harmless(text: str, keep: str = "") -> str:
    """Return `text` without what could move a terminal's cursor or change its state, but with `keep`."""
    return "".join(
        char if char.isprintable() or char in keep else "\N{REPLACEMENT CHARACTER}" for char in text
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """One output stream.

    `width` is None where the stream is no terminal: then lines are as long as
    they need to be, so that other programs find each thing on one line.
    """

    out: TextIO
    colour: bool = False
    unicode: bool = True
    width: int | None = None

    def text(self, text: str) -> str:
        """Return `text` with our own symbols replaced where the stream cannot encode them."""
        return text if self.unicode else text.translate(ASCII)

    def paint(self, text: str, style: str) -> str:
        """Return `text` in `style` (words of STYLES, or "" for none); unchanged without colour."""
        if not self.colour or not style or not text:
            return text
        codes = ";".join(STYLES[word] for word in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"

    def narrowed(self, columns: int) -> "Terminal":
        """Return this terminal as it is for indented text."""
        return self if self.width is None else replace(self, width=self.width - columns)

    def line(self, text: str = "", style: str = "") -> None:
        self.out.write(self.paint(self.text(text), style) + "\n")

    def piece(self, text: str, style: str = "") -> None:
        """Write a part of a line and show it at once."""
        self.out.write(self.paint(self.text(text), style))
        self.out.flush()


def terminal(stream: TextIO | None = None, env: Mapping[str, str] | None = None) -> Terminal:
    """Return what `stream` (standard output) can show.

    Colour needs a terminal, TERM other than "dumb", and NO_COLOR unset or empty
    (no-color.org). What the stream cannot encode is escaped, never an error.
    """
    stream = sys.stdout if stream is None else stream
    env = os.environ if env is None else env
    interactive = stream.isatty()
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return Terminal(
        out=stream,
        colour=interactive and not env.get("NO_COLOR") and env.get("TERM") != "dumb",
        unicode=(stream.encoding or "ascii").lower().replace("-", "").startswith("utf"),
        width=max(NARROWEST, shutil.get_terminal_size().columns) if interactive else None,
    )
