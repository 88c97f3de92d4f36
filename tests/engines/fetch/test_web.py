"""Fetching from the web: one address, one digest, over TLS."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import NotAllowed, SourceCorrupt, SourceNotFound, SourceUnreachable
from orchestrator.values.settings import Settings
from tests.engines.fetch.models import gguf, sha256_of, web
from tests.engines.fetch.origin import Answer, Origin
from tests.engines.libraries import library
from tests.engines.real_time import REAL_TIME
from tests.engines.rig import Arrivals

pytestmark = [REAL_TIME, pytest.mark.asyncio(loop_factories=["asyncio"])]

PATIENCE = Settings(fetch_stall_s=2.0)


async def test_a_file_is_fetched_over_tls_and_its_address_is_shown_nowhere(
    safe_origin: Origin, certificate: str, runtime: Path
) -> None:
    model = gguf()
    safe_origin.files["one.gguf"] = model
    wanted = web(f"{safe_origin.url}/files/one.gguf?key=s3cret", model)
    books = library(runtime, settings=PATIENCE, SSL_CERT_FILE=certificate)
    on_disk = await books.ensure(wanted, Arrivals())
    assert (on_disk.resolved, on_disk.size_bytes) == ("", len(model))
    assert books.path_of(wanted).name == "one.gguf"
    assert books.path_of(wanted).read_bytes() == model
    assert await books.newest(wanted) == ""
    kept = [path for path in (runtime / "cache").rglob("*") if path.is_file() or path.is_symlink()]
    assert not [path for path in kept if "s3cret" in str(path) or b"s3cret" in path.read_bytes()]


async def test_a_server_that_cannot_prove_who_it_is_is_not_believed(
    safe_origin: Origin, runtime: Path
) -> None:
    wanted = web(f"{safe_origin.url}/files/one.gguf?key=s3cret", gguf())
    with pytest.raises(SourceUnreachable, match=r"CERTIFICATE_VERIFY_FAILED") as caught:
        await library(runtime, settings=PATIENCE).ensure(wanted, Arrivals())
    assert "s3cret" not in str(caught.value)


async def test_another_file_than_the_pinned_one_is_corrupt_and_none_is_left(
    safe_origin: Origin, certificate: str, runtime: Path
) -> None:
    safe_origin.files["one.gguf"] = gguf(2)
    wanted = web(f"{safe_origin.url}/files/one.gguf", gguf(1))
    books = library(runtime, settings=PATIENCE, SSL_CERT_FILE=certificate)
    with pytest.raises(SourceCorrupt, match=sha256_of(gguf(2))):
        await books.ensure(wanted, Arrivals())
    assert len(safe_origin.bodies()) == 1
    assert list((runtime / "cache" / "blobs").iterdir()) == []
    assert list((runtime / "cache" / "partial").iterdir()) == []


async def test_no_redirect_leads_away_from_tls(
    safe_origin: Origin, origin: Origin, certificate: str, runtime: Path
) -> None:
    origin.files["one.gguf"] = gguf()
    safe_origin.instead = lambda _: Answer(status=302, headers={"Location": f"{origin.url}/files/one.gguf"})
    wanted = web(f"{safe_origin.url}/files/one.gguf", gguf())
    with pytest.raises(NotAllowed, match="from https to http"):
        await library(runtime, settings=PATIENCE, SSL_CERT_FILE=certificate).ensure(wanted, Arrivals())
    assert origin.asked == []


async def test_redirects_in_circles_end(safe_origin: Origin, certificate: str, runtime: Path) -> None:
    safe_origin.instead = lambda asked: Answer(status=302, headers={"Location": asked.path})
    wanted = web(f"{safe_origin.url}/files/one.gguf", gguf())
    with pytest.raises(SourceUnreachable, match="in circles"):
        await library(runtime, settings=PATIENCE, SSL_CERT_FILE=certificate).ensure(wanted, Arrivals())


async def test_a_file_that_is_gone_is_told(safe_origin: Origin, certificate: str, runtime: Path) -> None:
    wanted = web(f"{safe_origin.url}/files/one.gguf", gguf())
    with pytest.raises(SourceNotFound, match=r"there is no one\.gguf") as caught:
        await library(runtime, settings=PATIENCE, SSL_CERT_FILE=certificate).ensure(wanted, Arrivals())
    assert caught.value.terminal


async def test_connections_that_break_are_made_again_where_they_broke(
    safe_origin: Origin, certificate: str, runtime: Path
) -> None:
    model = gguf(size=200_000)
    safe_origin.files["one.gguf"], safe_origin.breaks_after = model, 48 * 1024
    wanted = web(f"{safe_origin.url}/files/one.gguf", model)
    books = library(runtime, settings=PATIENCE, SSL_CERT_FILE=certificate)
    await books.ensure(wanted, Arrivals())
    assert books.path_of(wanted).read_bytes() == model
    assert [asked.first for asked in safe_origin.bodies()] == [0, 49152, 98304, 147456, 196608]


async def test_a_download_that_stands_still_fails_for_now_and_goes_on_later(
    safe_origin: Origin, certificate: str, runtime: Path
) -> None:
    model = gguf(size=200_000)
    safe_origin.files["one.gguf"], safe_origin.stalls_after = model, 48 * 1024
    wanted = web(f"{safe_origin.url}/files/one.gguf", model)
    books = library(runtime, settings=replace(PATIENCE, fetch_stall_s=0.3), SSL_CERT_FILE=certificate)
    safe_origin.stalls_after = 0
    with pytest.raises(SourceUnreachable, match="has sent nothing for a while") as caught:
        await books.ensure(wanted, Arrivals())
    assert caught.value.lasting
    safe_origin.stalls_after, before = None, len(safe_origin.asked)
    await books.ensure(wanted, Arrivals())
    assert len(safe_origin.asked) == before + 1
    assert books.path_of(wanted).read_bytes() == model


async def test_a_server_without_ranges_is_asked_for_all_again(
    safe_origin: Origin, certificate: str, runtime: Path
) -> None:
    model = gguf(size=200_000)
    safe_origin.files["one.gguf"], safe_origin.breaks_after, safe_origin.ranges = model, 150_000, False
    wanted = web(f"{safe_origin.url}/files/one.gguf", model)
    books = library(runtime, settings=PATIENCE, SSL_CERT_FILE=certificate)
    arrivals = Arrivals()

    def mend(_: object) -> Answer | None:
        if safe_origin.asked[1:]:
            safe_origin.breaks_after = None
        return None

    safe_origin.instead = mend
    await books.ensure(wanted, arrivals)
    assert books.path_of(wanted).read_bytes() == model


async def test_content_that_changes_in_the_middle_is_fetched_anew(
    safe_origin: Origin, certificate: str, runtime: Path
) -> None:
    old, model = gguf(1, 200_000), gguf(2, 200_000)
    safe_origin.files["one.gguf"], safe_origin.breaks_after = old, 150_000
    wanted = web(f"{safe_origin.url}/files/one.gguf", model)

    def change(_: object) -> Answer | None:
        if safe_origin.asked[1:]:
            safe_origin.files["one.gguf"], safe_origin.breaks_after = model, None
        return None

    safe_origin.instead = change
    books = library(runtime, settings=PATIENCE, SSL_CERT_FILE=certificate)
    await books.ensure(wanted, Arrivals())
    assert books.path_of(wanted).read_bytes() == model
    assert len(safe_origin.bodies()) == 2


async def test_a_partial_file_that_was_damaged_costs_one_more_download(
    safe_origin: Origin, certificate: str, runtime: Path
) -> None:
    model = gguf(size=200_000)
    safe_origin.files["one.gguf"], safe_origin.breaks_after = model, 100_000
    safe_origin.instead = lambda _: Answer(status=503) if safe_origin.asked[1:] else None
    wanted = web(f"{safe_origin.url}/files/one.gguf", model)
    books = library(runtime, settings=PATIENCE, SSL_CERT_FILE=certificate)
    with pytest.raises(SourceUnreachable, match="in trouble"):
        await books.ensure(wanted, Arrivals())
    partial = runtime / "cache" / "partial" / f"sha256-{sha256_of(model)}"
    partial.write_bytes(bytes(partial.stat().st_size))
    safe_origin.instead, safe_origin.breaks_after = lambda _: None, None
    await books.ensure(wanted, Arrivals())
    assert books.path_of(wanted).read_bytes() == model
    assert [asked.first for asked in safe_origin.bodies()[2:]] == [114_688, 0]


async def test_a_file_that_is_wrong_twice_is_corrupt(
    safe_origin: Origin, certificate: str, runtime: Path
) -> None:
    """Pieces of one wrong file cannot be told from damage here, so it is asked for a second time."""
    wrong = gguf(2, 200_000)
    safe_origin.files["one.gguf"], safe_origin.breaks_after = wrong, 100_000
    wanted = web(f"{safe_origin.url}/files/one.gguf", gguf(1, 200_000))
    with pytest.raises(SourceCorrupt, match=sha256_of(wrong)):
        await library(runtime, settings=PATIENCE, SSL_CERT_FILE=certificate).ensure(wanted, Arrivals())
    assert [asked.first for asked in safe_origin.bodies()] == [0, 114_688, 0, 114_688]
