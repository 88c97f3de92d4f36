"""`chat`: a conversation on the terminal, one question from a pipe, or one from the command line."""

import argparse
import os
import sys
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Final

from orchestrator.cli import words
from orchestrator.cli.exits import Exit
from orchestrator.cli.main import complain
from orchestrator.cli.places import admin
from orchestrator.cli.stream import Figures, Message, Server
from orchestrator.cli.terminal import Terminal, harmless, terminal
from orchestrator.errors import ConfigError, DaemonUnreachable, OrchestratorError, RequestError

TOO_LONG: Final = "context_length_exceeded"
HELP: Final = """\
/reset       forget the conversation
/model NAME  talk with another model, and keep the conversation; without NAME: which there are
/help        this
/quit        end (or Ctrl-D)
Ctrl-C stops an answer."""


@dataclass(slots=True)
class Conversation:
    """What was said so far, and with whom. `system` is the message it begins with, "" for none."""

    server: Server
    terminal: Terminal
    model: str
    system: str = ""
    messages: list[Message] = field(default_factory=list)

    def reset(self) -> None:
        self.messages = [{"role": "system", "content": self.system}] if self.system else []

    def say(self, text: str) -> Figures | None:
        """Send `text` and print the answer as it comes; return its figures, None where Ctrl-C stopped it.

        A question that was refused is forgotten; an answer that was stopped is
        kept as far as it came.
        """
        question: Message = {"role": "user", "content": text}
        pieces: list[str] = []
        figures: Figures | None = None
        try:
            with closing(self.server.chat(self.model, [*self.messages, question])) as parts:
                for part in parts:
                    if isinstance(part, Figures):
                        figures = part
                    else:
                        pieces.append(part)
                        self.terminal.piece(harmless(part, keep="\n\t"))
        except KeyboardInterrupt:
            figures = None
        except OrchestratorError:
            if pieces:
                self.terminal.line()
            raise
        answer = "".join(pieces)
        if not answer.endswith("\n"):
            self.terminal.line()
        self.messages += [question, {"role": "assistant", "content": answer}]
        return figures


def execute(args: argparse.Namespace) -> int:
    """Talk until the user ends it; or answer one message."""
    server = Server(address=_address(args), api_key=_api_key(args.api_key_env), timeout_s=args.timeout)
    shown = terminal()
    talk = Conversation(server=server, terminal=shown, model=args.model, system=args.system or "")
    talk.reset()
    if args.message is None and sys.stdin.isatty():
        return _converse(talk)
    text = args.message if args.message is not None else sys.stdin.read().rstrip("\n")
    if not text.strip():
        raise OrchestratorError("there is no message to send", fix='orchestrator chat -m "your question"')
    figures = talk.say(text)
    if figures is None:
        return Exit.INTERRUPTED
    if shown.width is not None:
        shown.line(figures_line(figures), "dim")
    return Exit.OK


def _address(args: argparse.Namespace) -> str:
    if args.address:
        return str(args.address)
    try:
        return admin(args).status()["address"]
    except DaemonUnreachable as gone:
        fix = f"{gone.fix}, or name the address of one with --address"
        raise DaemonUnreachable(gone.what, fix=fix) from gone


def _api_key(name: str) -> str | None:
    key = os.environ.get(name)
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"the API key in {name} has characters that no HTTP header can carry", fix="set it anew"
        )
    return key


def figures_line(figures: Figures) -> str:
    """Return who answered and how fast: `small @ 3f2a91bc · 23 tokens · 412 tok/s · 31 ms to first token`."""
    parts = [f"{figures.model} @ {words.revision(figures.revision)}" if figures.revision else figures.model]
    if figures.tokens is not None:
        parts.append(words.count(figures.tokens, "token"))
    if figures.tokens_per_s is not None:
        parts.append(f"{figures.tokens_per_s:.0f} tok/s")
    if figures.first_token_ms is not None:
        parts.append(f"{words.span(figures.first_token_ms / 1000)} to first token")
    return " · ".join(parts)


def _converse(talk: Conversation) -> int:
    with suppress(ImportError):  # a Python without readline: lines cannot be edited, that is all
        __import__("readline")
    talk.terminal.line(f"{talk.model} at {talk.server.address}; /help for commands, Ctrl-D to end", "dim")
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            talk.terminal.line()
            return Exit.OK
        except KeyboardInterrupt:
            talk.terminal.line()
            talk.terminal.line("Ctrl-D or /quit ends", "dim")
            continue
        if text in {"/quit", "/exit"}:
            return Exit.OK
        try:
            _act(talk, text)
        except RequestError as refused:
            complain(refused if refused.code != TOO_LONG else _does_not_fit(refused))
        except OrchestratorError as error:
            complain(error)


def _does_not_fit(refused: RequestError) -> RequestError:
    return RequestError(
        f"the conversation no longer fits the model's context: {refused.what}",
        status=refused.status,
        code=refused.code,
        fix="/reset starts a new one; a larger `context` in the model's file makes room",
    )


def _act(talk: Conversation, text: str) -> None:
    """Do what one line of input asks for."""
    command, _, argument = text.partition(" ")
    match command, argument.strip():
        case "", _:
            return
        case "/help", _:
            talk.terminal.line(HELP, "dim")
        case "/reset", _:
            talk.reset()
            talk.terminal.line("forgotten", "dim")
        case "/model", "":
            talk.terminal.line(", ".join(talk.server.models()), "dim")
        case "/model", name:
            talk.model = name
            talk.terminal.line(f"talking with {name}", "dim")
        case _ if command.startswith("/") and command[1:].isalpha():
            raise OrchestratorError(f"{command} is not a command", fix="/help lists them")
        case _:
            figures = talk.say(text)
            talk.terminal.line("stopped" if figures is None else figures_line(figures), "dim")
