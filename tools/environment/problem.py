"""What stops a set-up, said in one line."""


class Problem(Exception):
    """The set-up cannot go on; `fix` is what the reader can do about it."""

    def __init__(self, what: str, *, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"setup: {self.what}. fix: {self.fix}"
