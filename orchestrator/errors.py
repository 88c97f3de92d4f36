"""The error tree. Each error says what happened, where, and what to do about it.

OrchestratorError
├── ConfigError            the files cannot be read or do not make sense
├── AddressUnavailable     the address to listen on is taken or not ours; that may pass
├── StateError             the state folder is unusable or already in use
├── EngineError            an engine could not do what it was asked
│   ├── EngineUnknown      no engine has that name                       (terminal)
│   ├── SourceNotFound     the source does not exist                     (terminal)
│   ├── SourceCorrupt      digest mismatch, not a model, unknown architecture (terminal)
│   ├── SourceUnreachable  it could not be downloaded now: network, rate limit, server error
│   ├── DiskFull           there is no room for the download
│   ├── EngineUnavailable  it is not installed, not running, or too old    (lasting)
│   ├── NotAllowed         the settings forbid it: egress, offline        (terminal)
│   ├── LoadFailed         the model would not load
│   ├── LoadTimedOut       the model did not get ready within its deadline
│   └── ReplicaDied        a running replica crashed, hung or was killed
├── HistoryError           the history cannot be written or read
├── ModelUnknown           there is no model of that name
├── DaemonUnreachable      no daemon answers on the admin socket
└── RequestError           a client's request cannot be served (carries an HTTP status)

Anything outside the tree is a bug.
"""


class OrchestratorError(Exception):
    """Base of all errors that a user should read.

    Args:
        what: what happened, one sentence without a full stop.
        fix: what the reader can do about it, or "" where nothing can be said.
        where: `file:line`, a model's name, or another place; "" where there is none.
    """

    def __init__(self, what: str, *, fix: str = "", where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.where = where

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  fix: {self.fix}" if self.fix else head


class ConfigError(OrchestratorError):
    pass


class AddressUnavailable(OrchestratorError):
    pass


class StateError(OrchestratorError):
    pass


class EngineError(OrchestratorError):
    """An engine could not do what it was asked.

    `terminal` says whether trying the same again could ever help: a missing
    file or a corrupt model stays wrong until somebody changes something.
    `lasting` marks a cause outside of the model that may last for days and
    still pass: it is tried again for ever, and never becomes a crash loop.
    """

    terminal = False
    lasting = False


class EngineUnknown(EngineError):
    terminal = True


class SourceNotFound(EngineError):
    terminal = True


class SourceCorrupt(EngineError):
    terminal = True


class SourceUnreachable(EngineError):
    lasting = True


class DiskFull(EngineError):
    lasting = True


class EngineUnavailable(EngineError):
    lasting = True


class NotAllowed(EngineError):
    terminal = True


class LoadFailed(EngineError):
    pass


class LoadTimedOut(EngineError):
    pass


class ReplicaDied(EngineError):
    pass


class HistoryError(OrchestratorError):
    pass


class ModelUnknown(OrchestratorError):
    pass


class DaemonUnreachable(OrchestratorError):
    pass


class RequestError(OrchestratorError):
    """A client's request cannot be served.

    Args:
        what: one sentence for the client.
        status: the HTTP status to answer with.
        code: OpenAI's `error.code`, such as "model_not_found".
        param: the field of the body that is at fault, where it is one.
        retry_after_s: seconds for a `Retry-After` header, where trying again makes sense.
    """

    def __init__(
        self,
        what: str,
        *,
        status: int,
        code: str,
        fix: str = "",
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(what, fix=fix)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s
