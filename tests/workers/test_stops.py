from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.workers.stops import TextFlow, first_stop, held_back

LETTERS = "abé€😀"
texts = st.text(LETTERS, max_size=30)
stops = st.lists(st.text(LETTERS, min_size=1, max_size=4), max_size=3)


def cut(content: bytes, at: list[int]) -> list[bytes]:
    borders = [0, *sorted(position % (len(content) + 1) for position in at), len(content)]
    return [content[one:other] for one, other in pairwise(borders)]


def flow(pieces: list[bytes], stop: list[str]) -> tuple[list[str], bool]:
    """Return everything sent, in order, and whether a stop string ended it."""
    text_flow, sent = TextFlow(stop), []
    for piece in pieces:
        text, stopped = text_flow.feed(piece)
        sent.append(text)
        if stopped:
            return sent, True
    text, stopped = text_flow.close()
    return [*sent, text], stopped


@given(texts, stops, st.lists(st.integers(0, 200)))
def test_what_is_sent_ends_before_the_first_stop_string_however_the_bytes_are_cut(
    text: str, stop: list[str], at: list[int]
) -> None:
    sent, stopped = flow(cut(text.encode(), at), stop)
    where = first_stop(text, stop)
    # Cut small enough, a shorter stop string may be complete before a longer one that began earlier.
    whole = "".join(sent)
    assert text.startswith(whole)
    assert first_stop(whole, stop) < 0
    assert stopped == (where >= 0)
    if not stopped:
        assert whole == text


@given(texts, st.text(LETTERS, min_size=1, max_size=4), st.lists(st.integers(0, 200)))
def test_a_single_stop_string_cuts_exactly_where_it_begins(text: str, stop: str, at: list[int]) -> None:
    sent, _ = flow(cut(text.encode(), at), [stop])
    assert "".join(sent) == text.partition(stop)[0]


@given(st.binary(max_size=40), st.lists(st.integers(0, 100)))
def test_any_bytes_become_the_text_a_lenient_decoder_reads(content: bytes, at: list[int]) -> None:
    sent, _ = flow(cut(content, at), [])
    assert "".join(sent) == content.decode(errors="replace")


def test_nothing_is_held_back_longer_than_needed() -> None:
    text_flow = TextFlow(["STOP"])
    assert [text_flow.feed(piece)[0] for piece in (b"a", b"ST", b"x", b"S")] == ["a", "", "STx", ""]


def test_a_character_comes_with_its_last_byte() -> None:
    text_flow = TextFlow()
    assert [text_flow.feed(bytes([byte]))[0] for byte in "€".encode()] == ["", "", "€"]


def test_held_back_is_the_longest_possible_beginning() -> None:
    assert held_back("xaab", ["aabb", "bc"]) == 3
