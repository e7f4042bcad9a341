"""Which images train: the rules of `data.draw`, held against what a reader of its docstring would count by hand."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aoft_bench.data.draw import allot, drawn
from aoft_bench.data.locations import Draw
from aoft_bench.data.sources.base import Listed
from aoft_bench.utils.errors import UserError


def listed(*counts: int, prefix: str = "train") -> Listed:
    """Images of several classes, class by class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    return Listed(labels, [f"{prefix}/{index}.jpg" for index in range(len(labels))])


def sizes(found, pools, split):
    """How many images of each class a split has."""
    return dict(sorted(Counter(int(pools[of].labels[index]) for of, index in found[split]).items()))


def names(found, pools, split):
    return [pools[of].names[index] for of, index in found[split]]


def test_a_thousand_images_are_800_and_200_as_in_vtab():
    pools = {"train800": listed(*[130] * 10)}
    found = drawn(pools, 10, Draw(train=1000))
    assert sizes(found, pools, "test") == dict.fromkeys(range(10), 26)
    assert sizes(found, pools, "train800") == dict.fromkeys(range(10), 80)
    assert sizes(found, pools, "val200") == dict.fromkeys(range(10), 20)


def test_missing_splits_take_a_fifth_of_each_class_and_never_all():
    pools = {"train800": listed(1, 2, 3, 8, 100)}
    found = drawn(pools, 5, Draw())
    assert sizes(found, pools, "test") == {1: 1, 2: 1, 3: 2, 4: 20}  # 8 / 5 = 1.6
    assert sizes(found, pools, "val200") == {2: 1, 3: 1, 4: 16}
    assert sizes(found, pools, "train800") == {0: 1, 1: 1, 2: 1, 3: 5, 4: 64}


def test_splits_that_are_given_stay_whole():
    pools = {"train800": listed(10, 10), "test": listed(3, 4, prefix="test")}
    found = drawn(pools, 2, Draw())
    assert found["test"] == [("test", index) for index in range(7)]
    assert sizes(found, pools, "val200") == {0: 2, 1: 2}
    pools["val200"] = listed(5, 5, prefix="val")
    found = drawn(pools, 2, Draw(train=10))
    assert sizes(found, pools, "train800") == {0: 4, 1: 4} and {of for of, _ in found["train800"]} == {"train800"}
    assert sizes(found, pools, "val200") == {0: 1, 1: 1} and {of for of, _ in found["val200"]} == {"val200"}


def test_shots_are_exact_and_nested_and_leave_val_and_test_alone():
    pools = {"train800": listed(20, 3, 20), "val200": listed(2, 2, 2, prefix="val"), "test": listed(1, 1, 1)}
    few, more = (drawn(pools, 3, Draw(shots=shots)) for shots in (2, 4))
    assert sizes(few, pools, "train800") == {0: 2, 1: 2, 2: 2}
    assert sizes(more, pools, "train800") == {0: 4, 1: 3, 2: 4}  # all of a class that has fewer
    assert set(few["train800"]) < set(more["train800"])
    assert few["val200"] == more["val200"] == [("val200", index) for index in range(6)]
    del pools["val200"]
    without = drawn(pools, 3, Draw(shots=2))
    assert without["train800"] == few["train800"] and sizes(without, pools, "val200") == {0: 2, 1: 1, 2: 2}


def test_the_seed_draws_others_and_the_order_of_a_file_does_not():
    pools = {"train800": listed(30, 30)}
    first, second = (drawn(pools, 2, Draw(shots=4, seed=seed)) for seed in (0, 1))
    assert first != second
    order = np.random.default_rng(0).permutation(60)
    shuffled = {"train800": Listed(pools["train800"].labels[order], [pools["train800"].names[i] for i in order])}
    again = drawn(shuffled, 2, Draw(shots=4))
    for split in first:
        assert sorted(names(first, pools, split)) == sorted(names(again, shuffled, split))


def test_the_rule_is_the_one_that_records_call_1():
    """Other members under the same number would make two records of one rule incomparable."""
    pools = {"train800": listed(6, 6)}
    found = drawn(pools, 2, Draw())
    assert {split: names(found, pools, split) for split in ("val200", "test")} == {
        "val200": ["train/0.jpg", "train/6.jpg"],
        "test": ["train/2.jpg", "train/9.jpg"],
    }


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.data())
def test_shares_add_up_and_no_class_gives_more_than_it_has(counts, data):
    total = data.draw(st.integers(0, sum(counts)))
    found = allot(counts, total)
    assert sum(found) == total and all(0 <= one <= count for one, count in zip(found, counts, strict=True))
    if total >= sum(count > 0 for count in counts):
        assert all(one > 0 for one, count in zip(found, counts, strict=True) if count)


@pytest.mark.parametrize(
    ("counts", "wanted", "says"),
    [
        ((5, 5), {"train": 9}, r"data.train=9 needs 9 training images, there are 8"),
        ((5, 5, 5), {"train": 2}, r"data.train=2 is too few: each of the 3 classes"),
        ((1, 1), {}, "too few images to draw val200 from"),
        ((5, 5), {"shots": 4}, "draw val200 from: no class has a training image besides the 4 of data.shots"),
        ((5, 0), {"shots": 1}, r"data.shots=1: class 1 has no training image left"),
    ],
)
def test_too_few_images(counts, wanted, says):
    with pytest.raises(UserError, match=says):
        drawn({"train800": listed(*counts)}, len(counts), Draw(**wanted))


def test_two_numbers_contradict_each_other():
    with pytest.raises(UserError, match=r"data.train=10 and data.shots=2 contradict each other"):
        Draw(train=10, shots=2)
