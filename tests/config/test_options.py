"""The tree of options: strict, complete, and with the same plain values as records of older versions."""

import dataclasses
from typing import Annotated, Any

import pydantic
import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass
from test_config import config_of, tree

from aoft_bench import methods
from aoft_bench.config.check import check_value
from aoft_bench.config.fields import added
from aoft_bench.config.schema import SECTIONS, RecipeOptions, RunConfig, Scalars, from_dict
from aoft_bench.utils.errors import UserError


def test_plain_values_are_those_that_were_given() -> None:
    """Also their order and whether a number is an integer: a record's hash and its text depend on it."""
    given = tree("method=lora_matched", "recipe.lr=1", "recipe.min_lr=0", "method.alpha=4")
    plain = from_dict(given, methods.get).as_dict()
    assert {name: list(values) for name, values in plain["method"].items() if name == "targets"}
    assert given["method"].pop("blocks") == "all"  # newer than some records
    assert list(plain["method"].items()) == list(given["method"].items())
    added = [field.name for field in dataclasses.fields(RecipeOptions) if field.metadata.get("added")]
    assert str(plain["recipe"]) == str({k: v for k, v in given["recipe"].items() if k not in added})
    assert [field.name for field in dataclasses.fields(RunConfig)] == list(plain)


def test_options_that_a_record_lacks_stay_away() -> None:
    given = tree("method=aoft")
    for name in ("lambda_lr", "orthogonal", "keep_bias", "detach_q0", "blocks"):  # the last three at their default
        given["method"].pop(name)
    assert from_dict(given, methods.get).as_dict()["method"] == given["method"]


@pytest.mark.parametrize(
    "blocks", ["last:0", "last:", "first:1", "", "all:1", [], [2, 1], [3, 3], [-1], [True], 2, None, 1.0]
)
def test_blocks_are_all_the_last_or_numbers(blocks: Any) -> None:
    lora = methods.get("lora")
    for right in ("all", "last:1", "last:12", [0], [3, 11]):
        assert not check_value(lora, "blocks", right, "method")
    (problem,) = check_value(lora, "blocks", blocks, "method")
    assert problem.endswith(", give all, last:N (the last N), or numbers from 0, rising, as in [10,11]")
    assert bool(check_value(methods.get("partial"), "blocks", blocks, "method")) == (blocks != 2)


def test_a_configuration_cannot_be_changed() -> None:
    config = config_of()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.recipe.lr = 1.0  # type: ignore[misc]
    config.as_dict()["method"]["targets"].clear()
    assert config.as_dict()["method"]["targets"]


def test_a_section_refuses_unknown_names_and_wrong_types() -> None:
    options = tree()["recipe"]
    for wrong in ({"lrr": 1.0}, {"epochs": "3"}, {"flip": 1}, {"lr": 0.0}):
        with pytest.raises(pydantic.ValidationError):
            RecipeOptions(**options | wrong)


def test_all_problems_come_at_once() -> None:
    wrong = tree("method=lora") | {"seed": -1, "sections": {}}
    wrong["recipe"] |= {"lr": 0.0, "epochs": "ten"}
    wrong["method"] |= {"rnk": 2, "rank": 0, "label": "A B"}
    wrong["data"].pop("cache")
    with pytest.raises(UserError) as error:
        from_dict(wrong, methods.get)
    for said in (
        "8 problems",
        "unknown section 'sections'",
        "recipe.lr: got 0.0, must be above 0",
        "recipe.epochs: got 'ten', must be an integer",
        "data.cache is missing",
        "seed: got -1, must be at least 0",
        "method.label: got 'A B'",
        "unknown option of method 'rnk' (did you mean 'rank'?)",
        "method.rank: got 0, must be at least 1",
    ):
        assert said in str(error.value)


def test_an_unknown_method_is_named() -> None:
    given = tree("method=lora")
    given["method"]["name"] = "lorra"
    with pytest.raises(UserError, match=r"unknown method 'lorra' \(did you mean 'lora'\?\)"):
        from_dict(given, methods.get)
    assert from_dict(given).method.options is None  # not checked


def test_an_option_added_to_a_method_is_left_out_at_its_default() -> None:
    """So a record that was written before the option existed keeps its plain values, and with them its hash."""

    @dataclass(frozen=True)
    class Extended(methods.get("lora")):  # type: ignore[misc]
        dropout: Annotated[float, Field(ge=0, lt=1)] = added(0.0)
        places: list[str] = added([])

    before = tree("method=lora")
    before["method"].pop("blocks")

    def plain(**more: Any) -> dict[str, Any]:
        given = before | {"method": before["method"] | more}
        return from_dict(given, lambda name: Extended).as_dict()["method"]

    assert plain() == plain(dropout=0.0, places=[]) == from_dict(before, methods.get).as_dict()["method"]
    assert plain(dropout=0.5, places=["q"]) == before["method"] | {"dropout": 0.5, "places": ["q"]}
    with pytest.raises(UserError, match=r"method\.dropout: got 1\.5, must be below 1"):
        plain(dropout=1.5)


NASTY: list[Any] = [
    *("", " ", "x" * 300, "a\0b", "a\nb", "\ud800", "???", "1", b"x", "é", None, True),
    *(-1, 0, 2.0, 2**70, 10**400, 10**5000, 1e308, 5e-324, float("nan"), float("inf")),
    *([], {}, [[]], ["a", "a"], [float("nan")], {"a": 1}, {1: 2}),
]


def test_every_option_takes_a_value_or_refuses_it_in_a_line() -> None:
    """Texts that can be no name, and numbers that torch cannot count or that are none, are never taken."""
    taken: list[Any] = []
    for cls in (*SECTIONS.values(), Scalars, *map(methods.get, methods.names())):
        for field in dataclasses.fields(cls):
            for value in NASTY:
                problems = check_value(cls, field.name, value, "section")
                assert all("\n" not in problem and len(problem) < 1000 for problem in problems)
                taken += [] if problems else [value]
    for value in ("", " ", "x" * 300, "a\0b", "a\nb", "\ud800", "???", b"x", 10**400, 10**5000, float("inf")):
        assert value not in taken
    assert not any(isinstance(value, float) and value != value for value in taken)
