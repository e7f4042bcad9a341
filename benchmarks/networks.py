"""ViTs with random weights, random images, and the cases whose steps are timed."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

import aoft_bench
from aoft_bench.backbones.networks import NANO
from aoft_bench.data.loader import DeviceBatches
from aoft_bench.data.transforms import NORMALIZATIONS, normalize
from aoft_bench.training.cuda_graph import CudaGraphStep
from aoft_bench.training.frozen_cache import FrozenCache
from aoft_bench.training.frozen_part import frozen_part
from aoft_bench.training.hardware import autocast, prefer_fast_attention
from aoft_bench.utils.fast_imports import import_timm

CLASSES = 100
ALL = ["q", "v", "fc1", "fc2"]


def vit(name: str, size: int, device: torch.device) -> nn.Module:
    """A ViT of timm, or vit_nano, in fp32 on `device`. Its head is not zero: gradients below a zero head are zero."""
    torch.manual_seed(0)
    timm = import_timm()
    with device:
        if name == "vit_nano":
            model = timm.models.vision_transformer.VisionTransformer(
                **{**NANO, "img_size": size, "num_classes": CLASSES}
            )
        else:
            model = timm.create_model(name, img_size=size, num_classes=CLASSES)
        nn.init.normal_(model.get_classifier().weight, std=0.02)
    prefer_fast_attention(model, device)
    return model.train()  # type: ignore[no-any-return]


def batch(count: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (B, 3, S, S) uint8 and labels (B,)."""
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, device=device)
    return images, torch.randint(0, CLASSES, (count,), device=device)


@dataclass(frozen=True)
class Case:
    """A model whose step is timed. adapt: turns a ViT into it. optimized: whether the step includes the optimizer's;
    kept: whether frozen activations are looked up, as a run does."""

    name: str
    adapt: Callable[[nn.Module], nn.Module]
    optimized: bool = True
    kept: bool = False


def floor(model: nn.Module) -> nn.Module:
    """Freeze everything but the position embedding, so that gradients flow through all blocks and to nothing large."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == "pos_embed")
    return model


def ours(method: str, **options: Any) -> Callable[[nn.Module], nn.Module]:
    return lambda model: aoft_bench.attach(model, method, prepared={}, **options).model


def peft_lora(model: nn.Module) -> nn.Module:
    """LoRA r = 8 of Hugging Face's peft on qkv, fc1, fc2: it cannot split qkv, so it adapts k too."""
    import peft

    config = peft.LoraConfig(r=8, lora_alpha=8, target_modules=["qkv", "fc1", "fc2"], modules_to_save=["head"])
    return peft.get_peft_model(model, config)  # type: ignore[arg-type]


FLOOR = Case("floor", floor, optimized=False)
MAIN = [
    Case("full", ours("full")),
    Case("lora q v fc1 fc2", ours("lora", targets=ALL)),
    Case("aoft† q v fc1 fc2", ours("aoft")),
    Case("peft lora qkv fc1 fc2", peft_lora),
]


def others() -> list[Case]:
    """Every other method with its defaults, and AOFT without †."""
    names = [name for name in aoft_bench.methods.names() if name not in ("full", "aoft", "peft")]
    cases = [Case(name, ours(name)) for name in names]
    return [*cases, Case("aoft q v fc1 fc2", ours("aoft", learn_lambda=False))]


def below() -> list[Case]:
    """What is below the floor: frozen activations computed in every step, and looked up."""
    made = {
        "linear": ours("linear"),
        "partial": ours("partial"),
        "lora last:4": ours("lora", targets=ALL, blocks="last:4"),
        "aoft† last:4": ours("aoft", blocks="last:4"),
        "lst": ours("lst"),
        "res_tuning": ours("res_tuning"),
    }
    return [Case(f"{name}, {how}", adapt, kept=how == "kept") for name, adapt in made.items() for how in STEPS]


STEPS = ("computed", "kept")


@dataclass
class Training:
    """A case with its data and optimizer. graphs: step as CUDA graphs, as a run does on a GPU."""

    case: Case
    model: nn.Module
    device: torch.device
    precision: str
    graphs: bool
    images: Tensor
    labels: Tensor
    run: Any = field(init=False)
    cache: FrozenCache | None = field(init=False, default=None)
    _optimizer: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.model = self.case.adapt(self.model).train()
        if self.case.optimized:
            trained = [p for p in self.model.parameters() if p.requires_grad]
            self._optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
        if self.case.kept:
            self.cache = self._filled()
        self.run = CudaGraphStep(self.loss, self.model, self.precision) if self.graphs else self.loss

    def _filled(self) -> FrozenCache:
        mean, std = NORMALIZATIONS["half"]
        part = frozen_part(self.model, normalize(self.images[:1], mean, std))
        adapted: Any = SimpleNamespace(model=self.model, mean=mean, std=std)
        trainer: Any = SimpleNamespace(eval_batch_size=len(self.images), frozen_cache_gib=None, progress="none")
        job: Any = SimpleNamespace(
            label="benchmark",
            adapted=adapted,
            batches=DeviceBatches(self.images, self.labels, len(self.images)),
            trainer=trainer,
            device=self.device,
            precision=self.precision,
            checkpoint=Path("checkpoint"),
            score_batches=None,
        )
        cache = FrozenCache(job, part)
        cache.fill()
        cache.leave_out_patches()
        cache.select(torch.arange(len(self.images), device=self.device))
        return cache

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        unread = self.cache is not None and self.cache.part.features  # as in aoft_bench.training.module
        pixels = images if unread else normalize(images, *NORMALIZATIONS["half"])
        return nn.functional.cross_entropy(self.model(pixels).float(), labels)

    @torch.no_grad()
    def forward(self) -> None:
        """One forward pass of the images."""
        with autocast(self.device, self.precision):
            self.model(normalize(self.images, *NORMALIZATIONS["half"]))

    def step(self) -> None:
        with self.cache.replaying() if self.cache else nullcontext(), autocast(self.device, self.precision):
            loss = self.run(self.images, self.labels)
        loss.backward()
        if self._optimizer:
            self._optimizer.step()
            self._optimizer.zero_grad()
