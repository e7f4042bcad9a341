"""Read a weight file into a network, whichever layout it has, and refuse what does not belong to it."""

import hashlib
import io
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from aoft_bench.backbones.layout import head_parameters
from aoft_bench.backbones.pos_embed import resized
from aoft_bench.backbones.transformers_names import is_transformers, to_timm
from aoft_bench.utils.errors import UserError, first_line

HEAD_PREFIXES = ("head.", "head_dist.", "fc.", "classifier.")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class _WeightFile(io.BytesIO):
    """The bytes of a weight file; timm's messages show its path."""

    def __init__(self, path: Path) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(_damaged(path, error.strerror or str(error))) from None
        super().__init__(content)
        self.path, self.sha256 = path, hashlib.sha256(content).hexdigest()

    def __repr__(self) -> str:
        return str(self.path)


def load_weights(model: nn.Module, path: Path, sha256: str, resize: str = "bicubic") -> str:
    """Load a weight file into `model`, all but the head, strictly; position embeddings are resized to the model's.

    resize: how, see `pos_embed.resized`.
    The file is read once, so that the SHA-256 that is returned is that of what was loaded, whoever writes to it.
    """
    file = _WeightFile(path)
    if sha256 and file.sha256 != sha256:
        raise UserError(
            f"{path} is not the weight file that is meant: its SHA-256 begins with {file.sha256[:12]}, not with "
            f"{sha256[:12]}; if it was written just now, run again, else give the other file by backbone.checkpoint"
        )
    if path.suffix == ".npz":
        try:
            _check_arrays(model, file)
            model.load_pretrained(file)  # type: ignore[operator]
            if resize != "bicubic":
                _resize_again(model, file, resize)
        except Exception as error:
            raise UserError(_damaged(path, f"not a Google ViT file for this network ({first_line(error)})")) from None
    else:
        state = _read_state(path, file)
        if is_transformers(state):
            state = _renamed(model, state, path)
        _load_state(model, state, path, resize)
    return file.sha256


def _renamed(model: nn.Module, state: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    try:
        return to_timm(state, model, path)
    except (RuntimeError, IndexError) as error:  # of tensors whose shapes do not go together
        raise UserError(_damaged(path, f"its tensors do not fit ({first_line(error)})")) from None


def _load_state(model: nn.Module, state: dict[str, torch.Tensor], path: Path, resize: str) -> None:
    head = head_parameters(model)  # a norm that is called head.norm is none of it
    mine = {name: tensor for name, tensor in model.state_dict().items() if name not in head}
    state = {name: tensor for name, tensor in state.items() if name in mine or not name.startswith(HEAD_PREFIXES)}
    for name, tensor in mine.items():
        if name in state:
            _check_kind(name, state[name], tensor, path)
    if "pos_embed" in state and "pos_embed" in model.state_dict():
        state = _resized(model, state, path, resize)
    wanted = {name: tensor.shape for name, tensor in mine.items()}
    # older timm saved Swin's index tables and masks, which the network computes
    computed = {name for name, _ in model.named_buffers()} - wanted.keys()
    state = {name: tensor for name, tensor in state.items() if name not in computed}
    missing, foreign = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    misfit = [name for name in wanted if name in state and wanted[name] != state[name].shape]
    if missing or foreign or misfit:
        name = (missing + misfit + foreign)[0]
        raise UserError(
            f"{path} holds weights of another network: {len(missing)} tensors missing, {len(foreign)} unknown, "
            f"{len(misfit)} of another shape, the first is {name!r}; choose the backbone that the file belongs to"
        )
    model.load_state_dict(state, strict=False)


def _check_kind(name: str, tensor: torch.Tensor, mine: torch.Tensor, path: Path) -> None:
    """Refuse a tensor without values in memory, and one of a type that torch would cast, such as quantized integers
    without their scale. mine: the network's own tensor of that name."""
    if tensor.is_meta:
        problem = "is on the meta device, without values"
    elif tensor.is_nested or tensor.layout != torch.strided:
        problem = f"is not dense but {'nested' if tensor.is_nested else str(tensor.layout).removeprefix('torch.')}"
    elif tensor.dtype not in (FLOATS if mine.is_floating_point() else (mine.dtype,)):
        problem = f"holds {str(tensor.dtype).removeprefix('torch.')}, give floating-point numbers"
    else:
        return
    raise UserError(_damaged(path, f"the tensor {name!r} {problem}"))


def _check_arrays(model: nn.Module, file: io.BytesIO) -> None:
    """Refuse a .npz whose arrays are not floating-point, and what timm would change or leave out and say nothing: a
    patch embedding of another size, and more blocks than the network has. Reads the headers of the arrays only."""
    from numpy.lib import format as npy

    height, width = model.patch_embed.patch_size  # type: ignore[union-attr, misc]
    depth = len(model.blocks)  # type: ignore[arg-type]
    with zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                version = npy.read_magic(member)
                read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, _, dtype = read_header(member)
            name = name.removesuffix(".npy")
            if dtype.kind != "f" and shape:
                raise ValueError(f"the array {name!r} holds {dtype}, give floating-point numbers")
            if name.endswith("embedding/kernel") and shape[:2] != (height, width):
                raise ValueError(f"its patches are {shape[0]} px wide, the network's {width} px")
            block = re.search(r"/encoderblock(?:_(\d+))?/", name)  # in newer files all blocks are in one array
            if block and (int(block[1]) >= depth if block[1] else shape[0] != depth):
                raise ValueError(f"it has other blocks than the network's {depth}: {name}, of shape {shape}")
    file.seek(0)


def _read_state(path: Path, file: io.BytesIO) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return load(file.getvalue())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kinds of tensors that are refused afterwards
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(_damaged(path, first_line(error))) from None
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    named = isinstance(loaded, dict) and all(isinstance(k, str) and torch.is_tensor(v) for k, v in loaded.items())
    if not named:
        raise UserError(_damaged(path, "no dictionary of tensors"))
    return {name.removeprefix("module."): tensor for name, tensor in loaded.items()}


def _resized(model: nn.Module, state: dict[str, torch.Tensor], path: Path, resize: str) -> dict[str, torch.Tensor]:
    network: Any = model
    embed, wanted = state["pos_embed"], network.pos_embed.shape
    if embed.shape == wanted or embed.ndim != 3 or embed.shape[-1] != wanted[-1]:
        return state
    grid = network.patch_embed.grid_size
    prefix = 0 if getattr(model, "no_embed_class", False) else int(getattr(model, "num_prefix_tokens", 1))
    try:
        return {**state, "pos_embed": resized(embed, grid, prefix, resize)}
    except Exception as error:
        raise UserError(_damaged(path, f"position embeddings do not fit ({first_line(error)})")) from None


def _resize_again(model: nn.Module, file: io.BytesIO, resize: str) -> None:
    """Replace the position embeddings that timm resized from a .npz."""
    network: Any = model
    file.seek(0)
    with np.load(file) as arrays:
        embed = torch.from_numpy(arrays["Transformer/posembed_input/pos_embedding"])
    if embed.shape != network.pos_embed.shape:
        with torch.no_grad():
            network.pos_embed.copy_(resized(embed, network.patch_embed.grid_size, network.num_prefix_tokens, resize))


def _damaged(path: Path, why: str) -> str:
    return f"cannot read the weights in {path}: {why}; fetch the file again, or give another by backbone.checkpoint"
