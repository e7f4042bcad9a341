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
    """From the command line, a file of one's own and the parameters of a sweep; the line does not hold the secret."""
    monkeypatch.setenv("SECRET", "hunter2")
    defaults = "defaults: [config, _self_]\n"
    (tmp_path / "mine.yaml").write_text(f"{defaults}data:\n  root: ${{oc.env:SECRET}}\n", "utf-8")
    params = "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      data.root: ${oc.env:SECRET},b\n"
    (tmp_path / "sweep.yaml").write_text(defaults + params, "utf-8")
    for name, given in (
        ("data.root", ["data.root=${oc.env:SECRET}", "dry_run=true"]),
        ("data.root", ["-cd", ".", "-cn", "mine"]),
        ("hydra.sweeper.params.data.root", ["-cd", ".", "-cn", "sweep"]),
    ):
        for command in ([], ["status"]):
            done = cli(*command, *given)
            assert done.code == 2 and "hunter2" not in done.err, (command, done.err)
            assert done.err.startswith(f"aoft_bench: {name}: got '${{oc.env:SECRET}}"), done.err
            assert done.err.count("\n") == 1
