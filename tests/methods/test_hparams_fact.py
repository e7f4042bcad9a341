"""What the authors of FacT and Bi-LoRA use for the 19 tasks of VTAB is what a run gets."""

from statistics import fmean

import pytest
from test_config import CONF, tree

from aoft_bench import methods
from aoft_bench.config.schema import from_dict
from aoft_bench.methods import Shape

# (rank, scale) of FacT-TK, (rank, scale) of FacT-TT, scale of Bi-LoRA at rank 32: JieShibo/PETL-ViT at 026e4f1,
# FacT/configs/tk, FacT/configs/tt and binary_adapter/configs/lora
AUTHORS: dict[str, tuple[tuple[int, float], tuple[int, float], float]] = {
    "cifar100": ((32, 0.1), (8, 1.0), 0.1),
    "caltech101": ((32, 10.0), (16, 10.0), 10.0),
    "dtd": ((16, 0.01), (8, 0.01), 0.01),
    "flowers102": ((32, 1.0), (16, 1.0), 1.0),
    "pets": ((16, 10.0), (8, 1.0), 0.1),
    "svhn": ((32, 100.0), (16, 100.0), 10.0),
    "sun397": ((16, 1.0), (8, 1.0), 0.1),
    "patch_camelyon": ((32, 10.0), (8, 10.0), 10.0),
    "eurosat": ((32, 100.0), (8, 100.0), 10.0),
    "resisc45": ((32, 10.0), (8, 0.1), 10.0),
    "retinopathy": ((16, 1.0), (8, 1.0), 10.0),
    "clevr_count": ((32, 10.0), (16, 1.0), 1.0),
    "clevr_distance": ((16, 10.0), (4, 10.0), 0.1),
    "dmlab": ((32, 10.0), (16, 10.0), 10.0),
    "kitti": ((32, 10.0), (16, 10.0), 10.0),
    "dsprites_location": ((32, 100.0), (16, 100.0), 1.0),
    "dsprites_orientation": ((32, 1.0), (16, 1.0), 0.1),
    "smallnorb_azimuth": ((32, 100.0), (16, 100.0), 10.0),
    "smallnorb_elevation": ((16, 10.0), (8, 10.0), 1.0),
}
METHODS = ("fact_tk", "fact_tt", "bi_lora")
VIT_B = Shape(depth=12, width=768, hidden=3072)


def authors(method: str, dataset: str) -> tuple[int, float]:
    """(rank, scale) of the table above."""
    tucker, tensor_train, binary = AUTHORS[dataset]
    return {"fact_tk": tucker, "fact_tt": tensor_train, "bi_lora": (32, binary)}[method]


@pytest.mark.parametrize("method", METHODS)
def test_the_table_is_complete(method: str) -> None:
    assert len(AUTHORS) == 19
    assert {path.stem for path in (CONF / "hparams" / method).glob("*.yaml")} >= set(AUTHORS)


@pytest.mark.parametrize("dataset", AUTHORS)
@pytest.mark.parametrize("method", METHODS)
def test_a_run_gets_the_authors_settings(method: str, dataset: str) -> None:
    config = from_dict(tree(f"method={method}", f"dataset={dataset}"))
    options, recipe = config.method_options, config.recipe
    assert (options["rank"], options["scale"]) == authors(method, dataset)
    assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay) == (100, 64, 1e-3, 1e-4)
    assert (recipe.warmup_epochs, recipe.warmup_lr, recipe.min_lr) == (10, 1e-6, 1e-5)
    assert (recipe.drop_path, recipe.drop_path_kind, recipe.mlp_dropout) == (0.1, "sample", 0.0)
    assert (recipe.flip, recipe.label_smoothing) == (False, 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_without_hparams_the_methods_own_options_hold(method: str) -> None:
    config = from_dict(tree(f"method={method}", "dataset=clevr_distance", "hparams=none"))
    defaults = methods.build(method, {})
    assert config.method_options["rank"] == defaults.rank != 4  # type: ignore[attr-defined]
    assert config.method_options["scale"] == defaults.scale  # type: ignore[attr-defined]
    assert (config.recipe.batch_size, config.recipe.drop_path) == (from_dict(tree("hparams=none")).recipe.batch_size, 0)


@pytest.mark.parametrize(("method", "mean"), [("fact_tk", 68_985), ("fact_tt", 39_734)])
def test_mean_size_over_the_tasks(method: str, mean: int) -> None:
    """FacT's table prints 0.069 M for Tucker, which is this mean; 0.037 M for tensor-train, which is not."""
    counts = [methods.build(method, {"rank": authors(method, dataset)[0]}).count(VIT_B) for dataset in AUTHORS]
    assert round(fmean(count for count in counts if count is not None)) == mean
