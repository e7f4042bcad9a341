"""An option that is added later: older records keep their hash, as do runs at its default; other values change it."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic.dataclasses import dataclass

from aoft_bench import methods
from aoft_bench.config import schema
from aoft_bench.config.fields import STRICT, added
from aoft_bench.config.schema import RecipeOptions, RunConfig, from_dict
from aoft_bench.methods.lora import LoRA
from aoft_bench.records.identity import record_hash
from aoft_bench.records.schema import check_record

Record = dict[str, Any]
RECORDS = [json.loads(path.read_text("utf-8")) for path in sorted((Path(__file__).parent / "frozen").rglob("*.json"))]
LORA = next(record for record in RECORDS if record["method"] == "lora")


@dataclass(frozen=True, config=STRICT)
class LaterRecipe(RecipeOptions):
    clip: float = added(0.0)


@dataclass(frozen=True)
class LaterLoRA(LoRA):
    tied: bool = added(False)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], RunConfig]:
    """`from_dict` of a later version, which has one more option of the recipe and one of LoRA."""
    monkeypatch.setitem(schema.SECTIONS, "recipe", LaterRecipe)
    return lambda tree: from_dict(tree, lambda name: LaterLoRA if name == "lora" else methods.get(name))


def run_as(record: Record, config: RunConfig) -> Record:
    """The record of a run of this configuration with the same data and weights."""
    made = {**copy.deepcopy(record), "config": config.as_dict()}
    return {**made, "hash": record_hash(made)}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["hash"])
def test_older_records_and_runs_at_the_default_keep_their_hash(record: Record, read: Any) -> None:
    assert run_as(record, read(record["config"]))["hash"] == record["hash"]
    recipe = {**record["config"]["recipe"], "clip": 0.0}
    assert run_as(record, read({**record["config"], "recipe": recipe}))["hash"] == record["hash"]


@pytest.mark.parametrize(("section", "option"), [("recipe", {"clip": 0.5}), ("method", {"tied": True})])
def test_another_value_has_a_hash_of_its_own(section: str, option: dict[str, Any], read: Any) -> None:
    changed = run_as(LORA, read({**LORA["config"], section: {**LORA["config"][section], **option}}))
    assert changed["hash"] != LORA["hash"]
    assert changed["config"][section] == {**LORA["config"][section], **option}
    check_record(changed)
    assert run_as(changed, read(changed["config"])) == changed
