"""A selector's answer, and enough to explain it to the user who asks why."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The model to use.

    `policy` is "" where the request named the model. `passed_over` pairs each
    model that came before in the order with the reason it was not used.
    """

    model: str
    policy: str
    why: str
    passed_over: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why no model can answer, for the client.

    `status` is the HTTP status: 404 for a name that means nothing, 400 for a
    model that cannot do what the endpoint asks, 403 for a remote model that
    the files do not allow, 503 where every model that could answer is out of
    order. `code` is OpenAI's `error.code`. `policy` is "" where the request
    named a model.
    """

    status: int
    code: str
    what: str
    fix: str
    policy: str = ""
    passed_over: tuple[tuple[str, str], ...] = ()
