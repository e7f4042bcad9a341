"""Weight files of pre-trained networks: a local file, the embedded one or the Hugging Face hub's, and their SHA-256.

Importing this module imports neither torch nor timm. A name without a tag is refused when the weights would come from
the hub: timm's default for it changes between versions and is fine-tuned on ImageNet-1k for ViT-B/16, which is worth
about a point. The SHA-256 of the file that the weights came from is part of every record.
"""

import functools
import hashlib
from pathlib import Path

from aoft_bench.config.schema import BackboneOptions
from aoft_bench.utils.errors import UserError, unknown
from aoft_bench.utils.fast_imports import import_timm
from aoft_bench.utils.files import user_path

# the models of conf/backbone, all of timm's own at the hub, of which timm need not be asked: it imports torch
AT_TIMM = (
    "swin_base_patch4_window7_224.ms_in22k",
    "vit_base_patch14_dinov2.lvd142m",
    "vit_base_patch16_224.augreg_in21k",
    "vit_base_patch16_224.orig_in21k",
    "vit_huge_patch14_224.orig_in21k",
    "vit_large_patch16_224.orig_in21k",
    "vit_tiny_patch16_224.augreg_in21k",
)
NANO_WEIGHTS = Path(__file__).parent / "vit_nano.safetensors"


def weight_file(options: BackboneOptions) -> Path:
    """The file that the weights come from, downloaded from the hub if need be; `UserError` if it is missing."""
    return weights_here(options) or _download(options.timm)


def weights_here(options: BackboneOptions) -> Path | None:
    """`weight_file` without a download: None for a hub model whose weights are not on this machine."""
    if options.checkpoint:
        path = user_path(options.checkpoint, "backbone.checkpoint")
        if not path.is_file():
            raise UserError(
                f"backbone.checkpoint: no file {options.checkpoint}; give a .npz, .safetensors or .pth file"
            )
        return path
    if options.timm == "vit_nano":
        return NANO_WEIGHTS
    if options.timm not in AT_TIMM:
        check_name(options)
    import huggingface_hub as hub

    cached = hub.try_to_load_from_cache(*at_the_hub(options.timm))
    return Path(cached) if isinstance(cached, str) else None


def weights_name(options: BackboneOptions) -> str:
    """What the weights are called in a record: the file's name, "embedded", or the timm name with its tag."""
    if options.checkpoint:
        return Path(options.checkpoint).name
    return "embedded" if options.timm == "vit_nano" else options.timm


def _download(timm_name: str) -> Path:
    """Download a hub model's weights; fails at once where the hub cannot be reached."""
    import huggingface_hub as hub

    repository, name = at_the_hub(timm_name)
    try:
        # one request first: the download retries for 23 to 46 s before it gives up
        hub.get_hf_file_metadata(hub.hf_hub_url(repository, name), timeout=5)
        return Path(hub.hf_hub_download(repository, name))
    except Exception as error:
        if isinstance(error, OSError) and error.errno == 28:
            raise UserError(f"disk full while downloading {repository}; free some space and run again") from None
        raise UserError(
            f"weights of {timm_name} are not here and the Hugging Face hub cannot be reached ({type(error).__name__}); "
            f"run once with a network, or fetch {name} of {repository} elsewhere (for the original IN-21k ViTs "
            "Google's .npz does too) and give backbone.checkpoint=FILE; without either: backbone=vit_nano"
        ) from None


def at_the_hub(timm_name: str) -> tuple[str, str]:
    """(repository, file) of a model's weights."""
    if timm_name in AT_TIMM:
        return f"timm/{timm_name}", "model.safetensors"
    config = import_timm().get_pretrained_cfg(timm_name)
    return config.hf_hub_id, config.hf_hub_filename or "model.safetensors"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file. It is read again only after it changed; `networks.build` hashes what it loads.

    Raises `UserError` if it cannot be read.
    """
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
        raise unknown("timm model (backbone.timm)", options.timm, timm.list_models("*vit*") + timm.list_models("swin*"))
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise unknown(f"tag of {architecture} (backbone.timm)", tag, tags)
    if not tag and not options.checkpoint:
        raise UserError(
            f"backbone.timm: got {options.timm!r}, a name without a tag stands for no particular weights; "
            f"give one of {', '.join(f'{architecture}.{t}' for t in tags)}, or a file by backbone.checkpoint"
        )
