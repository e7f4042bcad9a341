"""What a run is: one tree of typed options, all of them checked before anything runs.

YAML files in conf/ give every value. A section of conf/config.yaml is one dataclass here; the options of `method` are
the dataclass of the method's own file, which this module gets from its caller.
"""

import copy
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from aoft_bench.config.check import check, problems_of
from aoft_bench.config.fields import STRICT, Count, CountOrAll, NotNegative, Positive, Unit, added, plain_values
from aoft_bench.utils.errors import UserError, unknown_text
from aoft_bench.utils.text import shown

MethodClass = Callable[[str], type[Any]]


@dataclass(frozen=True, config=STRICT)
class DatasetOptions:
    """Which task. name: an entry of the table of tasks (`aoft-bench list datasets`); own: images of the user's own,
    which may have any other name."""

    name: str
    own: bool = added(False)


@dataclass(frozen=True, config=STRICT)
class DataOptions:
    """Where images come from and how they become the model's input.

    root: a folder pack, or a folder of packs; cache: where the prepared uint8 arrays are kept; interpolation: PIL's
    bicubic or bilinear (antialiased), bilinear_tf (TensorFlow's, not antialiased), or what the backbone was trained
    with (backbone), which is one of the first two in a record; normalization: mean and standard
    deviation 0.5 (half), ImageNet's, none (values in [0, 1]), or what the backbone was trained with (backbone);
    source, tfds_dir, manual_dir: see `data.locations`. These have defaults, since older records lack them. Of images of
    the user's own: hf, a dataset of the Hugging Face hub; label, the column with the labels. train, shots, draw: which
    of the images train, see `data.draw`.
    """

    root: str | None
    cache: str
    interpolation: Literal["bicubic", "bilinear", "bilinear_tf", "backbone"]
    normalization: Literal["backbone", "half", "imagenet", "none"]
    source: Literal["auto", "folder", "tfds", "image_folder", "table", "hf"] = "auto"
    tfds_dir: str | None = None
    manual_dir: str | None = None
    hf: str | None = added(None)
    label: str | None = added(None)
    train: CountOrAll = added("all")
    shots: Count | None = added(None)
    draw: Annotated[int, Field(ge=0, lt=2**32)] = added(0)


@dataclass(frozen=True, config=STRICT)
class BackboneOptions:
    """Which pre-trained network. timm: a timm name with its tag, or the name of an embedded network; checkpoint: a
    local file with its weights (.npz, .safetensors, .pth), or a folder that transformers saved, instead of the hub's;
    img_size: input side in pixels.
    pos_embed_resize: how position embeddings get another size than the file's: ``bicubic``, timm's, antialiased, or
    ``zoom``, that of scipy.ndimage.zoom of order 1: bilinear, with the corners aligned.
    pool: what the head reads, null for timm's default; weights: none for random ones, drawn from the seed, for tries.
    """

    name: str
    timm: str
    checkpoint: str | None
    img_size: Annotated[int, Field(ge=16, le=1024)]
    pos_embed_resize: Literal["bicubic", "zoom"] = added("bicubic")
    pool: Literal["token", "avg", "avgmax", "max", "map"] | None = added(None)
    weights: Literal["pretrained", "none"] = added("pretrained")


def warmup_epochs(epochs: int, given: int | None) -> int:
    """Warm-up in epochs of a recipe: a tenth of its epochs, rounded down, unless given."""
    return epochs // 10 if given is None else given


@dataclass(frozen=True, config=STRICT)
class RecipeOptions:
    """How it is trained: AdamW (all trained tensors are decayed), warm-up from warmup_lr, then cosine to min_lr.

    epochs: all of them; warmup_epochs, cooldown_epochs: how many of these, the first and the last, warm up and stay at
    min_lr (timm counts the cool-down on top); null means a tenth of the epochs; schedule: see `optim.learning_rate`;
    decay_head_bias: whether the bias of the head is decayed too; drop_path: rate at the last block, rising linearly
    from 0; drop_path_kind: `sample` drops whole residual branches (stochastic depth), `element` is plain dropout on the
    branch (as the authors of AOFT and SSF's lineage do); mlp_dropout: dropout inside the feed-forward part;
    drop_path_from: `all` blocks, or from the first `trained` one on (both dropouts), so that frozen
    blocks need to be computed only once.
    """

    epochs: Count
    batch_size: Count
    lr: Positive
    weight_decay: NotNegative
    warmup_epochs: Annotated[int, Field(ge=0, le=10**9)] | None
    warmup_lr: NotNegative
    min_lr: NotNegative
    drop_path: Unit
    drop_path_kind: Literal["sample", "element"]
    mlp_dropout: Unit
    label_smoothing: Unit
    flip: bool
    schedule: Literal["step", "epoch"] = added("step")
    cooldown_epochs: Annotated[int, Field(ge=0, le=10**9)] = added(0)
    decay_head_bias: bool = added(True)
    drop_path_from: Literal["all", "trained"] = added("all")

    @property
    def warmup(self) -> int:
        """Warm-up in epochs."""
        return warmup_epochs(self.epochs, self.warmup_epochs)


@dataclass(frozen=True, config=STRICT)
class ProtocolOptions:
    """Which images train and which ones count; see aoft_bench.records.protocols."""

    name: Literal["clean", "tune", "literature"]


@dataclass(frozen=True, config=STRICT)
class TrainerOptions:
    """Hardware. precision auto: bf16 mixed on a GPU that computes in it, else fp32; threads: CPU threads, null for
    torch's choice; eval_batch_size: images at a time when nothing is trained; progress: a bar, lines, or nothing;
    devices: how many train one cell together, each in a process of its own that has its share of every batch; null:
    all GPUs; cuda_graphs: on one GPU, launch a training step as a whole; compile: the blocks by torch.compile, for
    training; deterministic: on a GPU, refuse operations whose result differs from run to run; frozen_cache: keep the
    activations of training images that nothing can change, and share them on disk: auto under the protocol `tune`,
    shared always; frozen_cache_gib: how much memory they may take before a file does, null: a quarter of what is free;
    frozen_shared_gib: what those of all runs may take on disk. Those from devices on have defaults, since older records
    lack them."""

    accelerator: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]
    threads: Annotated[int, Field(ge=1, le=1024)] | None
    eval_batch_size: Count
    progress: Literal["auto", "bar", "lines", "none"]
    devices: Count | None = 1
    cuda_graphs: bool = True
    compile: bool = False
    deterministic: bool = True
    frozen_cache: Literal["auto", "shared", "off"] = added("auto")
    frozen_cache_gib: NotNegative | None = added(None)
    frozen_shared_gib: NotNegative = added(20.0)


@dataclass(frozen=True, config=STRICT)
class LoggerOptions:
    """W&B as a mirror of the records. mode auto: online when there is a key, else offline."""

    name: Literal["none", "wandb"]
    project: str
    entity: str | None
    mode: Literal["auto", "online", "offline"]
    dir: str


@dataclass(frozen=True, config=STRICT)
class ResultsOptions:
    """Records. mode missing: skip a cell that is done; force: run it again; only-cached: never run. predictions: what
    is kept of each scored image, see `records.predictions`; it changes no number, so it is no part of the identity.
    reproduces: the published rows that are aimed at, a name or a sweep in results/published/reproductions.csv."""

    root: str
    mode: Literal["missing", "force", "only-cached"]
    predictions: Literal["top", "logits", "none"] = added("top")
    reproduces: str | None = added(None)


@dataclass(frozen=True, config=STRICT)
class ChosenMethod:
    """The method of a run. name: as it is registered; label: the name of its row in a table; options: an instance of
    the method's class, None where the caller gave no classes; given: name, label and options as they were given, but
    for those that `plain_values` leaves out."""

    name: str
    label: str
    options: Any
    given: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Name, label (if it is given) and options, in the order in which they were given."""
        return copy.deepcopy(self.given)


SECTIONS: dict[str, type[Any]] = {
    "dataset": DatasetOptions,
    "data": DataOptions,
    "backbone": BackboneOptions,
    "recipe": RecipeOptions,
    "protocol": ProtocolOptions,
    "trainer": TrainerOptions,
    "logger": LoggerOptions,
    "results": ResultsOptions,
}

TITLE = "title"  # in a file of a method or a backbone: what tables call it (`results.titles`); no option of a run


@dataclass(frozen=True, config=STRICT)
class Scalars:
    """The values of a configuration that are in no section."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    dry_run: bool


@dataclass(frozen=True, config=STRICT)
class RunConfig:
    """One cell of a table, completely described. The order of the fields is that of a record."""

    dataset: DatasetOptions
    data: DataOptions
    backbone: BackboneOptions
    method: ChosenMethod
    recipe: RecipeOptions
    protocol: ProtocolOptions
    trainer: TrainerOptions
    logger: LoggerOptions
    results: ResultsOptions
    seed: int
    dry_run: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries, as `from_dict` takes them and a record stores them."""
        sections = {name: plain_values(getattr(self, name)) for name in SECTIONS}
        values = sections | {"method": self.method.as_dict(), "seed": self.seed, "dry_run": self.dry_run}
        return {field.name: values[field.name] for field in dataclasses.fields(self)}


def from_dict(
    tree: Mapping[str, Any], method_class: MethodClass | None = None, hint: Callable[[str], str] | None = None
) -> RunConfig:
    """A `RunConfig` from nested dictionaries.

    method_class: gives the class of a method by its name and raises `UserError` for an unknown one (`methods.get`).
    Without it the method's options are not checked: for commands that need the other sections only.
    hint: what is added to a problem, such as the file that a value is from.
    Raises one `UserError` that lists every problem.
    """
    scalars = {f.name for f in dataclasses.fields(Scalars)}
    allowed = {*SECTIONS, "method", *scalars}
    problems = [unknown_text("section", name, allowed) for name in tree if name not in allowed]
    no_sections = [
        f"{name}: got {shown(tree[name])}, must be a section of options; a file is chosen in `defaults`"
        for name in (*SECTIONS, "method")
        if not isinstance(tree.get(name) or {}, Mapping)
    ]
    if no_sections:
        raise UserError(problems_of(problems + no_sections))
    for name, cls in SECTIONS.items():
        problems += check(cls, tree.get(name) or {}, name)
    problems += check(Scalars, {k: v for k, v in tree.items() if k in scalars}, "")
    method = _method_of(tree.get("method") or {}, method_class, problems)
    sections = {} if problems else {name: cls(**tree[name]) for name, cls in SECTIONS.items()}
    if sections:
        problems += _inconsistencies(sections["recipe"])
    if problems or method is None:
        raise UserError(problems_of([problem + (hint(problem) if hint else "") for problem in problems]))
    return RunConfig(**sections, method=method, **{name: tree[name] for name in scalars})


def _method_of(given: Mapping[str, Any], method_class: MethodClass | None, problems: list[str]) -> ChosenMethod | None:
    """The method of a configuration; None, with what is wrong appended to `problems`, if it is not valid."""
    before = len(problems)
    options = {key: value for key, value in given.items() if key not in ("name", "label")}
    name, label = str(given.get("name")), given.get("label")
    if not (label is None or (isinstance(label, str) and re.fullmatch(r"[a-z0-9_]{1,100}", label))):
        problems.append(f"method.label: got {shown(label)}, give lower-case letters, digits and _, at most 100")
    cls = None
    if method_class is not None:
        try:
            cls = method_class(name)
            problems += check(cls, options, "method")
        except UserError as error:
            problems.append(str(error))
    if len(problems) > before:
        return None
    if cls is None:
        return ChosenMethod(name, str(label or name), None, copy.deepcopy(dict(given)))
    made = cls(**options)
    return ChosenMethod(name, str(label or name), made, plain_values(made, given))


def _inconsistencies(recipe: RecipeOptions) -> list[str]:
    """Problems between values of which each alone is allowed."""
    problems = []
    if recipe.cooldown_epochs and recipe.warmup + recipe.cooldown_epochs >= recipe.epochs:
        problems.append(
            f"recipe.cooldown_epochs: got {recipe.cooldown_epochs} and {recipe.warmup} of warm-up in {recipe.epochs} "
            "epochs, must be fewer together"
        )
    elif recipe.warmup >= recipe.epochs and recipe.warmup:
        problems.append(
            f"recipe.warmup_epochs: got {recipe.warmup} of {recipe.epochs} epochs, must be fewer; "
            "null means a tenth of the epochs"
        )
    if recipe.min_lr > recipe.lr or recipe.warmup_lr > recipe.lr:
        problems.append(
            f"recipe.lr: got {recipe.lr}, must not be below recipe.min_lr ({recipe.min_lr}) or "
            f"recipe.warmup_lr ({recipe.warmup_lr})"
        )
    return problems
