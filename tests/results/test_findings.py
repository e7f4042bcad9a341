"""The sentence of the page: what is ahead, by how much, and never more than a test says."""

from typing import Any

import pytest
from record_cases import record

from aoft_bench.data.tasks import TASKS
from aoft_bench.results.findings import finding, main_of
from aoft_bench.results.settings import Comparison, build_comparisons

VTAB = [name for name, task in TASKS.items() if task.suite == "vtab1k"]


def setting(tops: dict[str, float], tasks: list[str], seeds: int = 1, **changes: Any) -> Comparison:
    """One setting in which every method has about the same top-1 on every task."""
    found = [
        record(top + 0.3 * (i % 3), name, method, seed, **changes)
        for method, top in tops.items()
        for i, name in enumerate(tasks)
        for seed in range(seeds)
    ]
    (comparison,) = build_comparisons(found)
    return comparison


def test_with_few_tasks_it_says_what_is_ahead_and_that_nothing_is_tested() -> None:
    counts = {"parameters__trained": 1000}
    assert finding(setting({"full": 80.0, "lora": 79.0, "aoft": 75.5}, VTAB[:2], **counts)) == (
        "Full has the highest mean over 2 tasks, 80.2 %, 1.0 points above LoRA; LoRA+AOFT† is 4.5 points below Full "
        "with 100 % of its trained parameters; no test tells rows apart on 2 tasks, it takes 6."
    )


def test_rows_that_print_the_same_are_not_called_ahead() -> None:
    said = finding(setting({"full": 80.04, "lora": 80.01}, VTAB[:1]))
    assert said.startswith("Full has the highest top-1 on CIFAR-100, 80.0 %, as has LoRA;")


@pytest.mark.parametrize(
    ("tops", "said"),
    [
        # average ranks of 1 and 2 of three differ by less than the critical difference of 1.35 on six tasks
        (
            {"full": 80.0, "lora": 70.0, "linear": 60.0},
            "10.0 points above LoRA (not told apart by their average ranks).",
        ),
        # 19 tasks are enough: the critical difference is 0.76
        (
            {"full": 80.0, "lora": 70.0, "linear": 60.0, "": 19},
            "10.0 points above LoRA (told apart by their average ranks).",
        ),
        ({"full": 80.0, "lora": 70.0}, "10.0 points above LoRA; no test of all ranks: too few methods, it takes 3."),
    ],
)
def test_it_says_whether_a_test_tells_the_first_two_apart(tops: dict[str, float], said: str) -> None:
    tasks = VTAB[: int(tops.pop("", 6))]
    assert finding(setting(tops, tasks)).endswith(said)


def test_the_best_row_of_aoft_stands_beside_the_best_other_one() -> None:
    tops = {"full": 80.0, "lora": 79.5, "aoft": 70.0, "aoft_without_lambda": 60.0}
    # six wins of six: p 0.031 of each of two comparisons, 0.062 with Holm's correction
    assert "LoRA+AOFT†, the best of 2 AOFT rows, is 10.0 points below Full with 100 % of its trained parameters " in (
        finding(setting(tops, VTAB[:6], parameters__trained=5))
    )
    assert "(not told apart, Holm p 0.062)" in finding(setting(tops, VTAB[:6]))
    assert "(told apart, Holm p < 0.001)" in finding(setting(tops, VTAB))


def test_without_two_whole_rows_nothing_is_called_ahead() -> None:
    (comparison,) = build_comparisons([record(80.0, "cifar100", "full"), record(70.0, "svhn", "lora")])
    assert finding(comparison) == "0 of 2 rows have all tasks, so that no row can be called ahead."


def test_the_main_setting_is_the_one_with_most_records() -> None:
    few = [record(80.0, "cifar100", "full", config__backbone__img_size=112)]
    assert main_of(build_comparisons([*few, record(70.0), record(70.0, seed=1)])).setting.img_size == 224
