"""docs/config.md is what the schemas say."""

from orchestrator.config.schema import KINDS, schema
from tools.make_config_reference import PAGE, fields, reference


def test_the_page_is_not_stale() -> None:
    assert PAGE.read_text() == reference(), "run: python tools/make_config_reference.py"


def test_every_field_is_in_it() -> None:
    page = PAGE.read_text()
    for kind in KINDS:
        for name, _rule in fields("", schema(kind)):
            assert f"| `{name}` |" in page
