import io

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.table import Cell, Column, cells, render, shorten
from orchestrator.cli.terminal import Terminal, terminal

texts = st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=60)
COLUMNS = (Column("NAME"), Column("SOURCE", shrink=True), Column("COUNT", right=True))


class Screen(io.StringIO):
    """A terminal in memory."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@given(texts, st.integers(1, 40))
def test_a_shortened_text_takes_no_more_than_its_room(text: str, width: int) -> None:
    short = shorten(text, width)
    assert cells(short) <= width
    assert short == text or "…" in short


def test_the_end_of_a_path_survives_its_shortening() -> None:
    short = shorten("file:/srv/models/a-very-long-folder/gemma-q4.gguf", 24)
    assert short.startswith("file:")
    assert short.endswith("gemma-q4.gguf")


def test_wide_characters_count_twice_and_combining_ones_not_at_all() -> None:
    assert (cells("模型"), cells("é"), cells("e\N{COMBINING ACUTE ACCENT}")) == (4, 1, 1)


@given(st.lists(st.tuples(texts, texts, st.integers(0, 10**6)), min_size=1, max_size=5), st.integers(60, 200))
def test_the_columns_of_every_row_begin_at_the_same_place(
    rows: list[tuple[str, str, int]], width: int
) -> None:
    made = [[Cell("n"), Cell(f"a{source}z"), Cell(str(count))] for _, source, count in rows]
    lines = render(Terminal(out=io.StringIO(), width=width), COLUMNS, made)
    assert all(cells(line) <= width for line in lines)
    ends = {cells(line) for line in lines}
    assert len(ends) == 1, "the last column is aligned to the right"


def test_a_note_stands_beside_its_row_where_there_is_room_and_under_it_where_there_is_none() -> None:
    rows, notes = [[Cell("fast"), Cell("demo:tiny"), Cell("1")]], [Cell("a sentence that matters")]
    wide = render(Terminal(out=io.StringIO(), width=100), COLUMNS, rows, notes)
    narrow = render(Terminal(out=io.StringIO(), width=40), COLUMNS, rows, notes)
    assert wide[1].endswith("1  a sentence that matters")
    assert narrow[2] == "  └ a sentence that matters"


def test_what_a_model_or_a_file_says_cannot_steer_the_terminal() -> None:
    rows, notes = (
        [[Cell("fast"), Cell("demo:\x1b[2Jtiny"), Cell("1")]],
        [Cell("two\nlines and \x1b]0;a title\x07")],
    )
    lines = render(Terminal(out=io.StringIO()), COLUMNS, rows, notes)
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_colour_is_for_terminals_without_no_color_only() -> None:
    assert terminal(Screen(), {}).colour
    assert not terminal(Screen(), {"NO_COLOR": "1"}).colour
    assert terminal(Screen(), {"NO_COLOR": ""}).colour
    assert not terminal(Screen(), {"TERM": "dumb"}).colour
    assert not terminal(io.StringIO(), {}).colour


def test_a_stream_that_is_no_terminal_has_no_width() -> None:
    assert terminal(io.StringIO(), {}).width is None
    assert terminal(Screen(), {}).width is not None
