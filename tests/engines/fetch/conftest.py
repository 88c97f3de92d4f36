import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.values.settings import Settings
from tests.engines.fetch.origin import Origin


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin().running() as server:
        yield server


@pytest.fixture
def elsewhere() -> Iterator[Origin]:
    """Another server, to which the first may redirect."""
    with Origin().running() as server:
        yield server


@pytest.fixture
def settings(origin: Origin) -> Settings:
    return Settings(hf_endpoint=origin.url, fetch_stall_s=5.0)


@pytest.fixture(scope="session")
def certificate() -> Iterator[str]:
    """A file with a key and the certificate for it, which is its own authority."""
    with tempfile.TemporaryDirectory() as folder:
        both, key = Path(folder) / "both.pem", Path(folder) / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext"),
                *("subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(both)),
            ],
            check=True,
            capture_output=True,
        )
        both.write_text(both.read_text() + key.read_text())
        yield str(both)


@pytest.fixture
def safe_origin(certificate: str) -> Iterator[Origin]:
    """A server that speaks TLS."""
    with Origin(certificate).running() as server:
        yield server
