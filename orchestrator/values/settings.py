"""The settings file: what belongs to the machine; every setting has a working default."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Durations in seconds (`_s`), sizes in bytes (`_bytes`).

    `api_keys` never appears in a representation, a log, a status or an error.
    An empty tuple means that no key is asked for, which is allowed on loopback
    only.

    `memory_limit_bytes` is the most that all models together may take of the
    RAM, `memory_reserve_bytes` what stays free of it (None: a tenth of it, 1 GiB
    at least), `gpu_reserve_bytes` what stays free on each GPU. `egress` allows
    models whose requests leave the machine's own networks; `offline` forbids
    every download. A download that stands still for `fetch_stall_s` has failed
    for now. `wait_queue` bounds the requests that wait for one model.
    """

    host: str = "127.0.0.1"
    port: int = 11435
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    state_folder: str | None = None
    cache_folder: str | None = None
    memory_limit_bytes: int | None = None
    memory_reserve_bytes: int | None = None
    gpu_reserve_bytes: int = 512 * 1024 * 1024
    min_residency_s: float = 2.0
    egress: bool = False
    offline: bool = False
    fetches_at_once: int = 2
    fetch_stall_s: float = 60.0
    hf_endpoint: str = "https://huggingface.co"
    hf_token: str = field(default="", repr=False)
    wait_queue: int = 128
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
    `fetches_at_once` bounds downloads. A replica that others want to push out
    stays for `min_residency_s` after it became ready, or for a few times its
    own load time where that is longer (see decide/evict.py). A request waits
    `wait_s` for a model at the most.
    """

    loads_at_once: int = 4
    fetches_at_once: int = 2
    drain_s: float = 30.0
    min_residency_s: float = 2.0
    wait_s: float = 30.0


def limits_of(settings: Settings) -> Limits:
    """Return what the settings say of plans."""
    return Limits(
        fetches_at_once=settings.fetches_at_once,
        drain_s=settings.drain_s,
        min_residency_s=settings.min_residency_s,
        wait_s=settings.wait_for_model_s,
    )
