"""Every link on the way."""

from pathlib import Path

from orchestrator.config.trail import MOST_LINKS, trail


def test_a_path_without_links_is_its_own_end(tmp_path: Path) -> None:
    assert trail(str(tmp_path / "none/a.yaml")) == [(str(tmp_path / "none"), "a.yaml")]


def test_all_links_are_on_it_relative_and_absolute(tmp_path: Path) -> None:
    (tmp_path / "v1/models").mkdir(parents=True)
    (tmp_path / "current").symlink_to("./v1")
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/models.d").symlink_to(tmp_path / "current/models")
    (tmp_path / "v1/models/a.yaml").symlink_to("../b.yaml")
    assert trail(str(tmp_path / "conf/models.d/a.yaml")) == [
        (str(tmp_path / "conf"), "models.d"),
        (str(tmp_path), "current"),
        (str(tmp_path / "v1/models"), "a.yaml"),
        (str(tmp_path / "v1"), "b.yaml"),
    ]


def test_a_ring_of_links_has_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert len(trail(str(tmp_path / "a"))) == MOST_LINKS + 1
