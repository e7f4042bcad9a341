"""Weight files of pre-trained networks: a local file, the embedded one or the Hugging Face hub's, and their SHA-256.

`utils.hub` downloads, `read_weights` reads. Importing this module imports neither torch nor timm. A name without a tag
is refused when the weights would come from the hub: timm's default for it changes between versions and is fine-tuned on
ImageNet-1k for ViT-B/16, which is worth about a point. The SHA-256 of the file that the weights came from is part of
every record.
"""

import functools
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from aoft_bench.config.schema import BackboneOptions
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.fast_imports import import_timm
from aoft_bench.utils.files import user_path

if TYPE_CHECKING:
    from aoft_bench.utils.hub import HubFile

# the models of conf/backbone that are in a repository of their name at the hub; timm, which imports torch, need not be
# asked for it
AT_TIMM = (
    "beitv2_base_patch16_224.in1k_ft_in22k",
    "convnextv2_base.fcmae",
    "convnextv2_tiny.fcmae",
    "deit3_base_patch16_224.fb_in22k_ft_in1k",
    "eva02_base_patch14_224.mim_in22k",
    "eva02_tiny_patch14_224.mim_in22k",
    "hiera_base_224.mae",
    "hiera_tiny_224.mae",
    "mvitv2_base_cls.fb_inw21k",
    "mvitv2_tiny.fb_in1k",
    "swin_base_patch4_window7_224.ms_in22k",
    "swin_tiny_patch4_window7_224.ms_in22k",
    "swinv2_base_window12_192.ms_in22k",
    "swinv2_tiny_window8_256.ms_in1k",
    "vit_base_patch14_dinov2.lvd142m",
    "vit_base_patch14_reg4_dinov2.lvd142m",
    "vit_base_patch16_224.augreg_in21k",
    "vit_base_patch16_224.mae",
    "vit_base_patch16_224.orig_in21k",
    "vit_base_patch16_clip_224.laion2b",
    "vit_base_patch16_dinov3.lvd1689m",
    "vit_base_patch16_siglip_224.v2_webli",
    "vit_base_patch16_siglip_224.webli",
    "vit_huge_patch14_224.orig_in21k",
    "vit_large_patch16_224.orig_in21k",
    "vit_small_patch16_224.augreg_in21k",
    "vit_small_patch16_dinov3.lvd1689m",
    "vit_tiny_patch16_224.augreg_in21k",
)
RANDOM_WEIGHTS = Path("random weights")  # no file: what backbone.weights=none stands for
RANDOM_SHA256 = "0" * 64
NANO_WEIGHTS = Path(__file__).parent / "vit_nano.safetensors"


def weight_file(options: BackboneOptions) -> Path:
    """The file that the weights come from, downloaded from the hub if need be; `UserError` if it is missing."""
    return weights_here(options) or _download(options.timm)


def weights_here(options: BackboneOptions) -> Path | None:
    """`weight_file` without a download: None for a hub model whose weights are not on this machine, or damaged."""
    if options.weights == "none":
        if options.checkpoint:
            raise UserError("backbone.weights=none leaves no use for backbone.checkpoint; give one of the two")
        if options.timm != "vit_nano":
            check_name(options)
        return RANDOM_WEIGHTS
    if options.checkpoint:
        return _local_file(options.checkpoint)
    if options.timm == "vit_nano":
        return NANO_WEIGHTS
    if options.timm not in AT_TIMM:
        check_name(options)
    from aoft_bench.utils import hub

    path = hub.cached(_hub_file(options.timm))
    return path if path and _is_intact(path) else None


def check_weights(options: BackboneOptions) -> None:
    """Raise the `UserError` of `weight_file`, as far as one request to the hub can tell; downloads nothing."""
    if weights_here(options) is None:
        from aoft_bench.utils import hub

        hub.ask(_hub_file(options.timm))


def weights_name(options: BackboneOptions) -> str:
    """What the weights are called in a record: the name of the file or folder, "embedded", "random", or the timm name
    with its tag."""
    if options.weights == "none":
        return "random"
    if options.checkpoint:
        return os.path.basename(os.path.abspath(options.checkpoint))
    return "embedded" if options.timm == "vit_nano" else options.timm


def _local_file(given: str) -> Path:
    """The weight file that backbone.checkpoint names: the file itself, or the one in a folder of transformers'."""
    path = user_path(given, "backbone.checkpoint")
    if path.is_dir():
        return _file_of_folder(path)
    if not path.is_file():
        raise UserError(
            f"backbone.checkpoint: no file {given}; give a .npz, .safetensors or .pth file, or a folder that "
            "transformers saved"
        )
    return path


def _file_of_folder(folder: Path) -> Path:
    """model.safetensors in a folder that transformers saved; its config.json is read with it (see
    `transformers_names`)."""
    if (path := folder / "model.safetensors").is_file():
        return path
    there = {path.name for path in folder.iterdir()}
    if "model.safetensors.index.json" in there:
        why = "in several files; save it in one with save_pretrained(FOLDER, max_shard_size='100GB')"
    elif "pytorch_model.bin" in there:
        why = "as pytorch_model.bin only; save it again with save_pretrained(FOLDER), or give that file"
    else:
        why = "not there; give a folder with config.json and model.safetensors, or a .npz, .safetensors or .pth file"
    raise UserError(f"backbone.checkpoint: the folder {folder} has no model.safetensors: the weights are {why}")


def _download(timm_name: str) -> Path:
    """Download a hub model's weights, and compare them with the SHA-256 that the hub announced."""
    from aoft_bench.utils import hub

    file = _hub_file(timm_name)
    damaged = hub.cached(file)
    path = hub.download(file._replace(what=f"intact weights of {timm_name}") if damaged else file, damaged=damaged)
    if not _is_intact(path):
        path.resolve().unlink()
        path.unlink()
        raise UserError(
            f"{file.what} came with another SHA-256 than the hub announced, so a proxy or the disk changed them; "
            "nothing was kept: run again, or fetch them elsewhere and give backbone.checkpoint=FILE"
        )
    return path


def _is_intact(path: Path) -> bool:
    """Whether a file of the hub's cache has the SHA-256 that it is named by, as far as that is known."""
    from aoft_bench.utils import hub

    return hub.digest_in_cache(path) in (None, file_sha256(path))


def _hub_file(timm_name: str) -> "HubFile":
    from aoft_bench.utils.hub import HubFile

    repository, name = at_the_hub(timm_name)
    otherwise = (
        f"fetch {name} of {repository} elsewhere and give backbone.checkpoint=FILE (docs/weights.md); without a "
        "download: backbone=vit_nano dataset=digits"
    )
    return HubFile(repository, name, f"the weights of {timm_name}", otherwise)


def at_the_hub(timm_name: str) -> tuple[str, str]:
    """(repository, file) of a model's weights. Raises `UserError` if timm knows none."""
    if timm_name in AT_TIMM:
        return f"timm/{timm_name}", "model.safetensors"
    config = import_timm().get_pretrained_cfg(timm_name)
    if not config.hf_hub_id:
        raise UserError(
            f"backbone.timm: {timm_name} has no weights at the Hugging Face hub; give a file by backbone.checkpoint"
        )
    return config.hf_hub_id, config.hf_hub_filename or "model.safetensors"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file. It is read again only after it changed; `networks.build` hashes what it loads.

    Zeros for random weights. Raises `UserError` if it cannot be read.
    """
    if path == RANDOM_WEIGHTS:
        return RANDOM_SHA256
    try:
        stat = path.stat()
        return _sha256(path.resolve(), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    except OSError as error:
        raise UserError(
            f"cannot read the weights in {path}: {error.strerror}; give others by backbone.checkpoint"
        ) from None


@functools.lru_cache(maxsize=32)
def _sha256(path: Path, *state: int) -> str:
    digest = hashlib.sha256()  # Python 3.10 has no hashlib.file_digest
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def check_name(options: BackboneOptions) -> None:
    """Raise `UserError` unless timm has the architecture, and its tag says which weights are meant."""
    timm = import_timm()
    architecture, _, tag = options.timm.partition(".")
    if not timm.is_model(architecture):
        raise unknown("timm model (backbone.timm)", architecture, timm.list_models())
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise unknown(f"tag of {architecture} (backbone.timm)", tag, tags)
    if not tag and not options.checkpoint and options.weights != "none":
        if not tags:
            raise UserError(
                f"backbone.timm: timm has no weights of {architecture}; give a file by backbone.checkpoint, or "
                "backbone.weights=none for a try"
            )
        raise UserError(
            f"backbone.timm: got {options.timm!r}, a name without a tag stands for no particular weights; "
            f"give one of {', '.join(f'{architecture}.{t}' for t in tags)}, or a file by backbone.checkpoint"
        )
