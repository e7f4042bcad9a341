"""Every file of conf/ and sweeps/ composes, is checked, and says what it is for; who wins over whom."""

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from aoft_bench import methods
from aoft_bench.backbones.choice import completed
from aoft_bench.config import choices
from aoft_bench.config.added_options import added_options, without_added
from aoft_bench.config.compose import Composer
from aoft_bench.config.folders import conf_dir
from aoft_bench.config.schema import SECTIONS, RunConfig, Scalars, from_dict
from aoft_bench.utils.errors import UserError

CONF = conf_dir()
SWEEPS = CONF.parent / "sweeps"
GROUPS = ("dataset", "backbone", "method", "protocol", "trainer", "logger", "experiment", "hparams")
# a file of hparams that starts from no other: of those in one folder the first is composed, see PLAIN_FOLDERS
PLAIN = re.compile(r"# @package _global_\n(?:#.*\n)*(?:(?:method|recipe):\n(?:(?:  |#).*\n)+)+")


def plain_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.yaml")) if PLAIN.fullmatch(path.read_text("utf-8"))]


PLAIN_FOLDERS = [path for path in sorted((CONF / "hparams").rglob("*")) if path.is_dir() and len(plain_files(path)) > 1]
ALIKE = {path for folder in PLAIN_FOLDERS for path in plain_files(folder)[1:]}
CHOICES = [
    (group, str(path.relative_to(CONF / group).with_suffix("")))
    for group in GROUPS
    for path in sorted((CONF / group).rglob("*.yaml"))
    if path not in ALIKE
    and '"refused: ' not in path.read_text("utf-8")  # select's, which refuse: tests/test_select_whole_way.py
]
ADDED = added_options(Path(methods.__file__).parent)
FILES = sorted([*CONF.rglob("*.yaml"), *SWEEPS.glob("*.yaml")])


def tree(*overrides: str, name: str = "config") -> dict[str, Any]:
    """The composed configuration as plain dictionaries."""
    return Composer([SWEEPS]).compose(name, overrides)


@functools.cache
def tree_of_method(choice: str) -> dict[str, Any]:
    """That of a method without settings for the default dataset, which nobody may change."""
    return tree(f"method={choice}", "hparams=none")


def config_of(*overrides: str, name: str = "config") -> RunConfig:
    """The checked configuration."""
    return from_dict(completed(tree(*overrides, name=name)), methods.get)


def test_all_groups_were_found() -> None:
    assert {group for group, _ in CHOICES} >= set(GROUPS) - {"experiment"}
    assert {path.name for path in CONF.iterdir() if path.is_dir()} <= {*GROUPS, "hydra"}


def words_of_hparams(choice: str) -> list[str]:
    """The method and dataset whose cells use a file of hparams by its place."""
    *budget, method, dataset = choice.split("/")  # or a budget and a method
    of_all = not budget and method in ("full", "short")
    return [f"method={dataset}"] if of_all else [f"method={method}", f"dataset={dataset}"]


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=["/".join(c) for c in CHOICES])
def test_every_choice_composes_and_is_valid(group: str, choice: str) -> None:
    # what a file of hparams stands for is applied to its own method and dataset
    words = [f"{group}={choice}"]
    if group == "hparams" and "/" in choice:
        words += words_of_hparams(choice)
    if (group, choice) == ("backbone", "timm"):
        words.append("backbone.timm=vit_tiny_patch16_224.augreg_in21k")
    composed = tree_of_method(choice) if group == "method" else tree(*words)
    config = from_dict(completed(composed), methods.get)
    assert isinstance(config, RunConfig)
    if group in ("dataset", "protocol", "logger"):
        assert getattr(config, group).name == choice
    if group == "method":
        name, options = choices.read(choice)
        assert (config.method.name, dataclasses.asdict(config.method.options)) == (name, {"blocks": "all"} | options)
        assert config.method.label == choice or name == "peft"
        # `status` makes the same hashes without importing torch
        assert from_dict(without_added(composed, ADDED)).as_dict() == config.as_dict()


@pytest.mark.parametrize("folder", PLAIN_FOLDERS, ids=lambda path: str(path.relative_to(CONF / "hparams")))
def test_every_other_file_of_a_folder_is_valid(folder: Path) -> None:
    """Its values put into a composed tree, which takes a thirtieth of composing; the dataset's file is its name."""
    for path in plain_files(folder)[1:]:
        method, *dataset = words_of_hparams(str(path.relative_to(CONF / "hparams").with_suffix("")))
        assert (CONF / "dataset" / f"{path.stem}.yaml").is_file() == bool(dataset)
        base = tree_of_method(method.removeprefix("method="))
        values: Any = OmegaConf.to_container(OmegaConf.load(path))
        merged = base | {name: base[name] | given for name, given in values.items()}
        config = from_dict(completed(merged), methods.get)
        assert {name: getattr(config.recipe, name) for name in values.get("recipe", {})} == values.get("recipe", {})


@pytest.mark.parametrize("name", [path.stem for path in sorted(SWEEPS.glob("*.yaml")) if "reproduce_" not in path.stem])
def test_every_sweep_composes(name: str) -> None:  # those for published rows: tests/results/test_reproduction.py
    assert isinstance(config_of(name=name), RunConfig)


def test_sections_of_the_yaml_are_the_dataclasses() -> None:
    found = tree()
    assert set(found) == {*SECTIONS, "method", *(f.name for f in dataclasses.fields(Scalars))}
    for name, cls in SECTIONS.items():
        assert set(found[name]) == {f.name for f in dataclasses.fields(cls)}, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_opens_with_its_purpose_and_command(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = []
    for line in lines:
        if not line.startswith("#"):
            break
        comments.append(line)
    if comments and comments[0].startswith("# @package"):
        comments.pop(0)
    assert len(comments) >= 2
    assert re.match(r"# \S.{20,}", comments[0]), "the first line says what it is for"
    assert any(re.match(r"#   (python -m aoft_bench|aoft-bench)\b", line) for line in comments[1:]), (
        "a later one is its command"
    )


# batch size, lr, dropout rate of the branches, weight decay, flip: spec/aoft.md, "Training recipe of the authors' code"
AUTHORS: dict[str, tuple[int, float, float, float, bool]] = {
    "cifar100": (32, 1e-2, 0.5, 5e-1, False),
    "caltech101": (32, 3e-3, 0.3, 5e-5, False),
    "dtd": (32, 3e-3, 0.2, 5e-4, True),
    "flowers102": (32, 5e-3, 0.3, 5e-2, False),
    "pets": (32, 1e-3, 0.3, 5e-5, True),
    "svhn": (32, 5e-3, 0.3, 5e-5, False),
    "sun397": (32, 5e-3, 0.3, 5e-5, False),
    "patch_camelyon": (32, 1e-4, 0.3, 5e-4, True),
    "eurosat": (32, 3e-4, 0.1, 5e-3, True),
    "resisc45": (32, 2e-3, 0.2, 5e-3, False),
    "retinopathy": (16, 3e-4, 0.1, 5e-4, True),
    "clevr_count": (16, 1e-3, 0.5, 5e-4, True),
    "clevr_distance": (32, 5e-3, 0.2, 5e-4, True),
    "dmlab": (32, 3e-3, 0.2, 5e-5, True),
    "kitti": (32, 1e-2, 0.2, 5e-4, True),
    "dsprites_location": (16, 5e-3, 0.1, 5e-4, False),
    "dsprites_orientation": (16, 3e-3, 0.1, 5e-4, False),
    "smallnorb_azimuth": (32, 3e-4, 0.5, 5e-1, False),
    "smallnorb_elevation": (32, 5e-3, 0.2, 5e-4, True),
}


def test_the_authors_table_is_complete() -> None:
    assert {path.stem for path in (CONF / "hparams" / "aoft_released").glob("*.yaml")} == set(AUTHORS)


@pytest.mark.parametrize("dataset", AUTHORS)
def test_aoft_released_uses_the_authors_recipe(dataset: str) -> None:
    config = config_of("experiment=aoft_released", f"dataset={dataset}")
    recipe, options = config.recipe, config.method.options
    assert (options.constant, options.init, options.lambda_lr, options.lambda_decay) == ("released", "released", 1, 1)
    found = (recipe.batch_size, recipe.lr, recipe.drop_path, recipe.weight_decay, recipe.flip)
    assert found == AUTHORS[dataset]
    assert (recipe.epochs, recipe.cooldown_epochs) == (110, 10)
    assert (recipe.warmup_epochs, recipe.warmup_lr, recipe.min_lr) == (10, 1e-7, 1e-8)
    assert (recipe.drop_path_kind, recipe.mlp_dropout, recipe.label_smoothing) == ("element", 0.1, 0.0)


def test_the_methods_own_recipe_holds_for_every_task_without_a_file() -> None:
    own = OmegaConf.load(CONF / "method" / "aoft.yaml").recipe
    recipe = config_of("method=aoft", "dataset=cifar100").recipe
    assert {name: getattr(recipe, name) for name in own} == dict(own)
    assert recipe == config_of("method=aoft", "dataset=digits", "hparams=none").recipe
    assert recipe != config_of("method=aoft", "dataset=digits").recipe
    assert config_of("experiment=aoft_released", "dataset=shapes_count").recipe.lr == own.lr


def test_lora_of_aofts_size_is_regularised_as_aoft_is() -> None:
    names = ("weight_decay", "drop_path", "drop_path_kind", "mlp_dropout", "flip")
    aoft, lora = (config_of(f"method={name}", "dataset=cifar100").recipe for name in ("aoft", "lora_matched"))
    assert [getattr(aoft, name) for name in names] == [getattr(lora, name) for name in names]


def test_a_set_has_a_file_for_each_method_and_dataset() -> None:
    words = ("dataset=digits", "method=lora")
    assert config_of(*words, "hparams=embedded") == config_of(*words, "hparams=embedded/lora/digits")


def test_warm_up_and_cool_down_leave_epochs_between_them() -> None:
    text = r"recipe\.cooldown_epochs: got 10 and 10 of warm-up in 20 epochs, must be fewer together"
    words = ("recipe.epochs=20", "recipe.warmup_epochs=10", "recipe.cooldown_epochs=10")
    with pytest.raises(UserError, match=text):
        config_of("experiment=aoft_released", *words)


def test_another_method_does_not_get_aofts_recipe() -> None:
    assert config_of("method=lora", "dataset=cifar100").recipe.mlp_dropout == 0.0


def test_the_command_line_wins() -> None:
    recipe = config_of("method=aoft_released", "dataset=cifar100", "recipe.lr=0.25").recipe
    assert (recipe.lr, recipe.weight_decay) == (0.25, 5e-1)


def test_defaults_are_the_real_thing() -> None:
    config = config_of()
    assert (config.method.name, config.dataset.name, config.protocol.name) == ("aoft", "cifar100", "clean")
    assert config.backbone.timm == "vit_base_patch16_224.orig_in21k"


def test_a_configuration_survives_a_record() -> None:
    """evaluate reads it back from JSON."""
    config = config_of("method=aoft", "dataset=dtd")
    assert from_dict(config.as_dict(), methods.get) == config
