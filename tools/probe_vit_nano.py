"""What the pre-training of `vit_nano` is worth: probes of its class token against those of random weights.

For every embedded task: the accuracy on the test split of a linear probe trained on train800 + val200,

* `adamw`: a zero-initialised linear layer on the class token after the last norm, not standardised, trained by AdamW
  (batch 64, cosine) - what the benchmark's `linear` method does; the learning rate is chosen on val200;
* `logistic`: scikit-learn's logistic regression on the same features, standardised, C chosen on val200.

With `--finetune`, also full and LoRA fine-tuning of the pre-trained weights, which have to beat the probe.

Run from the repository root:  python tools/probe_vit_nano.py
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from aoft_bench.data import embedded

SIDE = 32  # pixels
DIM = 128


def build(weights: Path | None, seed: int) -> VisionTransformer:
    """`vit_nano` without a head, with the given or with random weights."""
    torch.manual_seed(seed)
    model = VisionTransformer(
        img_size=SIDE,
        patch_size=4,
        embed_dim=DIM,
        depth=6,
        num_heads=4,
        mlp_ratio=4.0,
        qkv_bias=True,
        class_token=True,
        global_pool="token",
        num_classes=0,
    )
    if weights is not None:
        model.load_state_dict(load_file(weights), strict=True)
    for block in model.blocks:
        block.attn.fused_attn = False
    return model.eval()


def images_of(split: embedded.RawSplit) -> Tensor:
    """(N, 3, SIDE, SIDE) in [-1, 1]: bicubic scaling, grey copied to the three channels, mean = std = 0.5."""
    pictures = []
    for image in split.images:
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("RGB")
        pictures.append(np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


class Task:
    """The tensors of one embedded task; `train` is train800 + val200."""

    def __init__(self, name: str) -> None:
        splits = embedded.load(name)
        self.x = {key: images_of(split) for key, split in splits.items()}
        self.y = {key: torch.from_numpy(split.labels) for key, split in splits.items()}
        for store in (self.x, self.y):
            store["train"] = torch.cat([store["train800"], store["val200"]])
        self.classes = int(self.y["train"].max()) + 1


@torch.no_grad()
def class_tokens(model: VisionTransformer, images: Tensor) -> Tensor:
    return torch.cat([model.forward_features(part)[:, 0] for part in images.split(250)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """In per cent."""
    return 100 * (logits.argmax(1) == labels).float().mean().item()


def adamw_probe(
    x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, classes: int, rate: float, epochs: int, batch: int = 64
) -> float:
    head = nn.Linear(DIM, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    steps = epochs * (len(x) // batch)
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for part in torch.randperm(len(x), generator=generator)[: len(x) // batch * batch].split(batch):
            loss = F.cross_entropy(head(x[part]), y[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return accuracy(head(x_test), y_test)


def logistic_probe(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor, strength: float) -> float:
    from sklearn.linear_model import LogisticRegression

    mean, std = x.mean(0), x.std(0) + 1e-6
    probe = LogisticRegression(C=strength, max_iter=300).fit(((x - mean) / std).numpy(), y.numpy())
    return 100 * float(probe.score(((x_test - mean) / std).numpy(), y_test.numpy()))


def probes(model: VisionTransformer, task: Task, epochs: int) -> dict[str, float]:
    """Test accuracies of both probes, their one setting chosen on val200."""
    x, y = {key: class_tokens(model, task.x[key]) for key in ("train800", "val200", "test")}, task.y
    x["train"] = torch.cat([x["train800"], x["val200"]])
    fit = {
        "adamw": lambda a, b, rate: adamw_probe(x[a], y[a], x[b], y[b], task.classes, rate, epochs),
        "logistic": lambda a, b, strength: logistic_probe(x[a], y[a], x[b], y[b], strength),
    }
    grid = {"adamw": (1e-3, 1e-2), "logistic": (0.03, 0.3, 3.0)}
    result = {}
    for name, probe in fit.items():
        best = max(grid[name], key=lambda value, probe=probe: probe("train800", "val200", value))
        result[name] = probe("train", "test", best)
    return result


class Lora(nn.Module):
    """y = W x + b + B A x with A (rank, in) random, B (out, rank) zero; W and b frozen."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + (x @ self.down.T) @ self.up.T


def finetune(
    model: VisionTransformer, task: Task, method: str, rate: float, epochs: int = 10, batch: int = 32
) -> float:
    """Test accuracy after training on train800 + val200 by `full` or `lora` (rank 8 on qkv) and a linear head."""
    torch.manual_seed(0)
    if method == "lora":
        model.requires_grad_(False)
        for block in model.blocks:
            block.attn.qkv = Lora(block.attn.qkv, 8)
    head = nn.Linear(DIM, task.classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    trained = [p for p in [*model.parameters(), *head.parameters()] if p.requires_grad]
    x, y = task.x["train"], task.y["train"]
    steps = epochs * (len(x) // batch)
    optimiser = torch.optim.AdamW(trained, lr=rate, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(epochs):
        for part in torch.randperm(len(x))[: len(x) // batch * batch].split(batch):
            loss = F.cross_entropy(head(model.forward_features(x[part])[:, 0]), y[part])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return accuracy(head(class_tokens(model, task.x["test"])), task.y["test"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare linear probes of vit_nano with those of random weights.")
    parser.add_argument("--weights", type=Path, default=Path("aoft_bench/weights/vit_nano.safetensors"))
    parser.add_argument("--tasks", nargs="+", choices=embedded.NAMES, default=list(embedded.NAMES))
    parser.add_argument("--random-seeds", type=int, default=2, help="number of random initialisations to average over")
    parser.add_argument("--random-only", action="store_true", help="leave the pre-trained weights out")
    parser.add_argument("--epochs", type=int, default=50, help="of the AdamW probe")
    parser.add_argument("--finetune", action="store_true", help="also fine-tune the pre-trained weights")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    tasks = {name: Task(name) for name in arguments.tasks}
    print(f"{'task':20s} {'probe':9s} {'random':>7s} {'trained':>8s} {'gain':>6s}   test accuracy, %")
    for name, task in tasks.items():
        runs = [probes(build(None, seed), task, arguments.epochs) for seed in range(arguments.random_seeds)]
        trained = {} if arguments.random_only else probes(build(arguments.weights, 0), task, arguments.epochs)
        for probe in ("adamw", "logistic"):
            low = sum(run[probe] for run in runs) / max(1, len(runs))
            high = trained.get(probe, float("nan"))
            print(f"{name:20s} {probe:9s} {low:7.1f} {high:8.1f} {high - low:6.1f}", flush=True)
    if arguments.finetune:
        print(f"\n{'task':20s} {'method':6s} {'rate':>6s} {'test':>6s}   10 epochs, batch 32")
        for name, task in tasks.items():
            for method, rate in (("full", 1e-3), ("full", 1e-4), ("lora", 1e-2), ("lora", 1e-3)):
                started = time.perf_counter()
                score = finetune(build(arguments.weights, 0), task, method, rate)
                seconds = time.perf_counter() - started
                print(f"{name:20s} {method:6s} {rate:6.0e} {score:6.1f}   {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
