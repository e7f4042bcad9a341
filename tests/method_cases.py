"""Settings of methods that the tests run over, and the parameter counts on ViT-B/16 that papers print."""

from typing import Any

QV, ALL = ["q", "v"], ["q", "v", "fc1", "fc2"]

# every method is tested with its defaults; these settings, which take other paths, besides
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("aoft", dict(learn_lambda=False)),
    ("aoft", dict(init="released", constant="released")),
    ("aoft", dict(rank=1, targets=["k", "proj"])),
    ("aoft", dict(init="axes", orthogonal=True)),
    ("aoft", dict(learn_q=False)),
    ("aoft", dict(learn_lambda=False, orthogonal=True, rank=3)),
    ("aoft_adapter", dict(learn_lambda=False, norm="none")),
    ("aoft_adapter", dict(orthogonal=True, lambda_lr=10.0)),
    ("aoft_adapter", dict(learn_q=False, init="axes")),
    ("aoft_adapter", dict(init="released", constant="released")),
    ("aoft_adapter", dict(positions="ffn")),
    ("lora", dict(rank=2, alpha=4.0, targets=["q", "k", "v", "proj", "fc1", "fc2"])),
    ("partial", dict(blocks=2)),
    # prompts
    # adapters
    # rescaling
    # weight updates
    # peft
]

# (method, options, parameters trained on ViT-B/16 without the head)
COUNTS: list[tuple[str, dict[str, Any], int]] = [
    ("aoft", dict(targets=QV, learn_lambda=False), 36_864),
    ("aoft", dict(targets=QV), 37_056),
    ("aoft", dict(targets=ALL, learn_lambda=False), 129_024),
    ("aoft", dict(targets=ALL), 129_408),
    ("aoft", {}, 129_408),
    ("aoft", dict(learn_q=False), 384),
    ("aoft_adapter", dict(learn_lambda=False), 36_864),
    ("aoft_adapter", {}, 37_056),
    ("aoft_adapter", dict(positions="ffn", learn_lambda=False), 18_432),
    ("aoft_adapter", dict(positions="ffn"), 18_528),
    ("lora", dict(targets=QV, rank=8), 294_912),  # 0.29 M in NOAH's table
    ("lora", dict(targets=ALL, rank=1), 129_024),  # as many as AOFT
    ("adapter", dict(bottleneck=8), 156_768),  # 0.16 M in NOAH's table
    ("linear", {}, 0),
    ("full", {}, 85_798_656),
    ("bitfit", {}, 102_912),  # 0.10 M in NOAH's table, 0.103 in OSU's
    ("norm", {}, 38_400),  # 0.038 M in OSU's table
    ("partial", {}, 7_089_408),
    # prompts
    # adapters
    # rescaling
    # weight updates
    # peft
]
