"""The chat template of a file, in Jinja, as one of Ollama's, which are Go's. Pure.

Without a template Ollama takes the one that it knows and that looks most alike, and may be wrong without a
word. So where what a template does is plain - so much text before and after each role's words - it is found
out by using it, checked on a conversation, and written in Go. One that can do more, such as tools, is too
long to be mistaken, and Ollama then has llama.cpp use the file's own.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from orchestrator.engines.ollama.header import Header
from orchestrator.workers.template import ChatTemplate, TemplateRefused

_MARK: Final = "\x01{}\x02"
_TOOLS: Final = ("tools", "tool_calls", "enable_thinking")
_ONE: Final = (("user", 1),)
_TURNS: Final = (("user", 1), ("assistant", 2), ("user", 3))
_TOLD: Final = (("system", 1), ("user", 2))
# Two questions in a row show where one ends and the next begins; templates may refuse them.
_TWICE: Final = (("user", 1), ("user", 2), ("assistant", 3), ("user", 4))
_LONG: Final = (("system", 1), ("user", 2), ("assistant", 3), ("user", 4), ("assistant", 5), ("user", 6))

Turns = tuple[tuple[str, int], ...]


def template_for(header: Header) -> str:
    """Return the Go template that does what the file's own does, "" where that is left to Ollama."""
    if not header.template or any(word in header.template for word in _TOOLS):
        return ""
    own = ChatTemplate(header.template, bos=header.bos, eos=header.eos)
    try:
        done: dict[Turns, str] = {turns: _rendered(own, turns) for turns in (_ONE, _TURNS, _TOLD, _LONG)}
    except TemplateRefused:
        return ""
    with suppress(TemplateRefused):
        done[_TWICE] = _rendered(own, _TWICE)
    for plain in _guesses(done, header.bos):
        if all(plain.render(turns) == text for turns, text in done.items()):
            return plain.in_go(header.bos)
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plain:
    """So much text before and after each role's words, at the beginning, and before the answer."""

    first: str
    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    ask: str

    def render(self, turns: Turns) -> str:
        around = {"system": self.system, "user": self.user, "assistant": self.assistant}
        said = (f"{around[role][0]}{_MARK.format(number)}{around[role][1]}" for role, number in turns)
        return f"{self.first}{''.join(said)}{self.ask}"

    def in_go(self, bos: str) -> str:
        """Return the template; the token that begins a document is llama.cpp's to add."""
        first = self.first.removeprefix(bos) if bos else self.first
        system, user, assistant = (
            f"{_go(before)}{{{{ .Content }}}}{_go(after)}"
            for before, after in (self.system, self.user, self.assistant)
        )
        return (
            f'{_go(first)}{{{{ range .Messages }}}}{{{{ if eq .Role "system" }}}}{system}'
            f'{{{{ else if eq .Role "assistant" }}}}{assistant}{{{{ else }}}}{user}{{{{ end }}}}{{{{ end }}}}'
            f"{_go(self.ask)}"
        )


def _guesses(done: Mapping[Turns, str], bos: str) -> Iterator[_Plain]:
    """Yield all ways of cutting what stands between the marks into ends and beginnings."""
    pieces = {turns: _split(text, len(turns)) for turns, text in done.items()}
    if not all(pieces.values()):
        return
    head, tail = pieces[_ONE]
    start, between, _ = pieces[_TOLD]
    _, to_answer, to_question, _ = pieces[_TURNS]
    for cut in range(len(between) + 1):
        system_end, user_start = between[:cut], between[cut:]
        first = head.removesuffix(user_start)
        if not (head.endswith(user_start) and start.startswith(first) and to_question.endswith(user_start)):
            continue
        if bos and head.startswith(bos) and not first.startswith(bos):
            continue
        # Where nothing else tells, questions end as the system's words do.
        for ends in sorted(range(len(tail) + 1), key=lambda at: tail[:at] != system_end):
            user_end = tail[:ends]
            if to_answer.startswith(user_end):
                yield _Plain(
                    first=first,
                    system=(start[len(first) :], system_end),
                    user=(user_start, user_end),
                    assistant=(to_answer[ends:], to_question.removesuffix(user_start)),
                    ask=tail[ends:],
                )


def _split(text: str, marks: int) -> list[str]:
    """Return what stands before, between and after the marks; nothing where they are not there in order."""
    pieces = []
    for number in range(1, marks + 1):
        piece, found, text = text.partition(_MARK.format(number))
        if not found:
            return []
        pieces.append(piece)
    return [*pieces, text]


def _go(text: str) -> str:
    """Return text as it stands in a Go template."""
    return text.replace("{{", '{{ "{{" }}')


def _rendered(own: ChatTemplate, turns: Turns) -> str:
    return own.render([{"role": role, "content": _MARK.format(number)} for role, number in turns])
