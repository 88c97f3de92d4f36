"""Fields of a JSON object, read with their types checked; null counts as absent, as OpenAI has it."""

from collections.abc import Mapping
from typing import overload


class BadRequest(Exception):
    """The client's mistake: the text is the message, `param` the field, `code` for programs."""

    def __init__(self, what: str, *, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(what)
        self.param = param
        self.code = code


class Fields:
    """`prefix` comes before the names in messages. Fields that nobody asks for are ignored."""

    def __init__(self, content: Mapping[str, object], prefix: str = "") -> None:
        self._content = content
        self._prefix = prefix

    def get(self, name: str) -> object:
        """Return the value as it is; None where it is absent."""
        return self._content.get(name)

    def flag(self, name: str) -> bool:
        """Return a boolean, false where absent.

        Raises:
            BadRequest: it is something else.
        """
        value = self._content.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return bool(value)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return a number within `low` and `high`, both included.

        Raises:
            BadRequest: it is none, or outside.
        """
        value = self._content.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self._wrong(name, f"a number from {low:g} to {high:g}")
        return float(value)

    @overload
    def integer(self, name: str, default: int, low: int | None, high: int | None) -> int: ...

    @overload
    def integer(self, name: str, default: None, low: int | None, high: int | None) -> int | None: ...

    def integer(self, name: str, default: int | None, low: int | None, high: int | None) -> int | None:
        """Return a whole number within the bounds that are not None.

        Raises:
            BadRequest: it is none, or outside.
        """
        value = self._content.get(name)
        if value is None:
            return default
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or (low is not None and value < low) or (high is not None and value > high):  # type: ignore[operator]  # whole: an int
            bounds = (
                "" if low is None else f" of at least {low}" if high is None else f" from {low} to {high}"
            )
            raise self._wrong(name, f"a whole number{bounds}")
        return value  # type: ignore[return-value]  # whole: an int

    def _wrong(self, name: str, wanted: str) -> BadRequest:
        value = repr(self._content.get(name))
        shown = value if len(value) <= 40 else f"{value[:40]}…"  # noqa: PLR2004 (enough to recognise it)
        return BadRequest(
            f"{self._prefix}{name} must be {wanted}, not {shown}", param=f"{self._prefix}{name}"
        )
