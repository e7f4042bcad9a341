"""The hash of a cell: a value that can change its number changes it, other values and the order of keys do not."""

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from aoft_bench.records.identity import record_hash

RECORDS = [json.loads(path.read_text()) for path in sorted((Path(__file__).parent / "frozen").rglob("*.json"))]
# what decides the number of a cell, of all that a record holds
DECIDES = {
    *("precision", "data.fingerprint", "weights.sha256", "config.seed", "config.dataset.name", "config.protocol.name"),
    *("config.data.interpolation", "config.data.normalization", "config.backbone.img_size", "config.backbone.timm"),
}
SECTIONS = ("config.recipe.", "config.method.")  # all that is in them, but for the name of a row

Path_ = tuple[str, ...]


def leaves(tree: Any, path: Path_ = ()) -> list[Path_]:
    """The paths of all values that are no dictionaries."""
    if not isinstance(tree, dict):
        return [path]
    return [leaf for name, value in tree.items() for leaf in leaves(value, (*path, name))]


def decides(path: Path_) -> bool:
    name = ".".join(path)
    return name in DECIDES or (name.startswith(SECTIONS) and name != "config.method.label")


def changed(record: dict[str, Any], path: Path_, value: Any) -> dict[str, Any]:
    """A copy of the record with another value at a path."""
    copied = copy.deepcopy(record)
    inside = copied
    for name in path[:-1]:
        inside = inside[name]
    inside[path[-1]] = value
    return copied


def shuffled(tree: Any, draw: Any) -> Any:
    """The same dictionaries with their keys in another order."""
    if not isinstance(tree, dict):
        return tree
    return {name: shuffled(tree[name], draw) for name in draw(st.permutations(list(tree)))}


numbers = st.floats(allow_nan=False, allow_infinity=False)
values = st.one_of(st.none(), st.booleans(), st.integers(), numbers, st.text("abcdefgh", max_size=8))


@given(record=st.sampled_from(RECORDS), data=st.data())
def test_the_order_of_keys_does_not_matter(record: dict[str, Any], data: st.DataObject) -> None:
    assert record_hash(shuffled(record, data.draw)) == record["hash"]


@given(record=st.sampled_from(RECORDS), value=values, data=st.data())
def test_a_value_changes_the_hash_if_it_can_change_the_number(
    record: dict[str, Any], value: Any, data: st.DataObject
) -> None:
    special = ("epochs", "warmup_epochs")  # in the next but one
    path = data.draw(st.sampled_from([leaf for leaf in leaves(record) if decides(leaf) and leaf[-1] not in special]))
    other = changed(record, path, value)
    assume(other != record)
    assert record_hash(other) != record["hash"], path


@given(record=st.sampled_from(RECORDS), value=values, data=st.data())
def test_no_other_value_changes_it(record: dict[str, Any], value: Any, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from([leaf for leaf in leaves(record) if not decides(leaf)]))
    assert record_hash(changed(record, path, value)) == record["hash"], path


@given(record=st.sampled_from(RECORDS), epochs=st.integers(1, 10_000), warmup=st.integers(0, 1000))
def test_no_warm_up_is_a_tenth_of_the_epochs(record: dict[str, Any], epochs: int, warmup: int) -> None:
    record = changed(record, ("config", "recipe", "epochs"), epochs)
    path = ("config", "recipe", "warmup_epochs")
    hashes = [record_hash(changed(record, path, n)) for n in (None, epochs // 10, warmup)]
    assert hashes[0] == hashes[1]
    assert (hashes[0] == hashes[2]) == (warmup == epochs // 10)


@given(record=st.sampled_from(RECORDS), value=values, section=st.sampled_from(["recipe", "method"]))
def test_an_option_more_is_another_cell(record: dict[str, Any], value: Any, section: str) -> None:
    assert record_hash(changed(record, ("config", section, "an_option_more"), value)) != record["hash"]
