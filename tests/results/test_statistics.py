"""Ranks, intervals and paired comparisons against numbers worked out by hand."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from record_cases import record

from aoft_bench.data.tasks import TASKS
from aoft_bench.results.settings import Comparison, build_comparisons
from aoft_bench.results.statistics import (
    RESAMPLES,
    TOO_FEW_SEEDS,
    TOO_FEW_TASKS,
    bootstrap,
    compare_ranks,
    paired,
    pool_of,
)
from aoft_bench.results.statistics_table import p_value, statistics_tables
from aoft_bench.results.writers.markdown import to_markdown

VTAB = [name for name, task in TASKS.items() if task.suite == "vtab1k"]
PACK = {"data__official": False, "data__source": "folder", "data__official_note": "a pack"}


def table_of(scores: Mapping[str, Sequence[float | Sequence[float]]], **changes: Any) -> Comparison:
    """A table of methods whose scores are given task after task, in VTAB's order; a list holds one number a seed."""
    found = []
    for method, values in scores.items():
        for name, value in zip(VTAB, values, strict=False):
            seeds = list(value) if isinstance(value, Sequence) else [value]
            found += [record(top1, name, method, seed, **PACK, **changes) for seed, top1 in enumerate(seeds)]
    (table,) = build_comparisons(found)
    return table


def test_ranks_are_of_printed_numbers_and_ties_share_them() -> None:
    """Task 1: a and b both print 70.3 and share ranks 1 and 2; task 2: c, b, a. Averages 2.25, 1.75, 2."""
    comparison = compare_ranks(pool_of(table_of({"a": [70.34, 50.0], "b": [70.30, 60.0], "c": [70.2, 65.0]})))
    assert dict(zip(comparison.methods, comparison.ranks, strict=True)) == {"b": 1.75, "c": 2.0, "a": 2.25}
    assert comparison.methods == ["b", "c", "a"]
    assert comparison.cd is None and comparison.reason == TOO_FEW_TASKS and comparison.groups == []


def test_critical_difference_is_that_of_demsars_table() -> None:
    """Demšar 2006: q is 2.569 for 4 methods at 0.05, so that CD on 14 tasks is 1.25; a and b, b and c, c and d are one
    rank apart, the next 2."""
    scores = {name: [value] * 14 for name, value in (("a", 80.0), ("b", 70.0), ("c", 60.0), ("d", 50.0))}
    comparison = compare_ranks(pool_of(table_of(scores)))
    assert comparison.cd == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert comparison.ranks == [1, 2, 3, 4]
    assert comparison.groups == [["a", "b"], ["b", "c"], ["c", "d"]]
    # Friedman: 12 N / (k (k + 1)) (sum of squared average ranks) - 3 N (k + 1) = 8.4 * 30 - 210 = 42 = N (k - 1)
    assert comparison.statistic == pytest.approx(42)
    assert comparison.p_value is not None and comparison.p_value < 1e-8


def test_groups_are_the_largest_ones_only() -> None:
    """With 6 tasks and 3 methods CD is 2.343 * sqrt(12 / 36) = 1.35: all within it, one group and no smaller one."""
    scores = {"a": [3.0, 1.0] * 3, "b": [2.0, 2.0] * 3, "c": [1.0, 3.0] * 3}
    comparison = compare_ranks(pool_of(table_of(scores)))
    assert comparison.cd == pytest.approx(2.343 / math.sqrt(3), abs=1e-3)
    assert comparison.groups == [["a", "b", "c"]]


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({"a": [1.0] * 5, "b": [2.0] * 5, "c": [3.0] * 5}, "too few tasks"),
        ({"a": [1.0] * 6, "b": [2.0] * 6}, "too few methods"),
        ({"a": [1.0] * 6, "b": [1.04] * 6, "c": [1.0] * 6}, "all methods print the same on every task"),
    ],
)
def test_no_test_where_it_would_mean_nothing(scores: dict[str, list[float]], reason: str) -> None:
    comparison = compare_ranks(pool_of(table_of(scores)))
    assert (comparison.cd, comparison.statistic, comparison.p_value) == (None, None, None)
    assert comparison.reason == reason


def test_a_row_that_lacks_a_task_is_not_in_the_pool_and_is_named() -> None:
    table = table_of({"a": [1.0] * 7, "b": [2.0] * 7, "c": [3.0] * 7, "d": [4.0] * 6})
    pool = pool_of(table)
    assert [row.label for row in pool.rows] == ["a", "b", "c"]
    assert (pool.left_out, len(pool.tasks)) == (["d"], 7)
    (grid,) = statistics_tables(table)
    assert "3 rows (a, b, c) on 7 tasks" in grid.caption
    assert "Not in the pool, since they lack a task: d." in grid.notes


def test_tasks_are_drawn_within_their_group() -> None:
    """7 natural tasks at 10 and 4 specialized ones at 50: whatever is drawn within the groups, the mean is the same."""
    (row,) = bootstrap(pool_of(table_of({"a": [[10.0, 10.0]] * 7 + [[50.0, 50.0]] * 4})))
    mean = (7 * 10 + 4 * 50) / 11
    assert row.mean == pytest.approx(mean)
    assert (row.over_tasks.low, row.over_tasks.high) == (pytest.approx(mean), pytest.approx(mean))


def test_seeds_are_drawn_within_their_task() -> None:
    """One task with seeds 40 and 60: a resample is 40 or 60 with probability 1/4 each, so that the interval is both."""
    (row,) = bootstrap(pool_of(table_of({"a": [[40.0, 60.0]]})))
    assert (row.over_seeds.low, row.over_seeds.high) == (40.0, 60.0)
    assert row.over_tasks.reason == TOO_FEW_TASKS and row.over_tasks.low is None


def test_intervals_are_as_wide_as_theory_says() -> None:
    """11 tasks, 2 seeds 10 apart: a task's resampled mean has variance 12.5, the mean over tasks 12.5 / 11."""
    (row,) = bootstrap(pool_of(table_of({"a": [[45.0, 55.0]] * 11})))
    half = 1.96 * math.sqrt(12.5 / 11)
    assert row.over_seeds.low == pytest.approx(50 - half, abs=0.3)
    assert row.over_seeds.high == pytest.approx(50 + half, abs=0.3)
    assert RESAMPLES >= 1000


def test_intervals_are_the_same_every_time_and_need_seeds() -> None:
    pool = pool_of(table_of({"a": [[50.0 + i, 52.0] for i in range(8)], "b": [60.0 - i for i in range(8)]}))
    assert bootstrap(pool) == bootstrap(pool)
    b, a = bootstrap(pool)
    assert (b.label, b.over_seeds.reason, a.over_seeds.reason) == ("b", TOO_FEW_SEEDS, "")
    assert b.over_tasks.low is not None and b.over_tasks.low < b.mean < (b.over_tasks.high or 0)


def test_wins_ties_and_losses_are_of_printed_numbers() -> None:
    table = table_of({"aoft": [70.34, 60.0, 50.0], "lora": [70.30, 59.0, 51.0]})
    (pair,) = paired(table)
    assert (pair.first, pair.second) == ("LoRA+AOFT†", "LoRA")
    assert (pair.wins, pair.ties, pair.losses) == (1, 1, 1)
    assert pair.difference == pytest.approx(0.04 / 3)
    assert (pair.sign, pair.wilcoxon, pair.holm, pair.reason) == (None, None, None, TOO_FEW_TASKS)
    assert pair.interval.reason == TOO_FEW_TASKS


def test_sign_and_signed_rank_tests_by_hand() -> None:
    """Six differences 1 .. 6, all of one sign: both tests give 2 / 2^6. Twelve with two losses: the sign test gives
    2 (1 + 12 + 66) / 2^12."""
    (pair,) = paired(table_of({"aoft": [50.0 + i for i in range(1, 7)], "lora": [50.0] * 6}))
    assert pair.sign == pytest.approx(2 / 64) and pair.wilcoxon == pytest.approx(2 / 64)
    (pair,) = paired(table_of({"aoft": [51.0] * 10 + [49.0] * 2, "lora": [50.0] * 12}))
    assert pair.sign == pytest.approx(2 * (1 + 12 + 66) / 2**12)


def test_ties_do_not_count_as_tasks_of_a_test() -> None:
    (pair,) = paired(table_of({"aoft": [51.0] * 5 + [50.04], "lora": [50.0] * 6}))
    assert (pair.wins, pair.ties) == (5, 1) and pair.sign is None and pair.reason == "too many ties"


def test_holm_corrects_for_the_comparisons_of_a_row() -> None:
    """Wilcoxon p of a: 2/64 (six wins), of b: 2 * 2 / 64 (the smallest difference is a loss), so 2 * 2/64 and 4/64."""
    up = [50.0 + i for i in range(1, 7)]
    scores = {"aoft": up, "a": [50.0] * 6, "b": [52.0, *[50.0] * 5]}  # aoft - b: -1, 2, 3, 4, 5, 6
    first, second = sorted(paired(table_of(scores)), key=lambda pair: pair.second)
    assert second.wilcoxon == pytest.approx(4 / 64)
    assert (first.holm, second.holm) == (pytest.approx(4 / 64), pytest.approx(4 / 64))


def test_aoft_rows_are_not_compared_with_each_other() -> None:
    own = {"aoft_vpt": [1.0], "aoft": [2.0]}
    assert paired(table_of(own)) == []
    pairs = paired(table_of(own | {"lora": [3.0]}))
    assert sorted((pair.first, pair.second) for pair in pairs) == [
        *(("LoRA+AOFT†", "LoRA"), ("VPT-Deep+AOFT", "LoRA")),
    ]


def test_the_difference_is_of_the_same_drawn_tasks() -> None:
    """aoft is one point above on every task, however far the tasks are apart: the interval has no width."""
    (pair,) = paired(table_of({"aoft": [10.0 * i + 1 for i in range(9)], "lora": [10.0 * i for i in range(9)]}))
    assert (pair.interval.low, pair.interval.high) == (pytest.approx(1.0), pytest.approx(1.0))


def test_what_cannot_be_told_is_said() -> None:
    text = to_markdown(statistics_tables(table_of({"aoft": [70.0], "lora": [60.0]})))
    assert "2 rows (LoRA+AOFT†, LoRA) on 1 task (CIFAR-100)" in text
    few = " | ".join(["too few tasks"] * 4)
    assert f"| LoRA+AOFT† | LoRA | 1 | 1 | 0 | 0 | 10.0 | {few} |" in text
    assert "No test of the ranks: too few tasks." in text
    assert statistics_tables(table_of({"aoft": [70.0]})) == []


def test_p_values_are_never_printed_as_zero() -> None:
    assert (p_value(1e-9), p_value(0.0312)) == ("< 0.001", "0.031")
