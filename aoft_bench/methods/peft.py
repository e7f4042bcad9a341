r"""peft: the tuners of Hugging Face's peft library that act on linear layers, on q, k, v separately.

    x W' + b'        W' (in, out) and b' (out): what the tuner makes of the frozen weight and bias of one matrix

peft itself builds, runs and merges the tuner; q, k and v, which timm keeps in one layer, are given to it as three.
`rank` is the field of peft's configuration named below, everything else of it is set by `options`, as in
``+method.options.lora_alpha=16``. Parameters of one matrix with r = rank, D its inputs, E its outputs:

    tuner                        rank r is            Parameters: per matrix (beside: for all matrices)
    lora, rslora, pissa, olora   r                    r (D + E)
    dora                         r                    r (D + E) + E
    hira, deft, shira, gralora   r                    r (D + E)
    delora                       r                    r (D + E) + 1
    loha                         r                    2 r (D + E)
    glora                        r                    2 r (D + E) + r (D + 1) + 2
    lokr                         r                    m m' + r (n + n'), D = m n, E = m' n' near the roots; n n' without
                                                      factors where r >= max(n, n') / 2
    vera, pvera                  r                    E + r, E + 2 r (random projections are shared and fixed)
    randlora                     r                    ceil(min(D, E) / r) (r + min(D, E))
    tinylora                     r                    u = 64
    unilora                      r                    0 (beside: theta_d_length = 256)
    vblora                       r                    r (D + E) n / l (beside: n l); n = 256, l = gcd(256, widths)
    miss, bone                   r, block size        r E
    peanut                       r                    2 r E
    psoft                        r                    r (r - 1) / 2 + 2 r
    hra                          r, reflections       r D
    oft                          oft_block_size       D (r - 1) / 2
    boft                         boft_block_size      D r + E
    c3a                          blocks a side        D E / block_size, block_size = gcd(widths) / r
    fourierft, waveft            n_frequency          n_frequency = r min(D, E) of the narrowest matrix
    adamss                       r, of the PCA        5 r + E
    ia3, road, beft              not used             E
    supertuning                  not used             D E / 100, the entries of largest magnitude

ViT-B/16, r = 8, on q, v: lora 294,912; dora 313,344; ia3 18,432; oft 64,512; boft 165,888; hra 147,456; vera 18,624.

Source: huggingface/peft at 5d602fdbf (0.21.2), src/peft/tuners; the papers are named in each tuner's configuration.

Differs from peft: random constants (vera, randlora, fourierft, ...) are drawn from the run's seed instead of a fixed
one; fourierft and c3a start at the pre-trained function; constants that peft keeps in plain attributes, or computes
anew on loading, are saved. pissa, olora and psoft are prepared in float32 and brought to the weights' own type; the
weight that is left beside pissa's and olora's factors is computed, so that the start is exact, and saved. deft and c3a,
whose activations peft computes in float32, go through their weight update; peft's own backward pass of c3a, which this
avoids, gives the layers below a wrong gradient. unilora and vblora cannot start at the pre-trained function. boft's
butterfly factors above 1 need a CUDA kernel that peft compiles.

Left out: adalora (ranks are reallocated by a call after each step, and it has a loss of its own); frod (keeps its
projections on the CPU, and starts off the pre-trained function by float32's rounding); lily (mixes its experts over the
whole batch, so that a prediction depends on the other images); osf (trains nearly all of the weight, and its
gradient hooks are lost in a copy); poly, xlora (task ids; a router of the whole network); shadow, adaption_prompt,
cartridge, cpt, prefix, prompt and p tuning (language models); ln_tuning, trainable_tokens (no linear layers; `norm` is
a method of ours); LoRA's initialisations that need data or quantised weights (eva, corda, loftq, lora_ga, qalora).
"""

import dataclasses
import warnings
from dataclasses import field
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import nn

from aoft_bench.backbones.layout import Matrix, Target, block_paths, check_rank, matrices_of
from aoft_bench.methods.parts.peft_layer import PeftLinear, fixed, inject, part_of
from aoft_bench.methods.parts.peft_tuners import RANKS, TUNERS, TunerName
from aoft_bench.methods.registry import Method, Shape, method
from aoft_bench.utils.errors import UserError, message_of, unknown

# Fields of peft's configurations that say what we decide: where it acts, what is trained and saved; and those that need
# more than a configuration. sample_at_inference would make results random.
OURS = {
    *("target_modules", "exclude_modules", "modules_to_save", "target_parameters", "trainable_token_indices", "bias"),
    *("fan_in_fan_out", "inference_mode", "save_projection", "save_indices", "save_precomputed_indices"),
    *("save_only_topk_weights", "megatron_config", "megatron_core", "layer_replication", "runtime_config"),
    *("ensure_weight_tying", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "arrow_config"),
    *("alora_invocation_tokens", "use_qalora", "qalora_group_size", "use_bdlora", "sample_at_inference", "use_asa"),
    *("kasa_config", "monteclora_config", "velora_config"),
}


# what peft raises where an option or the network does not suit a tuner
REFUSALS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@method("peft")
class Peft(Method):
    """Options of the bridge to peft. rank, targets: as in the module's text; options: the rest of peft's own."""

    tuner: TunerName = "dora"
    rank: Annotated[int, Field(ge=1)] = 8
    targets: Annotated[list[Target], Field(min_length=1)] = field(default_factory=lambda: ["q", "v"])
    options: dict[str, Any] = field(default_factory=dict)

    source: ClassVar[str] = "huggingface/peft@5d602fdbf (0.21.2) src/peft/tuners"
    published: ClassVar[str] = "the count of `tuner=dora`; those of the others are in peft.py"
    mergeable: ClassVar[bool] = True

    @property
    def starts_at_backbone(self) -> bool:
        asked = [value for name, value in self.options.items() if name.startswith("init_") and "weights" in name]
        kept = self.tuner not in ("c3a", "tinylora")  # whose other initialisations are all random
        at_start = all(value is True or (isinstance(value, str) and kept) for value in asked)
        return TUNERS[self.tuner].starts and at_start and not self.options.get("para")

    @property
    def forms_weight_gradients(self) -> bool:
        """Whether the backward pass forms matrices of the size of a frozen weight."""
        return TUNERS[self.tuner].dense

    def attach(self, model: nn.Module) -> None:
        found = [[m for target in self.targets for m in matrices_of(block, target)] for _, block in block_paths(model)]
        blocks = [{matrix.name: matrix for matrix in of_block} for of_block in found]
        try:
            config = self._config(blocks)
            parts = [{name: part_of(matrix) for name, matrix in block.items()} for block in blocks]
            adapted = inject(config, TUNERS[self.tuner], parts)
        except REFUSALS as e:
            why = message_of(e)
            raise UserError(f"peft's {self.tuner} cannot adapt this {type(model).__name__}: {why}") from e
        for block, adapted_parts in zip(blocks, adapted, strict=True):
            for matrix in block.values():
                layer = matrix.layer
                if not isinstance(layer, PeftLinear):  # q, k and v are in the same layer
                    of_layer = {m.name: adapted_parts.get(m.name) or fixed(part_of(m)) for m in matrix.siblings()}
                    new = PeftLinear(of_layer, TUNERS[self.tuner].by_weight)
                    matrix.replace_layer(new.train(layer.training))

    def count(self, shape: Shape) -> int | None:
        sizes = [shape.sides(target) for target in self.targets] * shape.depth
        return TUNERS[self.tuner].count(self.rank, sizes, self.options)

    def _config(self, blocks: list[dict[str, Matrix]]) -> Any:
        """peft's configuration; `UserError` for an option that it does not have, or a rank that does not fit."""
        tuner, mapping = TUNERS[self.tuner], _mapping()
        if tuner.kind not in mapping:
            raise UserError(f"the installed peft has no {self.tuner}; a newer one has: pip install -U peft")
        from peft.config import PeftConfig  # its fields are not options of a tuner

        cls = mapping[tuner.kind]
        allowed = {f.name for f in dataclasses.fields(cls)} - {f.name for f in dataclasses.fields(PeftConfig)} - OURS
        for name in self.options:
            if name not in allowed:
                raise unknown(f"option of peft's {self.tuner}", name, allowed)
        adapted = [matrix for block in blocks for matrix in block.values()]
        sizes = [(matrix.inputs, matrix.outputs) for matrix in adapted]
        asked = tuner.options(self.rank, sizes)
        if tuner.ranked and not RANKS & self.options.keys():
            for matrix in adapted:
                check_rank(self.rank, matrix.inputs, matrix.outputs, matrix.target)
            tuner.check(self.tuner, self.rank, sizes)
        if tuner.seed is not None:
            # from the run's seed, also where this runs inside torch.device("meta")
            asked[tuner.seed] = int(torch.randint(2**31 - 1, (), device="cpu"))
        return cls(target_modules=list(dict.fromkeys(m.name for m in adapted)), **{**asked, **self.options})


def _mapping() -> dict[str, Any]:
    """Name of a peft.PeftType -> class of its configuration."""
    try:
        with warnings.catch_warnings():
            # deprecations inside transformers and accelerate, which peft imports
            for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", category)
            from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    except ImportError as error:
        raise UserError(
            f"method peft needs the peft library ({error}); pip install -e '.[peft]' in the checkout"
        ) from None
    return {kind.name: cls for kind, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
