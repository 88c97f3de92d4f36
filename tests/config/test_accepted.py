"""What is in force outlives the daemon."""

from pathlib import Path

import pytest

from orchestrator.config.accepted import restore, store
from tests.config.engines import ENGINES
from tests.config.files import BROKEN, DEFAULT, ONE, TWO, Folder, put


def test_what_is_stored_comes_back_the_same(folder: Folder, tmp_path: Path) -> None:
    (folder.root / "where").write_text("/models/a.gguf\n")
    put(folder.models, "fast", TWO)
    put(folder.models, "secret", "engine: llama-cpp\nsource: 'file:${file:where}'\n")
    put(folder.policies, "p", DEFAULT)
    folder.scan()
    put(folder.models, "fast", ONE)
    catalog = folder.scan().catalog
    rows = store(catalog)
    assert not any("/models/a.gguf" in row.text for row in rows)
    restored = restore(rows, tmp_path, {}, engines=ENGINES)
    assert dict(restored.models) == dict(catalog.models)
    assert dict(restored.policies) == dict(catalog.policies)


def test_a_restart_with_a_broken_file_starts_on_the_last_good_version(tmp_path: Path) -> None:
    first = Folder(tmp_path, fast=ONE, other=ONE)
    first.scan()
    put(first.models, "fast", TWO)
    rows = store(first.scan().catalog)
    put(first.models, "fast", BROKEN)
    (first.models / "other.yaml").unlink()

    second = Folder(tmp_path, restore(rows, tmp_path, {}, engines=ENGINES))
    assert second.generations() == {"fast": 2, "other": 1}
    assert second.where() == ["models.d/fast.yaml:2:10"]
    assert second.generations(after_s=2) == {"fast": 2}
    put(second.models, "fast", ONE)
    assert second.generations() == {"fast": 3}


def test_a_stored_version_that_cannot_be_resolved_is_left_out(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    (folder.root / "where").write_text("/models/a.gguf\n")
    put(folder.models, "secret", "engine: llama-cpp\nsource: 'file:${file:where}'\n")
    rows = store(folder.scan().catalog)
    (folder.root / "where").unlink()
    restored = restore(rows, folder.root, {}, engines=ENGINES)
    assert set(restored.models) == {"fast"}
    assert "models.d/secret.yaml:2:9: cannot read where" in caplog.text
    again = Folder(folder.root, restored)
    assert again.where() == ["models.d/secret.yaml:2:9"]


def test_a_stored_version_whose_engine_is_gone_is_left_out(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder.models, "remote", "engine: openai\nsource: m\nendpoint: http://10.0.0.7:8000\n")
    rows = store(folder.scan().catalog)
    restored = restore(rows, folder.root, {}, engines={"llama-cpp": ENGINES["llama-cpp"]})
    assert set(restored.models) == {"fast"}
    assert "models.d/remote.yaml:1:9: engine: 'openai' is not known" in caplog.text
