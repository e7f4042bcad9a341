"""A protocol is an entry of `records.protocols`, a name that the configuration allows, and a file in conf/protocol."""

import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from aoft_bench.config.folders import conf_dir
from aoft_bench.config.schema import ProtocolOptions
from aoft_bench.records.protocols import PROTOCOLS

ROOT = Path(__file__).resolve().parents[2]


def test_the_configuration_allows_these_names() -> None:
    assert set(get_args(get_type_hints(ProtocolOptions)["name"])) == set(PROTOCOLS)


def test_each_has_a_file_that_says_what_it_is_for_with_its_command() -> None:
    files = {path.stem: path.read_text("utf-8") for path in (conf_dir() / "protocol").glob("*.yaml")}
    assert files.keys() == PROTOCOLS.keys()
    for name, text in files.items():
        assert re.search(rf"^# .*\n#   python -m aoft_bench protocol={name}\b.*\nname: {name}\n$", text, re.MULTILINE)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_each_is_documented(name: str) -> None:
    assert f"\n| `{name}`" in (ROOT / "docs/concepts.md").read_text("utf-8")


def test_what_is_scored_is_not_trained_on() -> None:
    assert {(entry.train, entry.score) for entry in PROTOCOLS.values()} <= {
        ("train800val200", "test"),
        ("train800", "val200"),
        ("train800", "test"),
    }
    assert [name for name, entry in PROTOCOLS.items() if entry.best_test_epoch] == ["literature"]
