"""Write vit_nano with random weights: what `sweeps/nano_probe.yaml` compares the pre-trained one with.

Run from the repository root:  python tools/random_vit_nano.py data/weights/vit_nano_random.safetensors
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from aoft_bench.backbones.networks import build
from aoft_bench.config.choices import backbone_options

if len(sys.argv) != 2:
    sys.exit(__doc__)
path = Path(sys.argv[1])
path.parent.mkdir(parents=True, exist_ok=True)
torch.manual_seed(0)
save_file(build(backbone_options("vit_nano"), num_classes=0, weights=False).model.state_dict(), path)
print(f"wrote {path}")
