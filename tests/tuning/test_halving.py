"""Which settings go on from a rung, whatever order their scores come in, and the journal that processes share."""

import contextlib
import itertools
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from aoft_bench.tuning.halving import DIVERGED, going_on, plan
from aoft_bench.tuning.journal import Definition, Journal, Stretch
from aoft_bench.utils.errors import UserError

SETTINGS = [f"recipe.lr={number}" for number in range(10)]
PLAN = plan(len(SETTINGS), 9, rungs=[1, 3])


def definition(**changes: Any) -> Definition:
    given: dict[str, Any] = {"code": "0123456789abcdef", "cells": {s: [f"{i:010d}"] for i, s in enumerate(SETTINGS)}}
    return Definition(**(given | {"options": {"start": "grid"}, "plan": PLAN} | changes))


def opened(folder: Path, **changes: Any) -> Journal:
    return Journal(folder, definition(**changes), lambda: SETTINGS)


@pytest.mark.parametrize(
    ("settings", "epochs", "rungs", "counts", "spent"),
    [
        (10, 9, (1, 9), (10, 2), 10 * 1 + 2 * 8),
        (10, 8, (1, 8), (10, 2), 10 * 1 + 2 * 7),
        (10, 100, (11, 100), (10, 2), 10 * 11 + 2 * 89),
        (20, 30, (3, 30), (20, 5), 20 * 3 + 5 * 27),
        (5, 10, (1, 3, 10), (5, 2, 1), 5 * 1 + 2 * 2 + 1 * 7),  # one alone could go on from the first
        (4, 10, (1, 3, 10), (4, 2, 1), 4 * 1 + 2 * 2 + 1 * 7),
        (3, 2, (2,), (3,), 6),  # too few epochs to stop at any
        (9, 5, (1, 5), (9, 3), 9 + 3 * 4),
    ],
)
def test_rungs_and_what_they_cost(settings: int, epochs: int, rungs: Any, counts: Any, spent: int) -> None:
    found = plan(settings, epochs)
    assert (found.rungs, found.settings, found.spent, found.of_grid) == (rungs, counts, spent, settings * epochs)


def test_from_five_settings_on_a_search_takes_at_most_a_third_of_the_grid() -> None:
    for settings, epochs in itertools.product(range(5, 60), (9, 10, 30, 50, 100)):
        found = plan(settings, epochs)
        assert found.spent <= found.of_grid / 3, (settings, epochs)
        assert settings < 8 or found.settings[-1] > 1, (settings, epochs)


def test_rungs_that_are_given_keep_one_in_factor() -> None:
    assert plan(10, 9, rungs=[1, 3]).settings == (10, 4, 2)
    assert plan(10, 9, 2, [3]).settings == (10, 5)


def test_a_setting_goes_on_only_when_nothing_can_change_that() -> None:
    members = list("abcd")
    assert going_on(members, {"a": 50.0, "b": 60.0}, 2) == []  # c and d may be better
    assert going_on(members, {"a": 50.0, "b": 60.0, "c": 55.0}, 2) == ["b"]
    assert going_on(members, {"a": 50.0, "b": 60.0, "c": 55.0, "d": 70.0}, 2) == ["d", "b"]


def test_of_equal_scores_the_earlier_goes_on_and_diverged_ones_never() -> None:
    assert going_on(list("abc"), {"c": 5.0, "b": 5.0, "a": DIVERGED}, 2) == ["b", "c"]
    assert going_on(list("abc"), {"c": DIVERGED, "b": 5.0, "a": DIVERGED}, 2) == ["b"]
    assert going_on(list("abc"), dict.fromkeys("abc", DIVERGED), 2) == []


def test_of_equal_scores_those_that_differ_in_more_options_go_on() -> None:
    grid = [f"recipe.lr={lr} recipe.weight_decay={decay}" for lr in (1, 2, 3) for decay in (1, 2)]
    scores = dict.fromkeys(grid, 5.0)
    assert going_on(grid, scores, 2) == [grid[0], grid[3]]
    assert going_on(grid, scores, 4) == [grid[0], grid[3], grid[1], grid[2]]
    assert going_on(grid, scores | {grid[0]: 4.0, grid[2]: 6.0}, 2) == [grid[2], grid[1]]


def test_nobody_goes_on_who_would_not_once_all_scores_are_known() -> None:
    """In whatever order scores come in, with equal ones among them."""
    draw = random.Random(0)
    grid = [f"recipe.lr={lr} recipe.weight_decay={decay}" for lr in range(3) for decay in range(2)]
    for _ in range(300):
        scores = {name: draw.choice([1.0, 2.0, 3.0, DIVERGED]) for name in draw.sample(grid, len(grid))}
        places = draw.randint(1, 4)
        final = going_on(grid, scores, places)
        for known in range(len(grid)):
            so_far = dict(list(scores.items())[:known])
            assert {*going_on(grid, so_far, places)} <= {*final}
            others = going_on([*so_far], so_far, places, to_come=len(grid) - known)
            assert {*others} == {*going_on(grid, so_far, places)}
        assert len(final) == min(places, sum(score != DIVERGED for score in scores.values()))


def score_of(stretch: Stretch) -> float:
    """Made-up curves that cross: what is best at the first rung is not at the last. The setting 3 diverges."""
    number = int(stretch.setting.partition("=")[2])
    return DIVERGED if number == 3 else float((number * 7) % 10 + stretch.rung * (number % 4))


def members_by_hand() -> list[list[str]]:
    """The members of each rung, worked out rung by rung, without a journal."""
    found, members = [], list(SETTINGS)
    for rung, places in enumerate((*PLAN.settings[1:], 0), 1):
        found.append(members)
        scores = {setting: score_of(Stretch(0, setting, rung)) for setting in members}
        ranked = sorted((s for s in members if scores[s] != DIVERGED), key=lambda setting: -scores[setting])
        members = [setting for setting in SETTINGS if setting in ranked[:places]]
    return found


@pytest.mark.parametrize("workers", [1, 3])
def test_the_same_settings_go_on_whoever_ends_first(workers: int, tmp_path: Path) -> None:
    chance, journals = random.Random(0), [opened(tmp_path) for _ in range(workers)]
    running: dict[int, Stretch] = {}
    done, answers = [], set()
    with contextlib.ExitStack() as stack:
        for journal in journals:
            stack.enter_context(journal.working())
        while "done" not in answers:
            free = [number for number in range(workers) if number not in running]
            taken = journals[free[0]].take() if free else "busy"
            answers.add(str(taken))
            if isinstance(taken, Stretch):
                running[free[0]] = taken
            elif running:
                number = chance.choice(list(running))
                stretch = running.pop(number)
                journals[number].end(stretch, score_of(stretch))
                done.append((stretch.setting, stretch.rung))
    assert not running and ("wait" in answers) == (workers > 1)
    assert sorted(done) == sorted((s, rung) for rung, some in enumerate(members_by_hand(), 1) for s in some)
    assert journals[0].members() == members_by_hand()
    assert not list(tmp_path.glob("worker-*"))


def test_the_trial_of_a_process_that_died_is_taken_by_another(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with first.working():
        taken = first.take()
        assert isinstance(taken, Stretch)
        with (second := opened(tmp_path)).working():
            other = second.take()  # the first process is alive
            assert isinstance(other, Stretch) and other.setting != taken.setting
    with (third := opened(tmp_path)).working():  # both have ended without a word
        left = {taken.setting for taken in iter(third.take, "done") if not third.end(taken, 1.0)}  # type: ignore
    assert left == set(SETTINGS)


def test_a_trial_that_is_given_back_is_taken_again(tmp_path: Path) -> None:
    with (journal := opened(tmp_path)).working():
        taken = journal.take()
        assert isinstance(taken, Stretch)
        journal.give_back(taken)
        assert journal.ended() == {}
        assert taken.setting in {again.setting for again in (journal.take() for _ in SETTINGS)}  # type: ignore


def test_a_journal_keeps_its_order(tmp_path: Path) -> None:
    """A later process may have learned another one meanwhile."""
    turned = SETTINGS[::-1]
    assert Journal(tmp_path, definition(), lambda: turned).queue == turned
    assert opened(tmp_path).queue == turned


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"code": "fedcba9876543210"}, "its scores are of other code, 01234567, this is fedcba98"),
        ({"cells": {"recipe.lr=1": ["0000000001"]}}, "it has recipe.lr=0 too; it has 10 settings, this command 1"),
        ({"cells": {s: ["0000000000"] for s in [*SETTINGS, "recipe.lr=11"]}}, "recipe.lr=11 is not in it"),
        ({"cells": {s: ["0000000000"] for s in SETTINGS}}, "options that do not vary over it"),
        ({"options": {"start": "portfolio"}}, "options {'start': 'grid'}, this command {'start': 'portfolio'}"),
        ({"plan": plan(10, 18)}, "rungs [1, 3, 9], this command [2, 18]"),
    ],
)
def test_a_journal_of_another_search_is_refused(changes: Any, problem: str, tmp_path: Path) -> None:
    opened(tmp_path)
    before = (tmp_path / "journal").read_bytes()
    with pytest.raises(UserError) as raised:
        opened(tmp_path, **changes)
    (line,) = str(raised.value).splitlines()
    assert f"{tmp_path}/journal is the journal of another search: " in line and problem in line
    assert "delete that folder" in line
    assert (tmp_path / "journal").read_bytes() == before


def damaged(path: Path) -> list[bytes]:
    """What may become of a journal: it is cut, holds something else, or lines of it are lost or edited."""
    lines = path.read_bytes().splitlines(keepends=True)
    edited = [json.loads(line) for line in lines]
    for one in edited:
        one.pop("user_attr", None)
    return [
        b"no journal\nat all\n",
        b"".join(lines[:3]) + lines[3][:20] + b"\n" + b"".join(lines[4:]),
        b"".join(json.dumps(one).encode() + b"\n" for one in edited),
        b"\xff\xfe\n" * 3,
        b"[]\n",
        b'{"op_code":99,"worker_id":"x"}\n',
        b"".join(lines).replace(b'"rung":1', b'"rung":"one"'),
        b"".join(lines).replace(b'"queue"', b'"qu"'),
    ]


def test_a_damaged_journal_is_one_line(tmp_path: Path) -> None:
    journal = opened(tmp_path / "good")
    with journal.working():
        taken = journal.take()
        assert isinstance(taken, Stretch)
        journal.end(taken, 50.0)
    for number, content in enumerate(damaged(journal.path)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "journal").write_bytes(content)
        with pytest.raises(UserError, match="is damaged|is no journal of a search") as raised:
            opened(folder).take()
        assert len(str(raised.value).splitlines()) == 1 and "delete that folder" in str(raised.value)
        assert (folder / "journal").read_bytes() == content


def test_no_file_in_the_journals_place(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    with pytest.raises(UserError, match="a folder is in its place"):
        opened(tmp_path)


def test_without_optuna_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"needs the package optuna: pip install -e '.\[tune\]'"):
        opened(tmp_path)
