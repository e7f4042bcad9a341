"""The tuners of the peft library that `peft` offers: what `rank` is to each, where it starts, how much it trains.

Nothing here imports peft. Sizes are (inputs, outputs) of the matrices that are adapted, of one block after the other.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from aoft_bench.utils.errors import UserError

Size = tuple[int, int]
Options = dict[str, Any]

TunerName = Literal[
    "adamss", "beft", "boft", "bone", "c3a", "deft", "delora", "dora", "fourierft", "glora", "gralora", "hira", "hra",
    "ia3", "loha", "lokr", "lora", "miss", "oft", "olora", "peanut", "pissa", "psoft", "pvera", "randlora", "road",
    "rslora", "shira", "supertuning", "tinylora", "unilora", "vblora", "vera", "waveft",
]  # fmt: skip


@dataclass(frozen=True)
class Tuner:
    """The configuration of one tuner and its properties.

    kind: name of its peft.PeftType. options: fields of its configuration from (rank, sizes), before the user's own.
    each: trained parameters of one matrix from (inputs, outputs, options); shared: those that all matrices share.
    counted: options besides those of `options` that the two formulas read. ranked: whether `rank` is used.
    starts: whether it starts at the pre-trained function. divides: `rank` must divide all widths; least, multiple: it
    must be at least the one, and a multiple of the other.
    seed: the field that seeds its random constants. single: peft prepares it in float32 only. residual: it starts from
    a piece of the weight, and the rest is the frozen weight. by_weight: see PeftLinear. real: it reads the weights,
    and cannot be prepared on the meta device. dense: its backward pass forms matrices of the size of the weight.
    """

    kind: str
    options: Callable[[int, list[Size]], Options]
    each: Callable[[int, int, Options], int]
    shared: Callable[[Options], int] = lambda o: 0
    counted: frozenset[str] = field(default_factory=frozenset)
    ranked: bool = True
    starts: bool = True
    divides: bool = False
    least: int = 1
    multiple: int = 1
    seed: str | None = None
    single: bool = False
    residual: bool = False
    by_weight: bool = False
    real: bool = False
    dense: bool = False

    def check(self, name: str, rank: int, sizes: list[Size]) -> None:
        """Raise `UserError` unless `rank` suits the tuner; that it is not too large is checked elsewhere."""
        common = _common(sizes)
        good = [r for r in range(self.least, min(map(min, sizes)) + 1) if r % self.multiple == 0]
        if self.divides:
            good = [r for r in good if common % r == 0]
        if rank not in good:
            near = sorted(good, key=lambda r: abs(r - rank))[:4]
            raise UserError(f"method.rank={rank} does not suit peft's {name}; close to it are {sorted(near)}")

    def count(self, rank: int, sizes: list[Size], options: Options) -> int | None:
        """Trained parameters, or None where the user's own options change them in ways the formulas do not know."""
        asked = self.options(rank, sizes)
        named = {name for name, value in asked.items() if not isinstance(value, list)}  # lists are names of matrices
        if not all(name in named or name in self.counted or name.endswith(HARMLESS) for name in options):
            return None
        merged = {**asked, **options}
        return self.shared(merged) + sum(self.each(inputs, outputs, merged) for inputs, outputs in sizes)


# the fields that `rank` sets; an option of such a name replaces it
RANKS = {"r", "oft_block_size", "boft_block_size", "block_size", "n_frequency"}

# endings of the names of options that change no shape
HARMLESS = (
    *("alpha", "dropout", "scale", "scaling", "lambda", "seed", "prng_key", "bound", "d_initial", "init_logits_std"),
    *("weights", "ab_svd_init", "decomposition_method", "apply_GS", "coft", "eps", "cayley_neumann", "neumann_terms"),
    *("topk", "use_rslora", "wavelet_family", "use_idwt", "act_fn", "select_top", "psoft_svd", "svd_lowrank_niter"),
    *("sparse",),
)


def _low_rank(inputs: int, outputs: int, o: Options) -> int:
    return int(o["r"]) * (inputs + outputs)


def _frequencies(rank: int, sizes: list[Size]) -> Options:
    return {"n_frequency": rank * min(map(min, sizes))}


def _common(sizes: list[Size]) -> int:
    return math.gcd(*(width for size in sizes for width in size))


def _lokr(inputs: int, outputs: int, o: Options) -> int:
    (m_in, n_in), (m_out, n_out) = (_factors(width, o.get("decompose_factor", -1)) for width in (inputs, outputs))
    r = o["r"]
    small = r * (m_out + m_in) if o.get("decompose_both") and r < max(m_out, m_in) / 2 else m_out * m_in
    return int(small + (r * (n_out + n_in) if r < max(n_out, n_in) / 2 else n_out * n_in))


def _factors(width: int, wanted: int) -> Size:
    """(m, width / m) with m the largest divisor that is at most `wanted`, or the root of `width` if that is -1."""
    if wanted > 0 and width % wanted == 0:
        return wanted, width // wanted
    limit = math.isqrt(width) if wanted == -1 else min(wanted, math.isqrt(width))
    m = max(d for d in range(1, limit + 1) if width % d == 0)
    return m, width // m


def _road(outputs: int, o: Options) -> int:
    return outputs * {"road_1": 1, "road_2": 2, "road_4": 4}[o.get("variant", "road_1")]


def _psoft(o: Options) -> int:
    r = o["r"]
    core = r * (r - 1) // 2 if o.get("psoft_orth", True) else r * r
    return int(core + r * (o.get("psoft_mag_a", True) + o.get("psoft_mag_b", True)))


def _lora(**extra: Any) -> Callable[[int, list[Size]], Options]:
    return lambda rank, sizes: {"r": rank, **extra}


_rank = _lora()

TUNERS: dict[str, Tuner] = {
    "adamss": Tuner(
        "ADAMSS", _rank, lambda i, o, c: c.get("num_subspaces", 5) * min(c["r"], o, i + 1) + o,
        counted=frozenset({"num_subspaces"}), real=True,
    ),
    "beft": Tuner("BEFT", lambda r, s: {}, lambda i, o, c: o, ranked=False),
    "boft": Tuner(
        "BOFT", lambda r, s: {"boft_block_size": r},
        lambda i, o, c: c.get("boft_n_butterfly_factor", 1) * i * c["boft_block_size"] + o,
        counted=frozenset({"boft_n_butterfly_factor"}), divides=True, least=2, dense=True,
    ),
    "bone": Tuner("MISS", _lora(init_weights="bat"), lambda i, o, c: c["r"] * o, divides=True, dense=True),
    "c3a": Tuner(
        "C3A", lambda r, s: {"block_size": max(1, _common(s) // r), "init_weights": True},
        lambda i, o, c: i * o // c["block_size"],
        divides=True, by_weight=True, dense=True,
    ),
    "deft": Tuner(
        "DEFT", _rank, lambda i, o, c: c["r"] * (o if c.get("para") else i + o),
        counted=frozenset({"para"}), by_weight=True, dense=True,
    ),
    "delora": Tuner("DELORA", _rank, lambda i, o, c: _low_rank(i, o, c) + 1),
    "dora": Tuner("LORA", _lora(use_dora=True), lambda i, o, c: _low_rank(i, o, c) + o),
    "fourierft": Tuner(
        "FOURIERFT", lambda r, s: {**_frequencies(r, s), "init_weights": True}, lambda i, o, c: c["n_frequency"],
        seed="random_loc_seed", dense=True,
    ),
    "glora": Tuner("GLORA", _rank, lambda i, o, c: 2 * _low_rank(i, o, c) + c["r"] * (i + 1) + 2, dense=True),
    "gralora": Tuner(
        "GRALORA", _rank, lambda i, o, c: (c["r"] + c.get("hybrid_r", 0)) * (i + o),
        counted=frozenset({"gralora_k", "hybrid_r"}),
    ),
    "hira": Tuner("HIRA", _rank, _low_rank, dense=True),
    "hra": Tuner("HRA", _rank, lambda i, o, c: c["r"] * i, multiple=2, dense=True),
    "ia3": Tuner("IA3", lambda r, s: {"feedforward_modules": []}, lambda i, o, c: o, ranked=False),
    "loha": Tuner("LOHA", _rank, lambda i, o, c: 2 * _low_rank(i, o, c), dense=True),
    "lokr": Tuner("LOKR", _rank, _lokr, counted=frozenset({"decompose_both", "decompose_factor"}), dense=True),
    "lora": Tuner("LORA", _rank, _low_rank),
    "miss": Tuner(
        "MISS", _rank, lambda i, o, c: c["r"] * (c.get("mini_r", 1) if c.get("init_weights") == "mini" else o),
        counted=frozenset({"mini_r"}),
    ),
    "oft": Tuner(
        "OFT", lambda r, s: {"oft_block_size": r}, lambda i, o, c: i * (c["oft_block_size"] - 1) // 2, divides=True,
        least=2,
    ),
    "olora": Tuner("LORA", _lora(init_lora_weights="olora"), _low_rank, single=True, residual=True),
    "peanut": Tuner(
        "PEANUT", _rank, lambda i, o, c: 2 * c["r"] * (o + c.get("depth", 0) * c["r"]),
        counted=frozenset({"depth"}), dense=True,
    ),
    "pissa": Tuner("LORA", _lora(init_lora_weights="pissa"), _low_rank, single=True, residual=True),
    "psoft": Tuner(
        "PSOFT", _rank, lambda i, o, c: _psoft(c),
        counted=frozenset({"psoft_orth", "psoft_mag_a", "psoft_mag_b"}), seed="random_seed", single=True,
    ),
    "pvera": Tuner("PVERA", _rank, lambda i, o, c: o + 2 * c["r"], seed="projection_prng_key"),
    "randlora": Tuner(
        "RANDLORA", _rank, lambda i, o, c: math.ceil(min(i, o) / c["r"]) * (c["r"] + min(i, o)),
        seed="projection_prng_key", dense=True,
    ),
    "road": Tuner(
        "ROAD", lambda r, s: {"group_size": math.gcd(64, _common(s))}, lambda i, o, c: _road(o, c),
        counted=frozenset({"variant"}), ranked=False,
    ),
    "rslora": Tuner("LORA", _lora(use_rslora=True), _low_rank),
    "shira": Tuner("SHIRA", _rank, _low_rank, seed="random_seed", real=True, dense=True),
    "supertuning": Tuner(
        "SUPERTUNING", lambda r, s: {"sparsity": 0.99}, lambda i, o, c: int(i * o * (1 - c["sparsity"])),
        ranked=False, dense=True,
    ),
    "tinylora": Tuner(
        "TINYLORA", _rank, lambda i, o, c: c.get("u", 64), counted=frozenset({"u"}), seed="projection_seed"
    ),
    "unilora": Tuner(
        "UNILORA", lambda r, s: {"r": r, "save_indices": True}, lambda i, o, c: 0,
        shared=lambda c: c.get("theta_d_length", 256), counted=frozenset({"theta_d_length"}),
        starts=False, seed="proj_seed",
    ),
    "vblora": Tuner(
        "VBLORA", lambda r, s: {"r": r, "vector_length": math.gcd(256, _common(s))},
        lambda i, o, c: c["r"] * (i + o) // c["vector_length"] * c.get("num_vectors", 256),
        shared=lambda c: c.get("num_vectors", 256) * c["vector_length"], counted=frozenset({"num_vectors"}),
        starts=False,
    ),
    "vera": Tuner("VERA", _rank, lambda i, o, c: o + c["r"], seed="projection_prng_key"),
    "waveft": Tuner("WAVEFT", _frequencies, lambda i, o, c: c["n_frequency"], seed="random_loc_seed", dense=True),
}  # fmt: skip
