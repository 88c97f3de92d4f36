"""The Hugging Face Hub: what its client library tells of a repository, and where a file comes from.

The library lists, authenticates and names what goes wrong. The bytes are fetched by our own code: as of
2.4 the library starts every download in a new temporary file, so that none survives the end of its
process, and its second way (Xet) begins by cutting the file to nothing.
"""

from dataclasses import replace
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._headers import build_hf_headers

from orchestrator.workers.errand import Trouble, TroubleKind
from orchestrator.workers.fetch.choose import choose
from orchestrator.workers.fetch.download import Place
from orchestrator.workers.fetch.net import Broken, overloaded, readable, refusal
from orchestrator.workers.fetch.order import GIT_SHA1, SHA256, Item, Order, check_digest, check_path

# An ETag of the hub is a digest; its length says which.
_BY_LENGTH: Final = {64: SHA256, 40: GIT_SHA1}
NETWORK_FIX: Final = "check the network, and `hf: {endpoint: …}` in the settings file"


def look_up(order: Order) -> tuple[str, tuple[Item, ...]]:
    """Return the commit that the source means now, and its files.

    Raises:
        Trouble: there are none, or the hub does not say.
    """
    repository, wanted, revision = parts_of(order.location)
    api = HfApi(endpoint=order.endpoint, token=order.token or None)
    host = urlsplit(order.endpoint).hostname or order.endpoint
    try:
        with readable(host):
            found = api.model_info(
                repository, revision=revision or None, files_metadata=True, timeout=order.stall_s
            )
            commit = found.sha or revision
            files = [
                _item(each.rfilename, each.size, each.blob_id, each.lfs) for each in found.siblings or ()
            ]
            there = [item for item in files if item is not None]
            chosen = choose(there, wanted, form=order.form, repository=repository)
            return commit, tuple(_with_digest(api, item, order, commit) for item in chosen)
    except Broken as broken:
        raise Trouble(TroubleKind.UNREACHABLE, f"{repository}: {broken}", fix=NETWORK_FIX) from None
    except HFValidationError:
        raise Trouble(
            TroubleKind.NOT_FOUND, f"'{repository}' is no name of a repository", fix="write hf:org/repo"
        ) from None
    except HfHubHTTPError as error:
        raise _refused(error, repository, revision, order) from None
    except (ValueError, TypeError, KeyError):
        raise Trouble(
            TroubleKind.UNREACHABLE, f"{host} answers, but not as the hub does", fix=NETWORK_FIX
        ) from None


def place_of(item: Item, order: Order, commit: str) -> Place:
    """Return where a file of the commit comes from."""
    repository, _, _ = parts_of(order.location)

    def refused(response: httpx2.Response) -> Trouble:
        if response.headers.get("x-error-code") == "GatedRepo":
            return _gated(repository, order)
        return refusal(response, what=f"{item.path} of {repository}")

    return Place(
        url=_url(item, order, commit),
        what=f"{item.path} of {repository}",
        headers=build_hf_headers(token=order.token or None),
        refused=refused,
    )


def parts_of(location: str) -> tuple[str, str, str]:
    """Split `org/repo[/file][@revision]` into repository, file and revision."""
    path, _, revision = location.partition("@")
    org, _, rest = path.partition("/")
    repo, _, wanted = rest.partition("/")
    return f"{org}/{repo}", wanted.strip("/"), revision


def _item(path: str, size: int | None, blob: str | None, lfs: object) -> Item | None:
    """Return the file, its digest "" where the listing has none; None for one whose path leads elsewhere.

    Raises:
        ValueError: its digest is none.
    """
    try:
        check_path(path)
    except ValueError:
        return None
    sha256 = getattr(lfs, "sha256", None)
    digest = f"{SHA256}:{sha256}" if sha256 else f"{GIT_SHA1}:{blob}" if blob else ""
    if digest:
        check_digest(digest)
    return Item(path=path, digest=digest, size_bytes=max(size or 0, 0), remote=path)


def _with_digest(api: HfApi, item: Item, order: Order, commit: str) -> Item:
    """Ask for a file's digest by itself: mirrors of the hub list only names."""
    if item.digest:
        return item
    found = api.get_hf_file_metadata(url=_url(item, order, commit), timeout=order.stall_s)
    kind = _BY_LENGTH.get(len(found.etag or ""))
    if kind is None:
        raise Trouble(
            TroubleKind.CORRUPT,
            f"{order.endpoint} does not say what digest {item.path} has, so that it cannot be checked",
            fix="use the hub itself, or https: with @sha256:DIGEST behind the address",
        )
    check_digest(f"{kind}:{found.etag}")
    return replace(item, digest=f"{kind}:{found.etag}", size_bytes=found.size or item.size_bytes)


def _url(item: Item, order: Order, commit: str) -> str:
    repository, _, _ = parts_of(order.location)
    return f"{order.endpoint}/{repository}/resolve/{quote(commit or 'main', safe='')}/{quote(item.remote)}"


def _refused(error: HfHubHTTPError, repository: str, revision: str, order: Order) -> Trouble:
    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return _gated(repository, order)
    if isinstance(error, RevisionNotFoundError):
        return Trouble(
            TroubleKind.NOT_FOUND,
            f"{repository} has no revision '{revision}'",
            fix="name one of its branches or tags, or a commit, or leave @REVISION out",
        )
    if isinstance(error, RepositoryNotFoundError) or status == HTTPStatus.NOT_FOUND:
        return Trouble(
            TroubleKind.NOT_FOUND,
            f"{order.endpoint} has no repository {repository} that anybody may read",
            fix="correct its name; if it is private, set `hf: {token: …}` in the settings file "
            "and restart the daemon",
        )
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Trouble(
            TroubleKind.NOT_FOUND,
            f"{order.endpoint} refuses the token, or refuses it {repository} (HTTP {status})",
            fix=f"make one at {order.endpoint}/settings/tokens that may read it, and set `hf: {{token: …}}`",
        )
    return overloaded(error.response)


def _gated(repository: str, order: Order) -> Trouble:
    return Trouble(
        TroubleKind.NOT_FOUND,
        f"{repository} is given only to people who have accepted its licence",
        fix=f"accept it at {order.endpoint}/{repository}, and set `hf: {{token: …}}` to one of yours",
    )
