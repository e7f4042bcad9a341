"""The settings that the authors of Convpass and RepAdapter chose for each task of VTAB, through the configuration."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from aoft_bench.config.schema import RunConfig, conf_dir, from_dict

# JieShibo/PETL-ViT at 026e4f1, convpass/vtab/configs/convpass: scale, start of the kernel
CONVPASS: dict[str, tuple[float, str]] = {
    "cifar100": (0.1, "identity"),
    "caltech101": (1, "identity"),
    "dtd": (0.01, "xavier"),
    "flowers102": (0.1, "xavier"),
    "pets": (1, "xavier"),
    "svhn": (100, "xavier"),
    "sun397": (0.1, "identity"),
    "patch_camelyon": (10, "identity"),
    "eurosat": (10, "identity"),
    "resisc45": (10, "identity"),
    "retinopathy": (1, "identity"),
    "clevr_count": (1, "identity"),
    "clevr_distance": (0.1, "xavier"),
    "dmlab": (10, "identity"),
    "kitti": (10, "xavier"),
    "dsprites_location": (100, "xavier"),
    "dsprites_orientation": (0.1, "xavier"),
    "smallnorb_azimuth": (100, "xavier"),
    "smallnorb_elevation": (1, "xavier"),
}
# luogen1996/RepAdapter at 360992f, configs/repblock: scale
REPADAPTER: dict[str, float] = {
    "cifar100": 0.1,
    "caltech101": 5,
    "dtd": 1,
    "flowers102": 0.5,
    "pets": 0.1,
    "svhn": 10,
    "sun397": 0.1,
    "patch_camelyon": 1,
    "eurosat": 1,
    "resisc45": 5,
    "retinopathy": 0.1,
    "clevr_count": 0.5,
    "clevr_distance": 0.1,
    "dmlab": 5,
    "kitti": 5,
    "dsprites_location": 5,
    "dsprites_orientation": 0.1,
    "smallnorb_azimuth": 10,
    "smallnorb_elevation": 1,
}
METHODS = ("convpass", "repadapter")
EVERY = [(method, dataset) for method in METHODS for dataset in CONVPASS]


def configured(*overrides: str) -> RunConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        composed = compose(config_name="config", overrides=list(overrides))
    return from_dict(OmegaConf.to_container(composed, resolve=True))  # type: ignore[arg-type]


def files(method: str) -> list[Path]:
    return sorted((conf_dir() / "hparams" / method).glob("*.yaml"))


@pytest.mark.parametrize("method", METHODS)
def test_the_authors_tables_are_complete(method: str) -> None:
    assert CONVPASS.keys() == REPADAPTER.keys() and len(CONVPASS) == 19
    assert {path.stem for path in files(method)} >= CONVPASS.keys()


@pytest.mark.parametrize("dataset", CONVPASS)
def test_convpass_uses_its_authors_scale_and_start(dataset: str) -> None:
    config = configured("method=convpass", f"dataset={dataset}")
    expected = {"bottleneck": 8, "scale": CONVPASS[dataset][0], "positions": "both", "init": CONVPASS[dataset][1]}
    assert (config.dataset.name, config.method_name) == (dataset, "convpass")
    assert config.method_options == expected


@pytest.mark.parametrize("dataset", REPADAPTER)
def test_repadapter_uses_its_authors_scale(dataset: str) -> None:
    config = configured("method=repadapter", f"dataset={dataset}")
    assert (config.dataset.name, config.method_name) == (dataset, "repadapter")
    assert config.method_options == {"bottleneck": 8, "groups": 2, "scale": REPADAPTER[dataset]}


@pytest.mark.parametrize(("method", "dataset"), EVERY, ids=[f"{m}-{d}" for m, d in EVERY])
def test_the_recipe_is_the_authors_one_for_all_tasks(method: str, dataset: str) -> None:
    """train.py of both: AdamW and timm's cosine schedule, 100 epochs, no augmentation."""
    recipe = configured(f"method={method}", f"dataset={dataset}").recipe
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay) == (100, 64, 1e-3, 1e-4)
    assert (recipe.warmup_epochs, recipe.warmup_lr, recipe.min_lr) == (10, 1e-6, 1e-5)
    assert (recipe.drop_path, recipe.drop_path_kind, recipe.mlp_dropout) == (0.1, "sample", 0.0)
    assert (recipe.label_smoothing, recipe.flip) == (0.0, False)


@pytest.mark.parametrize("method", METHODS)
def test_the_header_names_the_file_of_the_authors(method: str) -> None:
    pinned = {"convpass": "JieShibo/PETL-ViT at 026e4f1", "repadapter": "luogen1996/RepAdapter at 360992f"}[method]
    for path in files(method):
        if path.stem in CONVPASS:
            text = path.read_text(encoding="utf-8")
            assert pinned in text and f"method={method} dataset={path.stem}\n" in text


@pytest.mark.parametrize("method", METHODS)
def test_the_command_line_and_hparams_none_win(method: str) -> None:
    words = (f"method={method}", "dataset=svhn")
    assert configured(*words, "method.scale=0.25").method_options["scale"] == 0.25
    plain = configured(*words, "hparams=none")
    assert (plain.method_options["scale"], plain.recipe.drop_path) == (1.0, 0.0)
