"""Settings of methods that the tests run over, and the parameter counts on ViT-B/16 that papers print."""

from typing import Any

QV, ALL = ["q", "v"], ["q", "v", "fc1", "fc2"]

# every method is tested with its defaults, and with these settings, which take other paths through its code
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("aoft", dict(init="zero", constant="paper")),
    ("aoft", dict(init="zero", constant="paper", learn_lambda=False)),
    ("aoft", dict(init="zero", rank=1, targets=["k", "proj"])),
    ("aoft", dict(init="axes", orthogonal=True)),
    ("aoft", dict(init="zero", learn_q=False)),
    ("aoft", dict(init="zero", learn_lambda=False, orthogonal=True, rank=3)),
    ("aoft_adapter", dict(learn_lambda=False, norm="none")),
    ("aoft_adapter", dict(orthogonal=True, lambda_lr=10.0)),
    ("aoft_adapter", dict(learn_q=False, init="axes")),
    ("aoft_adapter", dict(init="released", constant="released")),
    ("aoft_adapter", dict(positions="ffn")),
    ("lora", dict(rank=2, alpha=4.0, targets=["q", "k", "v", "proj", "fc1", "fc2"])),
    ("partial", dict(blocks=2)),
    # prompts
    ("vpt_deep", dict(prompts=3)),
    ("vpt_shallow", dict(prompts=1)),
    ("aoft_vpt", dict(prompts=1, constant="released")),
    ("aoft_vpt", dict(prompts=32)),
    # houlsby, pfeiffer
    ("adapter_houlsby", dict(positions="ffn", tune_norms=False)),
    ("adapter_houlsby", dict(bottleneck=1, bias=False, tune_norms=False)),
    # adapters
    ("adaptformer", dict(scale=2.0, learn_scale=True)),
    ("convpass", dict(scale=0.1, positions="attn", init="xavier")),
    ("repadapter", dict(bottleneck=4, groups=1, scale=0.5)),
    ("repadapter", dict(groups=4)),
    # rescaling
    ("ssf", dict(init="identity")),
    ("arc", dict(bottleneck=3, init="identity")),
    ("rlrr", dict(init="identity")),
    # weight updates
    ("fact_tt", dict(rank=3, scale=2.0)),
    ("fact_tk", dict(rank=3, scale=2.0)),
    ("goft", dict(targets=["v", "proj", "fc1", "fc2"])),
    ("bi_lora", dict(rank=4, scale=20.0, targets=["q", "k", "v", "proj", "fc1", "fc2"])),
    ("hta", dict(targets=["q", "v", "fc1", "fc2"], extra_rank=0)),
    ("hta", dict(targets=["k", "fc2"], extra_rank=3, normalize=False)),
    ("hta", dict(targets=["mha", "ffn", "v"])),
    # beside the backbone
    ("dtl", dict(rank=3, write_from=1, fusion=2)),
    ("vqt", dict(queries=3, dropout=0.0)),
    ("lst", dict(reduction=3)),
    # chosen from training images
    ("gps", dict(per_neuron=2)),
    ("spt", dict(budget=1_200, rank=2)),
    ("spt", dict(budget=2_000, rank=2, form="adapter", alpha=0.8)),
    # with a loss of its own
    ("pace", dict(rank=2, sigma=0.0, strength=0.0)),
    ("pace", dict(rank=2, strength=0.0)),
    # peft: one tuner for each path through our code (parts/peft_layer.py); all tuners are compared with peft itself in
    # test_peft.py. The default, dora, stands for those that peft runs and merges without further ado.
    ("peft", dict(tuner="pissa")),  # prepared in float32, and starts from a piece of the weight: `residual`
    ("peft", dict(tuner="psoft")),  # prepared in float32, the weight as it was
    ("peft", dict(tuner="c3a")),  # run by its weight update: `by_weight`
    ("peft", dict(tuner="vera")),  # random constants, drawn from the seed and shared by matrices
    ("peft", dict(tuner="fourierft")),  # constants in a plain dictionary, which become buffers
    ("peft", dict(tuner="vblora", options=dict(num_vectors=16, init_vector_bank_bound=0.5))),  # shared parameters
    ("peft", dict(tuner="dora", rank=2, targets=["q", "k", "v", "proj", "fc1", "fc2"])),  # layers without frozen parts
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
    ("diff_fit", {}, 140_544),  # 0.141 M in OSU's table
    ("norm", {}, 38_400),  # 0.038 M in OSU's table
    ("partial", {}, 7_089_408),
    # prompts
    ("vpt_deep", {}, 460_800),  # 0.53 to 0.60 M in tables, where lengths are tuned for each task
    ("vpt_shallow", {}, 38_400),  # 0.06 to 0.11 M in tables, the same
    ("vfpt", {}, 92_160),  # 0.57 % in its paper (0.49 M), where lengths are tuned for each task
    ("e2vpt", {}, 138_240),  # 0.32 % in its paper (0.27 M), where lengths are chosen for each task, and pruned
    ("e2vpt", dict(prompts=5), 92_160),
    ("aoft_vpt", {}, 9_216),
    ("aoft_vpt", dict(prompts=100), 9_216),
    # houlsby, pfeiffer
    ("adapter_houlsby", {}, 351_936),  # 0.39 M in Adapter+'s paper, with the average head
    ("adapter_houlsby", dict(tune_norms=False), 313_536),
    ("adapter_houlsby", dict(positions="ffn", tune_norms=False), 156_768),  # as many as `adapter`
    ("adapter_houlsby", dict(bottleneck=1, bias=False, tune_norms=False), 36_864),  # as many as Adapter+AOFT
    ("adapter_pfeiffer", {}, 175_200),  # 0.21 M in Adapter+'s paper, with the average head
    # adapters
    ("adaptformer", {}, 156_768),  # 0.16 M in NOAH's table
    ("adaptformer", dict(learn_scale=True), 156_780),
    ("bi_adaptformer", {}, 589_824),  # 73,728 bytes at one bit each
    ("mona", {}, 2_684_928),
    ("adapter_plus", {}, 165_984),  # 0.20 M in its paper, with the head of 49.5 classes
    ("convpass", {}, 327_552),  # 0.33 M in its paper
    ("convpass", dict(positions="attn"), 163_776),  # 0.16 M in its paper
    ("repadapter", {}, 239_808),  # 0.22 M in its paper, which is 221_184 without the biases
    ("consolidator", {}, 425_472),  # 0.35 % in its paper: 304,128, what is stored of it, without the norms
    # rescaling
    ("ssf", {}, 205_824),  # 0.206 in OSU's table; 0.24 M in HTA's, with the mean head of VTAB
    ("arc", {}, 96_432),  # 0.13 M in HTA's table, with the mean head of VTAB
    ("rlrr", {}, 288_768),  # 0.33 M on VTAB, 0.47 M on FGVC in HTA's tables, with the mean heads
    # weight updates
    ("fact_tt", {}, 61_440),
    ("fact_tt", dict(rank=8), 21_504),
    ("fact_tt", dict(rank=4), 8_448),  # "8K" in FacT's abstract
    ("fact_tk", {}, 86_528),  # 0.069 M in FacT's table is the mean of this for 13 tasks and the next for 6
    ("fact_tk", dict(rank=16), 30_976),
    ("cara", {}, 85_440),
    ("goft", {}, 18_408),  # 0.018 M in its paper
    ("goft", dict(targets=["q", "k", "v", "proj", "fc1", "fc2"]), 82_872),  # what the paper's text says
    ("qgoft", {}, 73_632),  # 0.073 M in its paper
    ("bi_lora", {}, 1_179_648),  # 147,456 bytes at one bit each
    ("hta", {}, 184_320),  # 0.22 M in HTA's table, with VTAB's mean head of 38,045; so are the next three
    ("hta", dict(extra_rank=0), 110_592),  # 0.15 M
    ("hta", dict(extra_rank=2), 258_048),  # 0.30 M
    ("hta", dict(extra_rank=4), 405_504),  # 0.44 M
    ("hta", dict(targets=QV), 92_160),  # 0.09 M in HTA's table, without the head
    ("hta", dict(targets=["ffn"]), 46_080),  # 0.05 M in HTA's table
    ("hta", dict(targets=ALL), 294_912),  # the paper's 0.28 M are 276,480: no diagonal on fc1 and fc2
    # beside the backbone
    ("dtl", {}, 36_864),
    ("dtl", dict(fusion=3), 43_776),  # 0.05 M in its paper
    ("lst", {}, 2_376_300),  # 2.38 M in V-PETL-Bench's table
    ("res_tuning", {}, 387_312),
    ("synqt", {}, 2_622_829),
    ("vqt", {}, 9_216),
    ("vqt", dict(queries=20), 184_320),
    # chosen from training images
    ("gps", {}, 167_424),  # 0.22 M in V-PETL-Bench's table
    ("sct", {}, 111_744),  # 0.11 M in its paper
    # with a loss of its own
    ("pace", {}, 2_203_104),
    # peft
    ("peft", dict(tuner="lora"), 294_912),
    ("peft", {}, 313_344),
    ("peft", dict(tuner="ia3"), 18_432),
    ("peft", dict(tuner="vera"), 18_624),
    ("peft", dict(tuner="oft"), 64_512),
    ("peft", dict(tuner="boft"), 165_888),
    ("peft", dict(tuner="hra"), 147_456),
    ("peft", dict(tuner="lokr"), 26_112),
    ("peft", dict(tuner="loha"), 589_824),
    ("peft", dict(tuner="lora", targets=ALL, rank=1), 129_024),  # as many as AOFT
    ("peft", dict(tuner="fourierft", options=dict(n_frequency=1000)), 24_000),
]
