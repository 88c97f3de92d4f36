"""What must and must not stand in the repository."""

import functools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In pieces, so that this file does not hold what it looks for.
ELSEWHERE = re.compile(
    "|".join(("pypi" + r"\.org", "python" + "hosted", r"(?<![\w./])/wo" + "rk/", "/ro" + "ot/"))
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"\bdocs/[\w./-]+\.md(?:#[\w-]+)?")

pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists() or shutil.which("git") is None, reason="not a git checkout"
)


@functools.cache
def tracked() -> tuple[Path, ...]:
    git = shutil.which("git")
    assert git
    command = [git, "-c", "safe.directory=*", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


@functools.cache
def texts() -> dict[Path, str]:
    found = {}
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            found[path] = content.decode()
    return found


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(target: Path, anchor: str) -> bool:
    return not target.exists() or bool(anchor and anchor not in anchors(target))


def test_no_file_names_a_package_index_or_a_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path, text in texts().items()
        for number, line in enumerate(text.splitlines(), start=1)
        if ELSEWHERE.search(line)
    ]
    assert not found, "\n".join(found)


def test_every_link_of_a_document_leads_somewhere() -> None:
    wrong = []
    for path, text in texts().items():
        if path.suffix != ".md":
            continue
        for link in LINK.findall(text):
            place, _, anchor = link.partition("#")
            if "://" not in link and broken(path.parent / place if place else path, anchor):
                wrong.append(f"{path.relative_to(ROOT)}: {link}")
    assert not wrong, "\n".join(wrong)


def test_every_document_that_code_and_schemas_name_is_there() -> None:
    wrong = []
    for path, text in texts().items():
        if path.suffix not in {".py", ".sql", ".json", ".yaml", ".toml"}:
            continue
        for name in NAMED.findall(text):
            place, _, anchor = name.partition("#")
            if broken(ROOT / place, anchor):
                wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert not wrong, "\n".join(wrong)


def test_the_licence_is_there_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability" in text


def test_text_files_end_with_a_newline_and_have_no_carriage_returns() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path, text in texts().items()
        if text
        and (not text.endswith("\n") or "\r" in text)
        and path.suffix in {".py", ".md", ".yaml", ".toml", ""}
    ]
    assert not wrong, "\n".join(wrong)


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers
