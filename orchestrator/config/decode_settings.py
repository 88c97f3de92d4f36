"""Valid data of the settings file into its value; defaults are those of the value itself."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from orchestrator.config.decode import Fields, Surroundings
from orchestrator.config.notation import base_url, duration_s, listen_address, size_bytes
from orchestrator.config.paths import expand
from orchestrator.values.settings import Settings


def as_it_is(item: object) -> object:
    """Return the item."""
    return item


# By field of the file, dotted where nested: the field of the value, and how it is read.
READ: Final[Mapping[str, tuple[str, Callable[[Any], object]]]] = {
    "api_keys": ("api_keys", tuple),
    "allowed_hosts": ("allowed_hosts", tuple),
    "allowed_origins": ("allowed_origins", tuple),
    "memory.limit": ("memory_limit_bytes", size_bytes),
    "memory.reserve": ("memory_reserve_bytes", size_bytes),
    "memory.gpu_reserve": ("gpu_reserve_bytes", size_bytes),
    "min_residency": ("min_residency_s", duration_s),
    "egress": ("egress", as_it_is),
    "offline": ("offline", as_it_is),
    "fetches_at_once": ("fetches_at_once", int),
    "fetch_stall": ("fetch_stall_s", duration_s),
    "hf.endpoint": ("hf_endpoint", base_url),
    "hf.token": ("hf_token", as_it_is),
    "watch": ("watch", as_it_is),
    "scan_every": ("scan_every_s", duration_s),
    "resync_every": ("resync_every_s", duration_s),
    "drain": ("drain_s", duration_s),
    "load_deadline": ("load_deadline_s", duration_s),
    "hang_deadline": ("hang_deadline_s", duration_s),
    "request_deadline": ("request_deadline_s", duration_s),
    "wait_for_model": ("wait_for_model_s", duration_s),
    "wait_queue": ("wait_queue", int),
    "max_body": ("max_body_bytes", size_bytes),
    "log_format": ("log_format", as_it_is),
}
# The same for folders; relative ones start at the configuration folder.
FOLDERS: Final = {"state": "state_folder", "cache": "cache_folder"}

# Every field of the value, with the field of the file that says it.
WRITTEN_AS: Final[Mapping[str, str]] = (
    {"host": "listen", "port": "listen"}
    | {name: field for field, (name, _read) in READ.items()}
    | {name: field for field, name in FOLDERS.items()}
)


def settings(data: Fields, around: Surroundings) -> Settings:
    """Return the settings of the settings file."""
    flat = dict(_flat(data))
    given = {name: read(flat[field]) for field, (name, read) in READ.items() if field in flat}
    given |= {
        name: str(expand(flat[field], around.env, around.folder))
        for field, name in FOLDERS.items()
        if field in flat
    }
    if "listen" in flat:
        given["host"], given["port"] = listen_address(flat["listen"])
    values: dict[str, Any] = given
    return Settings(**values)


def _flat(data: Fields) -> Mapping[str, Any]:
    """Return the fields with those of groups dotted."""
    flat: dict[str, Any] = {}
    for field, item in data.items():
        if isinstance(item, Mapping):
            flat |= {f"{field}.{inner}": value for inner, value in item.items()}
        else:
            flat[field] = item
    return flat
