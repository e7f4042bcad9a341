"""The settings that authors published for each task, conf/hparams/<method>/<dataset>.yaml: complete, sourced, in order.

The numbers themselves are in those files only. Here are what all tasks of a method share, which values may differ, two
rows of each table as its authors have them, and sums that papers print.
"""

from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import pytest
import yaml
from test_config import config_of

from aoft_bench import data, methods
from aoft_bench.backbones.layout import VIT_B16
from aoft_bench.config.folders import conf_dir

VTAB, FGVC = data.tasks("vtab1k"), data.tasks("fgvc")
OF_PETL_VIT = {  # the recipe that Convpass, FacT, Bi-LoRA, Bi-AdaptFormer, RepAdapter and CaRA share
    "epochs": 100,
    "warmup_epochs": 10,
    "warmup_lr": 1e-6,
    "min_lr": 1e-5,
    "batch_size": 64,
    "lr": 1e-3,
    "weight_decay": 1e-4,
    "drop_path": 0.1,
    "drop_path_kind": "sample",
    "mlp_dropout": 0.0,
    "label_smoothing": 0.0,
    "flip": False,
}


@dataclass(frozen=True)
class Published:
    """The settings of one method. source: in every header; same: values of all tasks, as a run gets them; differs:
    names of the values that differ between tasks; rows: some of those for some tasks."""

    source: str
    tasks: list[str]
    same: dict[str, Any]
    differs: set[str]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)


PUBLISHED = {
    "convpass": Published(
        "JieShibo/PETL-ViT at 026e4f1",
        VTAB,
        OF_PETL_VIT | {"bottleneck": 8, "positions": "both"},
        {"scale", "init"},
        {"dtd": {"scale": 0.01, "init": "xavier"}, "patch_camelyon": {"scale": 10.0, "init": "identity"}},
    ),
    "repadapter": Published(
        "luogen1996/RepAdapter at 360992f",
        VTAB,
        OF_PETL_VIT | {"bottleneck": 8, "groups": 2},
        {"scale"},
        {"cifar100": {"scale": 0.1}, "svhn": {"scale": 10.0}},
    ),
    "fact_tk": Published(
        "JieShibo/PETL-ViT at 026e4f1",
        VTAB,
        OF_PETL_VIT,
        {"rank", "scale"},
        {"dtd": {"rank": 16, "scale": 0.01}, "svhn": {"rank": 32, "scale": 100.0}},
    ),
    "fact_tt": Published(
        "JieShibo/PETL-ViT at 026e4f1",
        VTAB,
        OF_PETL_VIT,
        {"rank", "scale"},
        {"resisc45": {"rank": 8, "scale": 0.1}, "clevr_distance": {"rank": 4, "scale": 10.0}},
    ),
    "bi_adaptformer": Published(
        "JieShibo/PETL-ViT at 026e4f1",
        VTAB,
        OF_PETL_VIT | {"bottleneck": 32},
        {"scale"},
        {"dtd": {"scale": 0.01}, "caltech101": {"scale": 10.0}},
    ),
    "bi_lora": Published(
        "JieShibo/PETL-ViT at 026e4f1",
        VTAB,
        OF_PETL_VIT | {"rank": 32},
        {"scale"},
        {"clevr_count": {"scale": 1.0}, "dmlab": {"scale": 10.0}},
    ),
    "cara": Published(
        "BonnBytes/CaRA at f0ac9a9",
        VTAB,
        OF_PETL_VIT | {"rank": 32},
        {"scale", "lambda_mean", "lambda_std"},
        {
            "cifar100": {"scale": 0.1, "lambda_mean": 1.5, "lambda_std": 0.1},
            "clevr_distance": {"scale": 2.5, "lambda_mean": 1.0, "lambda_std": 0.0},
        },
    ),
    "consolidator": Published(
        "THU-MIG/Consolidator at 545d006",
        VTAB,
        {
            "epochs": 110,
            "cooldown_epochs": 10,
            "batch_size": 64,
            "warmup_epochs": 10,
            "warmup_lr": 1e-6,
            "min_lr": 1e-5,
            "drop_path": 0.0,
        }
        | {"label_smoothing": 0.0, "flip": False},
        {"drop", "lr", "weight_decay"},
        {"svhn": {"lr": 1e-2, "weight_decay": 1e-3, "drop": 0.5}, "pets": {"weight_decay": 0.0, "drop": 0.8}},
    ),
    "e2vpt": Published(
        "ChengHan111/E2VPT at 7a66e75",
        [*VTAB, *FGVC],
        {},
        {"prompts", "key_prompts"},
        {"caltech101": {"prompts": 32, "key_prompts": 5}, "flowers102": {"prompts": 1, "key_prompts": 1}},
    ),
    "dtl": Published(
        "heekhero/DTL at bf6c51e",
        VTAB,
        {
            "epochs": 110,
            "cooldown_epochs": 10,
            "decay_head_bias": False,
            "warmup_epochs": 10,
            "warmup_lr": 1e-7,
            "min_lr": 1e-8,
            "batch_size": 32,
            "weight_decay": 5e-2,
            "drop_path_kind": "sample",
            "rank": 2,
            "beta": 100.0,
            "fusion": 0,
        },
        {"lr", "drop_path"},
        {"dsprites_location": {"lr": 1e-2, "drop_path": 0.0}, "clevr_distance": {"lr": 5e-4, "drop_path": 0.2}},
    ),
    "gps": Published(
        "FightingFighting/GPS at 72e0c31",
        VTAB,
        {
            "epochs": 100,
            "warmup_epochs": 10,
            "warmup_lr": 1e-7,
            "min_lr": 1e-8,
            "weight_decay": 0.0,
            "drop_path_kind": "sample",
        },
        {"lr", "batch_size", "drop_path", "per_neuron"},
        {"patch_camelyon": {"lr": 4e-3, "batch_size": 32, "per_neuron": 2}, "dtd": {"batch_size": 16, "per_neuron": 1}},
    ),
    "sct": Published(
        "showlab/SCT at 384cecb",
        VTAB,
        {
            "epochs": 100,
            "warmup_epochs": 10,
            "warmup_lr": 1e-6,
            "min_lr": 1e-5,
            "batch_size": 64,
            "drop_path": 0.1,
            "drop_path_kind": "sample",
        },
        {"scale", "scale_input", "lr", "weight_decay", "label_smoothing"},
        {
            "cifar100": {"scale": 0.4, "scale_input": False, "lr": 1.3e-2, "weight_decay": 1.0, "label_smoothing": 0.1},
            "clevr_count": {"scale": 0.52, "scale_input": True, "lr": 3.3e-3, "label_smoothing": 0.0},
        },
    ),
    "vqt": Published(
        "andytu28/VQT at 9bca87e",
        VTAB,
        {"epochs": 100, "warmup_epochs": 10, "batch_size": 128},
        {"queries"},
        {"caltech101": {"queries": 1}, "clevr_distance": {"queries": 10}, "svhn": {"queries": 20}},
    ),
    "synqt": Published(
        "taolinzhang/SynQT at 15f3292",
        VTAB,
        {
            "epochs": 50,
            "warmup_epochs": 10,
            "warmup_lr": 0.0,
            "min_lr": 1e-6,
            "batch_size": 64,
            "lr": 1e-3,
            "weight_decay": 1e-2,
            "drop_path": 0.1,
            "drop_path_kind": "sample",
        },
        {"queries", "found_scale", "attention_scale", "ffn_scale"},
        {
            "pets": {"queries": 1, "found_scale": 1.0, "attention_scale": 0.1, "ffn_scale": 1.0},
            "cifar100": {"queries": 4, "found_scale": 0.1, "attention_scale": 1.0, "ffn_scale": 0.1},
        },
    ),
    "pace": Published(
        "MaxwellYaoNi/PACE at 9fee345",
        ["cifar100"],
        {"epochs": 300, "warmup_epochs": 10, "schedule": "epoch", "warmup_lr": 1e-6, "min_lr": 1e-5, "batch_size": 64}
        | {"lr": 1e-3, "weight_decay": 1e-4, "drop_path": 0.1, "drop_path_kind": "sample"}
        | {"rank": 10, "sigma": 1.2, "strength": 1.0},
        set(),
        {"cifar100": {}},
    ),
    "ssf": Published(
        "dongzelian/SSF at e94e0e7",
        [*VTAB, *FGVC],
        {
            "epochs": 110,
            "cooldown_epochs": 10,
            "batch_size": 64,
            "warmup_epochs": 10,
            "warmup_lr": 1e-7,
            "min_lr": 1e-8,
            "drop_path_kind": "sample",
        },
        {"lr", "weight_decay", "drop_path", "flip", "label_smoothing"},
        {
            "retinopathy": {"lr": 5e-3, "weight_decay": 5e-5, "drop_path": 0.2, "flip": False, "label_smoothing": 0.0},
            "dogs": {"lr": 2.5e-4, "weight_decay": 5e-2, "drop_path": 0.0, "flip": True, "label_smoothing": 0.1},
        },
    ),
    "arc": Published(
        "DavidYanAnDe/ARC",
        FGVC,
        {"epochs": 100, "batch_size": 32, "warmup_epochs": 10, "drop_path": 0.0, "label_smoothing": 0.0, "flip": True},
        {"lr", "weight_decay", "mlp_dropout"},
        {"flowers": {"lr": 2.5e-3, "weight_decay": 1e-2, "mlp_dropout": 0.1}, "dogs": {"mlp_dropout": 0.0}},
    ),
    "rlrr": Published(
        "zstarN70/RLRR at 287c772",
        [*VTAB, *FGVC],
        {"batch_size": 32, "drop_path_kind": "element", "mlp_dropout": 0.0, "label_smoothing": 0.0},
        {"epochs", "warmup_epochs", "cooldown_epochs", "schedule", "decay_head_bias", "min_lr"}
        | {"lr", "weight_decay", "drop_path", "flip"},
        {
            "clevr_count": {"lr": 5e-3, "weight_decay": 5e-5, "drop_path": 0.5, "flip": True, "epochs": 110},
            # the authors restart the rate every 5 epochs here, without a warm-up
            "cub": {
                "lr": 3e-3,
                "weight_decay": 5e-2,
                "drop_path": 0.1,
                "epochs": 60,
                "warmup_epochs": 0,
                "min_lr": 0.0,
            },
        },
    ),
}
PUBLISHED["aoft_adapter"] = Published(
    "CalliopeYang/AOFT at 2ffd89c",
    FGVC,
    {"positions": "ffn", "constant": "released", "init": "released", "detach_q0": True, "lambda_lr": 1.0}
    | {"epochs": 60, "batch_size": 32, "drop_path_kind": "element", "mlp_dropout": 0.1, "decay_head_bias": False}
    | {"flip": True},
    {"lr", "weight_decay", "drop_path", "warmup_epochs", "cooldown_epochs", "schedule", "min_lr"},
    {
        "nabirds": {"lr": 1e-3, "weight_decay": 5e-3, "drop_path": 0.3, "cooldown_epochs": 10, "schedule": "epoch"},
        # the authors restart the rate every 5 epochs here, without a warm-up
        "dogs": {"lr": 1e-4, "weight_decay": 5e-2, "drop_path": 0.0, "warmup_epochs": 0, "min_lr": 0.0},
    },
)
each = pytest.mark.parametrize("method", PUBLISHED)


def written(method: str, dataset: str) -> dict[str, Any]:
    """Options and recipe in the file of one task, by name."""
    file = yaml.safe_load((conf_dir() / "hparams" / method / f"{dataset}.yaml").read_text(encoding="utf-8"))
    assert file.keys() <= {"method", "recipe"}
    values = {**file.get("method", {}), **file.get("recipe", {})}
    return {name: float(value) if name.endswith(("lr", "decay")) else value for name, value in values.items()}


@each
def test_every_task_has_its_file_with_its_source(method: str) -> None:
    published = PUBLISHED[method]
    files = {path.stem: path.read_text(encoding="utf-8") for path in (conf_dir() / "hparams" / method).glob("*.yaml")}
    assert files.keys() - {"digits"} == set(published.tasks)
    for task in published.tasks:
        assert published.source in files[task] and f"method={method} dataset={task}\n" in files[task]


@each
def test_tasks_differ_in_what_the_authors_chose_for_each_and_in_nothing_else(method: str) -> None:
    published = PUBLISHED[method]
    rows = {task: written(method, task) for task in published.tasks}
    for name in {name for row in rows.values() for name in row}:
        assert name in published.differs | published.same.keys(), name
        if name in published.same:
            assert {row[name] for row in rows.values()} == {published.same[name]}, name


@each
def test_a_run_gets_the_authors_settings(method: str) -> None:
    published = PUBLISHED[method]
    for task, row in published.rows.items():
        config = config_of(f"method={method}", f"dataset={task}")
        assert (config.dataset.name, config.method.name) == (task, method)
        for name, value in (published.same | row).items():
            got = getattr(config.recipe if hasattr(config.recipe, name) else config.method.options, name)
            assert got == value, f"{task}: {name}"


@pytest.mark.parametrize("method", ["convpass", "fact_tk"])
def test_the_command_line_and_hparams_none_win(method: str) -> None:
    words = (f"method={method}", "dataset=svhn")
    assert config_of(*words, "method.scale=0.25").method.options.scale == 0.25
    plain = config_of(*words, "hparams=none")
    assert plain.method.options.scale == methods.build(method, {}).scale == 1.0  # type: ignore[attr-defined]
    assert plain.recipe.drop_path == 0.0


@pytest.mark.parametrize(("method", "mean"), [("fact_tk", 68_985), ("fact_tt", 39_734)])
def test_mean_size_over_the_tasks(method: str, mean: int) -> None:
    """FacT's table prints 0.069 M for Tucker, which is this mean; 0.037 M for tensor-train, which is not."""
    counts = [methods.build(method, {"rank": written(method, task)["rank"]}).count(VIT_B16) or 0 for task in VTAB]
    assert round(fmean(counts)) == mean


def test_authors_of_ssf_flip_and_smooth_labels_on_fgvc_only() -> None:
    for task in [*VTAB, *FGVC]:
        row = written("ssf", task)
        assert (row["flip"], row.get("label_smoothing", 0.0)) == ((True, 0.1) if task in FGVC else (False, 0.0))


def test_authors_of_rlrr_train_fgvc_for_half_as_long() -> None:
    rows = {task: written("rlrr", task) for task in [*VTAB, *FGVC]}
    assert {task: row["epochs"] for task, row in rows.items()} == dict.fromkeys(VTAB, 110) | dict.fromkeys(FGVC, 60)
    assert {task for task, row in rows.items() if "cooldown_epochs" not in row} == {"cub", "dogs"}
