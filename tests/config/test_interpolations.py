"""Values that refer to others; those that another time or place would change are refused."""

from pathlib import Path

import pytest
from conftest import Command

from aoft_bench.config.interpolations import interpolation_problem, resolved
from aoft_bench.utils.errors import UserError


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:SECRET}",
        "${ oc.env : SECRET, none}",
        "a ${oc.env:SECRET} b",
        "${oc.select:a,${oc.env:SECRET}}",
        "${${a}:SECRET}",
        "${oc.${b}:SECRET}",
        "${oc.${b}select:SECRET}",
        "${oc.decode:'$'{oc.env:SECRET}}",
        "${now:%Y}",
        "${hydra:runtime.cwd}",
        "${python_version:}",
        "${a",
    ],
)
def test_what_another_place_or_time_would_change_is_refused(value: str) -> None:
    assert str(interpolation_problem("recipe.lr", value)).startswith(f"recipe.lr: got {value!r}, which can have")
    with pytest.raises(UserError, match=r"method\.o\.0: got"):
        resolved({"method": {"o": [value]}})


def test_references_are_resolved() -> None:
    tree = {"a": {"b": 2, "c": "${a.b}", "d": "${oc.select:a.x,${.b}}", "e": "${a.${k}}"}, "k": "b", "f": "$b {}"}
    assert resolved(tree) == {"a": {"b": 2, "c": 2, "d": 2, "e": 2}, "k": "b", "f": "$b {}"}
    assert tree["k"] == "b" and "${a.b}" in str(tree)


def test_the_environment_is_not_read(tmp_path: Path, cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command line and from a file of one's own; in one line that does not hold the secret."""
    monkeypatch.setenv("SECRET", "hunter2")
    (tmp_path / "mine.yaml").write_text("defaults: [config, _self_]\ndata:\n  root: ${oc.env:SECRET}\n", "utf-8")
    for words in (["data.root=${oc.env:SECRET}"], ["-cd", ".", "-cn", "mine"]):
        for command in ([], ["status"]):
            done = cli(*command, *words, *(["dry_run=true"] if words[0] != "-cd" else []))
            assert done.code == 2 and "hunter2" not in done.err, (command, done.err)
            assert done.err.startswith("aoft_bench: data.root: got '${oc.env:SECRET}', which can have"), done.err
            assert done.err.count("\n") == 1
