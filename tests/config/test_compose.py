"""The composer makes what Hydra makes of every file; jobs of sweeps; what cannot be composed."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from aoft_bench.config.compose import Composer, jobs_of, parse_override
from aoft_bench.config.schema import conf_dir
from aoft_bench.utils.errors import UserError

CONF = conf_dir()
SWEEPS = CONF.parent / "sweeps"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """conf/ and sweeps/ in one folder, for Hydra: sweeps start from one another and from conf/config.yaml."""
    folder = tmp_path_factory.mktemp("both") / "conf"
    shutil.copytree(CONF, folder)
    for path in SWEEPS.glob("*.yaml"):
        shutil.copy(path, folder)
    return folder


def by_hydra(folder: Path, name: str, words: list[str]) -> str:
    """The tree as text, so that the order of names counts too."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(folder)):
        return OmegaConf.to_yaml(compose(config_name=name, overrides=words), resolve=True)


def text_of(tree: dict[str, Any]) -> str:
    return OmegaConf.to_yaml(OmegaConf.create(tree))


# each group, each rule of defaults lists, and each kind of override
WORDS = [
    [],
    ["dataset=dtd", "method=aoft"],
    ["dataset=dtd", "method=lora_matched", "seed=3"],
    ["method=adapter_matched", "hparams=none"],
    ["method=peft", "name=oft", "+method.options.lora_alpha=16"],
    ["hparams=embedded", "method=aoft", "dataset=digits"],
    ["hparams=short/aoft", "method=aoft", "dataset=digits"],
    ["hparams=aoft/dtd", "method=aoft"],
    ["~hparams", "method=aoft", "dataset=dtd"],
    ["experiment=quick", "backbone=vit_nano"],
    ["experiment=aoft_released", "dataset=pets", "recipe.epochs=3"],
    ["trainer=cpu", "logger=none", "protocol=tune", "trainer.threads=1"],
    ["recipe.lr=1", "recipe.drop_path=0", "recipe.flip=true", "data.root=null", "method.targets=[q]"],
    ["results.root='a, b'", "recipe.lr=${recipe.min_lr}", "backbone.img_size=32"],
]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_a_command_line_is_composed_as_by_hydra(words: list[str]) -> None:
    assert text_of(Composer().compose("config", words)) == by_hydra(CONF, "config", words)


@pytest.mark.parametrize("name", sorted(path.stem for path in SWEEPS.glob("*.yaml")))
def test_a_sweep_is_composed_as_by_hydra(name: str, both: Path) -> None:
    """Its last job, which has the last value of each name."""
    composer = Composer([SWEEPS])
    job = jobs_of(composer.sweep_params(name), [])[-1]
    assert text_of(composer.compose(name, job)) == by_hydra(both, name, job)


def test_conf_wins_over_a_further_folder(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    for name in ("lora", "mine"):
        (tmp_path / f"method/{name}.yaml").write_text("# @package _global_\nmethod: {name: lora, rank: 77}\n")
    composer = Composer([tmp_path])
    assert composer.compose("config", ["method=lora"])["method"]["rank"] == 8
    assert composer.compose("config", ["method=mine"])["method"] == {"name": "lora", "rank": 77}
    assert "mine" in composer.choices("method") and "mine" not in Composer().choices("method")


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("defaults: [config, _self_]\nrecipe: {epochs: 3}\n")
    assert Composer([tmp_path]).compose("mine")["recipe"]["epochs"] == 3
    (tmp_path / "mine.yaml").write_text("defaults: [config, _self_]\nrecipe: {epochs: 44}\n")
    assert Composer([tmp_path]).compose("mine")["recipe"]["epochs"] == 44


def test_trees_do_not_share_values() -> None:
    composer = Composer()
    composer.compose("config", ["method=lora"])["method"]["targets"].append("fc1")
    assert composer.compose("config", ["method=lora"])["method"]["targets"] == ["q", "v"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dataset=cifar10"], "unknown dataset 'cifar10' (did you mean 'cifar100'?)"),
        (["recipe.lrr=1"], "Could not override 'recipe.lrr'"),
        (["recipe.lr=${nothing}"], "'nothing' not found"),
        (["recipe.lr"], "cannot read the argument 'recipe.lr'"),
        (["hparams@nowhere=none"], "no defaults list has 'hparams@nowhere'"),
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
        ("- a", "no names"),
        ("defaults: [[a]]", "has an entry"),
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
