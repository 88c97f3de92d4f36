"""Messages into the prompt text that the model was trained on, by the Jinja template in its file."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

# What most models without a template of their own understand best.
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


# What a template's own mistakes raise while it runs.
_OF_PYTHON = (
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)


class TemplateRefused(Exception):
    """The model's chat template does not accept the messages, or does not work."""


class ChatTemplate:
    """A compiled template; compiled at the first use, for Jinja takes 50 ms to import."""

    def __init__(self, source: str | None, *, bos: str, eos: str) -> None:
        self._source = source or CHATML
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._compiled: Any = None

    def compile(self) -> None:
        """Do now what the first `render` would do.

        Raises:
            TemplateRefused: the template in the file is not valid Jinja.
        """
        from jinja2 import TemplateSyntaxError  # noqa: PLC0415 (see the class)
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = _strftime_now
        try:
            self._compiled = environment.from_string(self._source)
        except (TemplateSyntaxError, RecursionError) as error:
            raise TemplateRefused(f"the chat template in the model's file is not valid: {error}") from error

    def render(self, messages: Sequence[Mapping[str, object]]) -> str:
        """Return the prompt, up to where the assistant's next words begin.

        Raises:
            TemplateRefused: with the template's own words where it has some.
        """
        from jinja2 import TemplateError  # noqa: PLC0415 (see the class)

        if self._compiled is None:
            self.compile()
        try:
            return str(
                self._compiled.render(
                    messages=messages, add_generation_prompt=True, tools=None, **self._tokens
                )
            )
        except (TemplateError, *_OF_PYTHON) as error:
            raise TemplateRefused(f"the model's chat template refuses these messages: {error}") from error


def _raise(message: str) -> NoReturn:
    raise TemplateRefused(f"the model's chat template refuses these messages: {message}")


def _strftime_now(form: str) -> str:
    # A wall clock for the model's eyes; nothing in the program depends on it.
    return time.strftime(form, time.localtime())


def _to_json(value: object, indent: int | None = None) -> str:
    """As the templates expect it: Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)
