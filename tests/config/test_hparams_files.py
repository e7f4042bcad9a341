"""Files of conf/hparams hold options of the method and the recipe, and can start nothing."""

from pathlib import Path

import pytest
from conftest import Command

from aoft_bench.config.folders import conf_dir
from aoft_bench.config.hparams_files import check_hparams_files, hparams_problem

HOSTILE = """# @package _global_
recipe:
  lr: 0.1
hydra:
  callbacks:
    mine:
      _target_: pathlib.Path.touch
      self: {_target_: pathlib.Path, _args_: [started]}
"""


@pytest.mark.parametrize(
    "text", ["", "{}\n", "recipe:\n", "method:\n  o: {a: [1]}\n", "# @package _global_\n# a\n\nrecipe:\n  lr: 1e-3\n"]
)
def test_options_are_right(text: str) -> None:
    assert hparams_problem(text) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (HOSTILE, "holds 'hydra'"),
        ("# @package _global_\n# a comment\x85hydra: {}\n", "holds 'hydra'"),
        ("# @package hydra.callbacks.mine\nrecipe:\n  lr: 1\n", "says '# @package hydra.callbacks.mine'"),
        ("\n   #  @package hydra\nrecipe:\n  lr: 1\n", "says '#  @package hydra'"),
        ("defaults: [/hydra/launcher: joblib]\n", "holds 'defaults'"),
        ("<<: {hydra: {}}\n", "holds 'hydra'"),
        ("data:\n  root: elsewhere\n", "holds 'data'"),
        ("recipe: 3\n", "holds 'recipe'"),
        ("- recipe\n", "holds list"),
        ("method:\n  o: [{_target_: x}]\n", "holds '_target_' in method"),
        ("method:\n  name: full\n", "gives method.name"),
        ("method:\n  label: full\n", "gives method.label"),
    ],
)
def test_everything_else_is_refused(text: str, why: str) -> None:
    assert why in str(hparams_problem(text))


def test_ours_are_right_and_nearly_all_need_no_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    monkeypatch.setattr("yaml.load", lambda text, _: parsed.append(text))
    check_hparams_files([conf_dir()])
    assert len(parsed) < 10


def test_it_is_refused_before_hydra_reads_it(tmp_path: Path, cli: Command) -> None:
    (tmp_path / "elsewhere/linear").mkdir(parents=True)
    (tmp_path / "elsewhere/linear/digits.yaml").write_text(HOSTILE, "utf-8")
    (tmp_path / "mine/hparams").mkdir(parents=True)
    (tmp_path / "mine/hparams/tuned").symlink_to(tmp_path / "elsewhere")
    done = cli("-cd", "mine", "method=linear", "dataset=digits", "hparams=tuned", "backbone=vit_nano", "dry_run=true")
    assert done.code == 2 and not (tmp_path / "started").exists()
    assert done.err == (
        "aoft_bench: mine/hparams/tuned/linear/digits.yaml holds 'hydra'; files of hparams may hold options of method "
        "and recipe; remove that, or give it in a file of conf/experiment\n"
    )
    (tmp_path / "more.yaml").write_text("defaults: [config, _self_]\nhydra: {searchpath: [file://mine]}\n", "utf-8")
    done = cli("-cd", ".", "-cn", "more", "hparams=none", "dry_run=true")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "more.yaml: hydra.searchpath is not searched: give a folder of configurations by -cd" in done.err
