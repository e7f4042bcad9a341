"""Which file and which word wins; jobs of sweeps; what cannot be composed."""

from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.object_type import ObjectType
from hypothesis import given
from hypothesis import strategies as st

from aoft_bench.config.compose import Composer, first_of_each_choice, jobs_of, parse_override
from aoft_bench.config.folders import conf_dir
from aoft_bench.config.parsed_files import ParsedFiles
from aoft_bench.utils.errors import UserError


def test_conf_wins_over_a_further_folder(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    for name in ("lora", "mine"):
        (tmp_path / f"method/{name}.yaml").write_text("# @package _global_\nmethod: {name: lora, rank: 77}\n")
    composer = Composer([tmp_path])
    assert composer.compose("config", ["method=lora"])["method"]["rank"] == 8
    assert composer.compose("config", ["method=mine"])["method"] == {"blocks": "all", "name": "lora", "rank": 77}
    assert "mine" in composer.choices("method") and "mine" not in Composer().choices("method")


def test_jobs_are_composed_as_one_by_one_also_by_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other values may stand for one that a job gives, with which a composition is shared."""
    (tmp_path / "mine.yaml").write_text("defaults: [config, _self_]\nresults: {root: 'seed ${seed}'}\n")
    monkeypatch.setattr("aoft_bench.config.compose.MANY", 2)
    monkeypatch.setattr("aoft_bench.config.compose.cores", lambda: 2)
    composer, jobs = Composer([tmp_path]), jobs_of({}, ["method=aoft,lora", "seed=0,7", "dataset=dtd"])
    jobs += [
        ["method=peft", "method.tuner=oft", "data.root=null", "data.cache='a, b'", "recipe.lr=3"],
        ["recipe={lr: 5}", "recipe.lr=7"],
        ["recipe.lr=7", "recipe={lr: 5}"],
        ["data.cache=${results.root}", "++recipe.lr=7", "recipe.flip=true"],
    ]
    trees = list(composer.compose_jobs("mine", jobs))
    assert trees == [composer.compose("mine", job) for job in jobs]
    assert [tree["results"]["root"] for tree in trees[:4]] == ["seed 0", "seed 7"] * 2
    assert len({id(tree["recipe"]) for tree in trees}) == len(jobs)  # each has its own
    with pytest.raises(UserError, match=r"Could not override 'recipe\.lrr'"):
        list(composer.compose_jobs("mine", [["seed=1"], ["seed=1", "recipe.lrr=1"]]))


def test_thousands_of_jobs_are_composed_once_for_each_choice_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[list[str]] = []

    def compose(composer: Composer, name: str, words: list[str]) -> dict[str, Any]:
        composed.append(words)
        return {"seed": 0, "recipe": {"lr": 0.1}}

    monkeypatch.setattr(Composer, "compose_unresolved", compose)
    jobs = jobs_of({"method": "aoft,lora", "dataset": "dtd,pets"}, ["recipe.lr=1,2,3,4,5", "seed=range(100)"])
    trees = Composer().compose_jobs("config", jobs)
    assert [(tree["recipe"]["lr"], tree["seed"]) for tree in trees][-1] == (5, 99)
    assert composed == [[f"method={m}", f"dataset={d}"] for m in ("aoft", "lora") for d in ("dtd", "pets")]
    assert first_of_each_choice(jobs, ["dataset", "method", "backbone"]) == [jobs[0], jobs[500], jobs[1000]]
    assert first_of_each_choice([["seed=0"], ["seed=1"]], ["method"]) == [["seed=0"]]


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("defaults: [config]\nrecipe: {epochs: 3}\n")
    assert Composer([tmp_path]).compose("mine")["recipe"]["epochs"] == 3
    (tmp_path / "mine.yaml").write_text("defaults: [config, _self_]\nrecipe: {epochs: 44}\n")
    assert Composer([tmp_path]).compose("mine")["recipe"]["epochs"] == 44


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dataset=cifar10"], "unknown dataset 'cifar10' (did you mean 'cifar100'?)"),
        (["recipe.lrr=1"], "Could not override 'recipe.lrr'"),
        (["recipe.lr=${nothing}"], "'nothing' not found"),
        (["recipe.lr"], "cannot read the argument 'recipe.lr'"),
        (["hparams@nowhere=none"], "Could not override 'hparams@nowhere'"),
    ],
)
def test_what_cannot_be_composed(words: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        Composer().compose("config", words)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "is not YAML"),
        ("- a", "must be a DictConfig, got ListConfig"),
        ("defaults: [[a]]", "Unsupported type in defaults"),
        ("defaults: [confg]", "did you mean 'config'"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        Composer([tmp_path]).compose("mine")


def test_the_jobs_of_a_sweep_and_what_the_command_line_changes() -> None:
    params = {"method": "aoft,lora", "seed": "0,1"}
    assert jobs_of(params, []) == [
        ["method=aoft", "seed=0"],
        ["method=aoft", "seed=1"],
        ["method=lora", "seed=0"],
        ["method=lora", "seed=1"],
    ]
    assert jobs_of(params, ["method=full", "recipe.epochs=3"]) == [
        ["method=full", "seed=0", "recipe.epochs=3"],
        ["method=full", "seed=1", "recipe.epochs=3"],
    ]
    assert jobs_of({}, ["seed=range(0,3)"]) == [["seed=0"], ["seed=1"], ["seed=2"]]
    assert jobs_of({}, ["method.targets=[q,v],[fc1]"]) == [["method.targets=[q,v]"], ["method.targets=[fc1]"]]


@pytest.mark.parametrize("word", ["method=glob(*)", "recipe.lr=interval(0,1)"])
def test_a_sweep_lists_its_values(word: str) -> None:
    with pytest.raises(UserError, match="give the values one by one"):
        jobs_of({}, [word])


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text("abcdefghijklmnopqrstuvwxyz_/", min_size=1).filter(lambda text: text not in ("null", "true", "false")),
)


@given(st.one_of(PLAIN, st.lists(PLAIN, max_size=4)))
def test_a_value_is_read_as_it_was_written(value: Any) -> None:
    def written(item: Any) -> str:
        if isinstance(item, list):
            return f"[{','.join(map(written, item))}]"
        return "null" if item is None else str(item).lower() if isinstance(item, bool) else str(item)

    override = parse_override(f"recipe.lr={written(value)}")
    assert (override.key_or_group, override.value()) == ("recipe.lr", value)
    assert type(override.value()) is type(value)


@given(st.lists(st.sampled_from(["1", "2.5", "a", "[q,v]"]), min_size=1, max_size=3), st.integers(1, 3))
def test_the_jobs_are_the_product_of_all_values(values: list[str], seeds: int) -> None:
    jobs = jobs_of({"x": ",".join(values)}, [f"seed={','.join(map(str, range(seeds)))}"])
    assert jobs == [[f"x={value}", f"seed={seed}"] for value in values for seed in range(seeds)]


def test_files_are_listed_and_loaded_as_by_hydra_itself() -> None:
    ours = ParsedFiles("main", f"parsed://{conf_dir()}")
    theirs = FileConfigSource("main", f"file://{conf_dir()}")
    for path in ("", "method", "hparams/aoft", "hydra", "nothing", "config", "method/lora"):
        assert (ours.is_group(path), ours.is_config(path)) == (theirs.is_group(path), theirs.is_config(path))
        if ours.is_group(path):
            for kind in (None, ObjectType.GROUP, ObjectType.CONFIG):
                assert ours.list(path, kind) == theirs.list(path, kind)
    loaded = ours.load_config("method/lora_matched")
    whole = theirs.load_config("method/lora_matched").config
    assert whole.pop("title") == "LoRA r=1"  # no option of a run
    assert (loaded.config, loaded.header) == (whole, {"package": "_global_"})
    loaded.config.clear()
    assert ours.load_config("method/lora_matched").config
