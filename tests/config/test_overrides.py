"""Whatever is typed after the command is read or refused by a `UserError`: no other exception reaches a user."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aoft_bench import methods
from aoft_bench.config.command_line import quoted, read_command_line
from aoft_bench.config.compose import parse_override
from aoft_bench.config.folders import sweeps_dir
from aoft_bench.config.schema import RunConfig, from_dict
from aoft_bench.utils.errors import UserError

# the characters of Hydra's grammar, and some that are outside of it
typed = st.text(alphabet=" ab01.,=:+~@/\\'\"()[]{}$|*?#-_\n\té\x00", max_size=20)
names = st.sampled_from(
    [
        *("method", "dataset", "backbone", "protocol", "trainer", "seed", "dry_run", "label", "name", "hydra.run.dir"),
        *("method.rank", "method.targets", "method.name", "method.label", "recipe.lr", "recipe.epochs", "recipe"),
        *("data.root", "trainer.threads", "hparams", "experiment", "recipe.lr.x", "nothing", "no.thing", "backbone.x"),
    ]
)
values = st.one_of(
    st.sampled_from(
        [
            *("lora", "aoft", "digits", "vit_nano", "null", "true", "1", "-1", "1e-3", "1e400", "nan", "'1'", "[q,v]"),
            *("[q,q]", "[]", "{}", "{a:1}", "a,b", "range(3)", "range(1,3)", "choice(1,2)", "interval(0,1)", "glob(*)"),
            *("${seed}", "${nothing}", "${seed", "shuffle(1,2)", "sort(2,1)", "int(1.5)", "float(a)", "???", "1" * 400),
            *("~/x", "päck", "range(0,1e12)", "range(3,1)", "range(0,9,0)", "range(0,0.5,0)", "1" * 5000),
        ]
    ),
    typed,
)
marks = st.sampled_from(["", "", "+", "++", "~"])
words = st.one_of(typed, st.builds("{}{}={}".format, marks, names, values))


@given(word=words)
@settings(max_examples=300)
def test_a_word_is_read_or_refused(word: str) -> None:
    try:
        override = parse_override(word)
    except UserError as error:
        assert str(error)
    else:
        assert override.input_line == word


def test_what_hydra_cannot_read_is_quoted_unless_it_may_be_grammar() -> None:
    as_typed = ["recipe.lr=1e-3", "seed=0,1", "method.targets=[q,v]", "recipe.lr=${seed}", "seed=a(ä)", "x='~'", "~x"]
    assert [quoted(word) for word in as_typed] == as_typed
    assert quoted("data.root=~/a b") == "data.root='~/a b'"
    assert quoted("data.root=päck,b,a=b") == "data.root='päck',b,'a=b'"
    for word in ("data.root=~/päck", "data.root=a=b;c#d", "data.root=!&<>"):
        assert parse_override(quoted(word)).value() == word.partition("=")[2]


@pytest.mark.parametrize(
    "given", [["-cd", "sweeps"], ["--config-dir", "sweeps"], ["--config-dir=sweeps"], ["-cd=sweeps"]]
)
def test_the_sweeps_of_the_package_are_found_where_there_is_no_such_folder(
    given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = read_command_line([*given, "-cn", "demo"], methods.get)
    assert line.folder == sweeps_dir() and (sweeps_dir() / "demo.yaml").is_file()
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text("seed: 1\n")
    assert read_command_line([*given, "-cn", "mine"], methods.get).folder == Path("sweeps") == sweeps_dir()


@given(arguments=st.lists(words, min_size=1, max_size=3))
@settings(max_examples=60)
@example(arguments=["method=lora", "method.rank=2"])
def test_a_command_line_is_composed_and_checked_or_refused(arguments: list[str]) -> None:
    with contextlib.suppress(UserError):
        line = read_command_line(arguments, methods.get)
        tree = line.composer.compose(line.name, line.words)
        assert isinstance(from_dict(tree, methods.get), RunConfig)
