"""Text from outside in one line, and in a spreadsheet."""

import pytest

from aoft_bench.utils.errors import UserError
from aoft_bench.utils.text import LENGTH, csv_cell, is_one_line, one_line, shown


@pytest.mark.parametrize("sign", ["\n", "\r", "\t", "\0", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u202e", "\ud800"])
def test_what_is_not_one_line_is_written_out(sign: str) -> None:
    text = f"a{sign}b"
    assert not is_one_line(text)
    assert is_one_line(one_line(text)) and one_line(text) == f"a{ascii(sign)[1:-1]}b"


def test_an_error_moves_no_cursor() -> None:
    assert str(UserError("2 problems\n  a\x1b[2Jb\udcff")) == "2 problems\n  a\\x1b[2Jb\\udcff"


def test_a_value_of_any_kind_is_shown_in_a_short_line() -> None:
    circular: list[object] = ["a\x1b" * 10**6] * 100
    circular.append({"b": circular})
    for value in (circular, "a\n" * 1000, 10**5000, {1: 2}, None):
        assert is_one_line(shown(value)) and len(shown(value)) < 2 * LENGTH
    assert shown(["q", "v"]) == "['q', 'v']" and shown("q") == "'q'"


def test_letters_signs_and_spaces_stay() -> None:
    text = "LoRA+AOFT† ± 0.5 · 数 ‖UUᵀ‖\u00a0'\"\\"
    assert is_one_line(text) and one_line(text) == text


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-cmd|'/C calc'", "@SUM(A1)", "\t=1", "\r=1", "-"])
def test_a_formula_is_a_text(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-2.7", "+1e-5", "-inf", "", "a=b", "1-2", -3, None])
def test_numbers_and_other_texts_stay(value: object) -> None:
    assert csv_cell(value) == value
