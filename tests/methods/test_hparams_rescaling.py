"""The per-task settings of SSF, ARC and RLRR are their authors', in our names."""

import pytest
from test_config import AUTHORS, CONF, FGVC, tree

from aoft_bench.config.schema import from_dict

# lr, weight decay, drop path; dongzelian/SSF at e94e0e7, train_scripts/vit/{vtab,fgvc}/*/train_ssf.sh
SSF: dict[str, tuple[float, float, float]] = {
    "caltech101": (1e-3, 5e-2, 0.1),
    "cifar100": (5e-3, 5e-5, 0.0),
    "clevr_count": (2e-3, 5e-2, 0.1),
    "clevr_distance": (5e-2, 5e-2, 0.1),
    "retinopathy": (5e-3, 5e-5, 0.2),
    "dmlab": (5e-3, 5e-5, 0.1),
    "dsprites_location": (1e-2, 5e-5, 0.0),
    "dsprites_orientation": (5e-3, 5e-5, 0.2),
    "dtd": (5e-3, 5e-5, 0.0),
    "eurosat": (3e-3, 5e-2, 0.2),
    "flowers102": (5e-3, 5e-5, 0.0),
    "kitti": (1e-2, 5e-5, 0.0),
    "patch_camelyon": (5e-3, 5e-5, 0.0),
    "pets": (5e-3, 5e-5, 0.0),
    "resisc45": (2e-3, 5e-5, 0.1),
    "smallnorb_azimuth": (2e-2, 5e-5, 0.1),
    "smallnorb_elevation": (5e-3, 5e-2, 0.2),
    "sun397": (5e-3, 5e-5, 0.0),
    "svhn": (1e-2, 5e-5, 0.0),
    "cub": (1e-2, 5e-2, 0.0),
    "nabirds": (2e-4, 5e-2, 0.1),
    "flowers": (1e-2, 5e-2, 0.1),
    "cars": (2e-2, 5e-2, 0.0),
    "dogs": (2.5e-4, 5e-2, 0.0),
}

# lr, weight decay, dropout in the feed-forward part; DavidYanAnDe/ARC, issue 1
ARC: dict[str, tuple[float, float, float]] = {
    "cub": (1e-3, 5e-2, 0.1),
    "nabirds": (2e-4, 5e-2, 0.1),
    "flowers": (2.5e-3, 1e-2, 0.1),
    "cars": (5e-3, 5e-2, 0.1),
    "dogs": (2.5e-4, 5e-2, 0.0),
}

# lr, weight decay, dropout rate of the branches, flip; zstarN70/RLRR at 287c772, RLRRDatasets/{VTAB,FGVC}Config.py
RLRR: dict[str, tuple[float, float, float, bool]] = {
    "caltech101": (1e-3, 5e-5, 0.1, False),
    "cifar100": (3e-3, 5e-5, 0.1, False),
    "clevr_count": (5e-3, 5e-5, 0.5, True),
    "clevr_distance": (1e-2, 5e-5, 0.2, True),
    "retinopathy": (5e-3, 5e-5, 0.1, True),
    "dmlab": (5e-3, 5e-5, 0.3, True),
    "dsprites_location": (1e-2, 5e-5, 0.1, False),
    "dsprites_orientation": (5e-3, 5e-5, 0.1, False),
    "dtd": (2e-3, 5e-5, 0.1, True),
    "eurosat": (1e-3, 5e-5, 0.1, True),
    "flowers102": (3e-3, 5e-2, 0.3, False),
    "kitti": (3e-3, 5e-2, 0.3, True),
    "patch_camelyon": (3e-3, 5e-2, 0.3, True),
    "pets": (1e-3, 5e-5, 0.1, True),
    "resisc45": (3e-3, 5e-5, 0.0, False),
    "smallnorb_azimuth": (5e-3, 5e-2, 0.3, False),
    "smallnorb_elevation": (1e-3, 5e-5, 0.3, True),
    "sun397": (1e-3, 5e-5, 0.1, False),
    "svhn": (5e-3, 5e-5, 0.3, False),
    "cub": (3e-3, 5e-2, 0.1, True),
    "nabirds": (5e-4, 5e-2, 0.3, True),
    "flowers": (3e-3, 5e-2, 0.2, True),
    "cars": (3e-3, 5e-2, 0.2, True),
    "dogs": (1e-4, 5e-2, 0.0, True),
}


def recipe(method: str, dataset: str):
    return from_dict(tree(f"method={method}", f"dataset={dataset}")).recipe


def test_the_tables_are_complete() -> None:
    for method, table in (("ssf", SSF), ("arc", ARC), ("rlrr", RLRR)):
        assert {path.stem for path in (CONF / "hparams" / method).glob("*.yaml")} - {"digits"} == set(table)
    assert set(SSF) == set(RLRR) == set(AUTHORS) and set(ARC) == set(FGVC)


@pytest.mark.parametrize("dataset", SSF)
def test_ssf_uses_the_authors_recipe(dataset: str) -> None:
    r = recipe("ssf", dataset)
    assert (r.lr, r.weight_decay, r.drop_path) == SSF[dataset]
    assert (r.epochs, r.batch_size, r.warmup, r.warmup_lr, r.min_lr) == (100, 64, 10, 1e-7, 1e-8)
    assert (r.drop_path_kind, r.mlp_dropout) == ("sample", 0.0)
    assert (r.flip, r.label_smoothing) == ((True, 0.1) if dataset in FGVC else (False, 0.0))


@pytest.mark.parametrize("dataset", ARC)
def test_arc_uses_the_authors_recipe(dataset: str) -> None:
    r = recipe("arc", dataset)
    assert (r.lr, r.weight_decay, r.mlp_dropout) == ARC[dataset]
    assert (r.epochs, r.batch_size, r.warmup, r.drop_path, r.label_smoothing, r.flip) == (100, 32, 10, 0.0, 0.0, True)


@pytest.mark.parametrize("dataset", RLRR)
def test_rlrr_uses_the_authors_recipe(dataset: str) -> None:
    r = recipe("rlrr", dataset)
    assert (r.lr, r.weight_decay, r.drop_path, r.flip) == RLRR[dataset]
    assert (r.batch_size, r.drop_path_kind, r.mlp_dropout, r.label_smoothing) == (32, "element", 0.0, 0.0)
    if dataset in ("cub", "dogs"):  # theirs restarts its rate every 5 epochs, without a warm-up
        assert (r.epochs, r.warmup, r.min_lr) == (60, 0, 0.0)
    else:
        assert (r.epochs, r.warmup, r.min_lr) == (50 if dataset in FGVC else 100, 10, 1e-8)
        assert r.warmup_lr == 1e-7
