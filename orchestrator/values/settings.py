"""The settings file: what belongs to the machine; every setting has a working default."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Durations in seconds (`_s`), sizes in bytes (`_bytes`).

    `api_keys` never appears in a representation, a log, a status or an error.
    An empty tuple means that no key is asked for, which is allowed on loopback
    only.
    """

    host: str = "127.0.0.1"
    port: int = 11435
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    state_folder: str | None = None
    watch: str = "auto"  # auto: file system events and scans | poll: scans only
    scan_every_s: float = 10.0
    resync_every_s: float = 60.0
    drain_s: float = 30.0
    load_deadline_s: float = 120.0
    hang_deadline_s: float = 30.0
    request_deadline_s: float = 120.0
    wait_for_model_s: float = 30.0
    max_body_bytes: int = 16 * 1024 * 1024
    log_format: str = "auto"  # auto: text on a terminal, else JSON lines | text | json


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a plan must keep to.

    `loads_at_once` bounds replicas that are starting, over all models: loads
    compete for the same disk and cores. Not a measurement: small machines
    have few cores, and a crashed model should not queue behind a big one.
    """

    loads_at_once: int = 4
    drain_s: float = 30.0
