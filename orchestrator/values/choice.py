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
