"""What every method promises (contract.py), for all that are registered; mistakes; and exact counts on ViT-B/16."""

import dataclasses
import pickle
import sys

import contract
import pytest
import torch
from method_cases import COUNTS, VARIANTS
from networks import perturb, shape_of, swin, timm, vit
from omegaconf import OmegaConf
from torch import nn

import aoft_bench
from aoft_bench import methods
from aoft_bench.backbones.layout import VIT_B16
from aoft_bench.config import choices
from aoft_bench.config.folders import conf_dir
from aoft_bench.utils.errors import UserError

CASES = [(name, {}) for name in methods.names()] + VARIANTS
BLOCKS = sorted({*methods.names()} - {"linear"})  # which trains nothing in them
NAMES = pytest.mark.parametrize("method", methods.names())
# a new method may refuse a Swin; these may not
ON_SWIN = {
    *("adapter", "adapter_houlsby", "adapter_pfeiffer", "adapter_plus", "adaptformer", "aoft", "arc", "bitfit", "full"),
    *(
        "consolidator",
        "diff_fit",
        "goft",
        "hta",
        "linear",
        "lora",
        "mona",
        "norm",
        "partial",
        "peft",
        "qgoft",
        "repadapter",
    ),
    *("rlrr", "ssf"),
}
# what a network of stages may change; the rest of the contract is tested on it by `make test-slow`
ON_SWIN_FAST = [contract.check_start, contract.check_what_is_trained, contract.check_gradients, contract.check_merging]
ON_SWIN_SLOW = [check for check in contract.ON_ANY_NETWORK if check not in ON_SWIN_FAST]
# settings that act on a Swin where the defaults do not, or on other layers of it
SWIN_VARIANTS = [
    ("aoft_adapter", dict(positions="ffn")),
    ("bi_adaptformer", dict(bottleneck=4)),
    ("bi_lora", dict(rank=4)),
    ("hta", dict(targets=["mha", "ffn", "v"])),
    ("lora", dict(rank=2, targets=["q", "k", "v", "proj", "fc1", "fc2"])),
]


def each(cases):
    ids = [f"{n}-{'-'.join(map(str, o.values()))}" if o else n for n, o in cases]
    return pytest.mark.parametrize("method, options", cases, ids=ids)


def adapted(method: str, options: dict, model: nn.Module | None = None, seed: int = 7) -> methods.Handle:
    return contract.attached(vit() if model is None else model, method, seed, **options)


# what another setting of a method hardly breaks; `make test-slow` tests it for each
SETTING_SLOW = (
    contract.check_gradient_checkpointing,
    contract.check_seed,
    contract.check_bf16,
    contract.check_copy,
)


def checks_of(cases):
    """Each check on each case; marked slow where it is of `SETTING_SLOW`, and the method is tested without options."""
    for method, options in cases:
        for check in contract.CHECKS:
            marks = [pytest.mark.slow] if options and check in SETTING_SLOW else []
            name = "-".join([check.__name__, method, *map(str, options.values())])
            yield pytest.param(check, method, options, id=name, marks=marks)


@pytest.mark.parametrize("check, method, options", list(checks_of(CASES)))
def test_on_a_vit(check, method, options):
    check(methods.build(method, options))


# these go from each block to the next, so blocks that are no neighbours are refused
NEIGHBOURS = {"dtl", "lst", "res_tuning", "synqt", "vpt_shallow", "vqt"}


# one of each kind: of matrices, norms, images, prompts, and beside the backbone; the others by `make test-slow`
FAST = ("bitfit", "full", "gps", "lora", "lst", "partial", "ssf", "vpt_deep")


@pytest.mark.parametrize(
    "method", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in BLOCKS]
)
def test_chosen_blocks(method):
    made = methods.build(method, {})
    contract.check_blocks(made)
    if method in NEIGHBOURS:
        with pytest.raises(UserError, match=rf"{method} goes from each block to the next.*method\.blocks=\[0, 2\]"):
            adapted(method, {"blocks": [0, 2]}, vit(depth=3))
    else:
        contract.check_blocks(made, [0, 2])


@pytest.mark.slow
@pytest.mark.parametrize("method", BLOCKS)
def test_on_the_last_block(method):
    """What may break where a method acts on one block; what is trained and counted is tested above."""
    made = methods.build(method, {"blocks": "last:1"})
    for check in (contract.check_start, contract.check_what_is_trained, contract.check_gradients):
        check(made)
    for check in (contract.check_merging, contract.check_state, contract.check_prepare):
        check(made)


@each([(name, {}) for name in methods.names()] + SWIN_VARIANTS)
@pytest.mark.parametrize("checks", [ON_SWIN_FAST, pytest.param(ON_SWIN_SLOW, marks=pytest.mark.slow)], ids=["", "rest"])
def test_on_a_swin(checks, method, options):
    built = methods.build(method, options)
    try:
        adapted(method, options, swin())
    except UserError as refusal:
        assert not options and method not in ON_SWIN and "\n" not in str(refusal)
        return
    for check in checks:
        check(built, swin)


def test_aoft_adapter_works_on_swin_where_it_says_so():
    with pytest.raises(UserError, match=r"SwinTransformerBlock: .*; use method\.positions=ffn"):
        adapted("aoft_adapter", {}, swin())
    adapted("aoft_adapter", dict(positions="ffn"), swin())


def test_partial_trains_the_final_norm_whatever_it_is_called():
    handle = adapted("partial", {}, vit(global_pool="avg"))
    assert {"fc_norm.weight", "fc_norm.bias"} <= {name for name, _ in handle.trained()}
    with pytest.raises(UserError, match="it has no layer norm between its blocks and its head"):
        adapted("partial", {}, vit(final_norm=False))


@NAMES
def test_saved_tensors_are_copies(method):
    handle = adapted(method, {})
    state = handle.state_dict()
    kept = {key: value.clone() for key, value in state.items()}
    perturb(handle)
    assert all(torch.equal(state[key], kept[key]) for key in kept)


@NAMES
def test_state_of_another_model_is_refused(method):
    handle = adapted(method, {})
    state = handle.state_dict()
    first = next(iter(state))
    before = contract.output(handle.model)
    wrong = [
        {key: value for key, value in state.items() if key != first},
        {**state, "blocks.9.foreign": torch.zeros(1)},
        {**state, first: torch.zeros(3, 3, 3)},
        {**state, first: state[first].half()},
    ]
    for other in wrong:
        with pytest.raises(UserError, match="do not fit this model: 1 of"):
            handle.load_state_dict(other)
    assert torch.equal(contract.output(handle.model), before)


def test_a_merged_model_is_neither_saved_nor_loaded():
    handle = adapted("lora", {})
    state = handle.state_dict()
    handle.merge()
    with pytest.raises(UserError, match=r"call handle\.unmerge\(\)"):
        handle.state_dict()
    with pytest.raises(UserError, match=r"call handle\.unmerge\(\)"):
        handle.load_state_dict(state)
    handle.unmerge()
    handle.load_state_dict(state)


# -- mistakes --------------------------------------------------------------------------------------------------------


@NAMES
def test_attaching_twice_is_refused(method):
    handle = adapted(method, {})
    with pytest.raises(UserError, match="adapted already"):
        adapted(method, {}, handle.model)


SIZES = [
    (n, f.name) for n in methods.names() for f in dataclasses.fields(methods.get(n)) if f.name in ("rank", "bottleneck")
]


@pytest.mark.parametrize("method, option", SIZES)
def test_what_is_wider_than_the_matrix_is_refused(method, option):
    adapted(method, {option: 32})
    with pytest.raises(UserError, match=rf"method\.{option} is too large: got 33, .* give 1 to 32"):
        adapted(method, {option: 33})
    with pytest.raises(UserError, match=rf"{option}: got 0, must be at least 1"):
        adapted(method, {option: 0})


@pytest.mark.parametrize("method", ["aoft", "lora"])
def test_the_narrower_side_bounds_the_rank(method):
    with pytest.raises(UserError, match=r"got 20, but fc1 is 32 -> 16 wide; give 1 to 16"):
        adapted(method, dict(rank=20, targets=["fc1"]), vit(mlp_ratio=0.5))


@NAMES
def test_unknown_options_come_with_the_closest(method):
    with pytest.raises(UserError, match=r"unknown option .*'nonsense'"):
        adapted(method, {"nonsense": 1})
    for field in dataclasses.fields(methods.get(method)):
        with pytest.raises(UserError, match=f"did you mean '{field.name}'"):
            adapted(method, {field.name + "x": 1})


def test_unknown_methods_come_with_the_closest():
    with pytest.raises(UserError, match="did you mean 'lora'"):
        adapted("lroa", {})


def test_all_problems_are_in_one_message():
    with pytest.raises(UserError, match=r"(?s)3 problems.*rank.*learn_lambda.*targets"):
        adapted("aoft", dict(rank="8", targets=["q", "w"], learn_lambda=1))


@pytest.mark.parametrize("method", sorted({*methods.names()} - {"full", "linear"}))  # these need no blocks
def test_a_network_without_blocks_is_refused(method):
    with pytest.raises(UserError, match="no transformer blocks"):
        adapted(method, {}, nn.Sequential(nn.Linear(2, 2)))


# -- ViT-B/16 --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vit_b16():
    """ViT-B/16 without memory for its weights, pickled, of which copies are made faster than by copy.deepcopy."""
    with torch.device("meta"):
        return pickle.dumps(timm.create_model("vit_base_patch16_224", num_classes=100))


@pytest.mark.parametrize("method, options, expected", COUNTS)
def test_counts_on_vit_b16(method, options, expected, vit_b16):
    model = pickle.loads(vit_b16)
    shape = shape_of(model)
    assert shape == VIT_B16
    handle = aoft_bench.attach(model, method, prepared={}, **options)
    assert handle.trainable_parameters(head=False) == expected
    assert handle.trainable_parameters() == expected + (handle.method.head_inputs(shape) + 1) * 100
    assert handle.method.count(handle.method.chosen_shape(shape)) in (expected, None)
    assert all(p.is_meta for p in handle.model.parameters())


# -- one file and one YAML -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", choices.choices())
def test_every_yaml_is_a_method_or_a_labelled_setting_of_one(choice):
    name, options = choices.read(choice)
    label = OmegaConf.load(conf_dir() / "method" / f"{choice}.yaml").method.get("label")
    defaults = dataclasses.asdict(methods.build(name, {}))
    if "blocks" not in options:  # of all methods, in conf/config.yaml
        assert defaults.pop("blocks") == "all"
    if choice == name:
        assert options == defaults
    else:
        assert label == choice and options.keys() == defaults.keys() and options != defaults
        assert methods.build(name, options)


@pytest.mark.parametrize(
    "text, message",
    [
        ("defaults: [lorra]\nmethod: {label: mine}\n", "unknown method 'lorra' .*did you mean 'lora'"),
        ("method: {rank: 2}\n", r"method/mine\.yaml does not say which method it is of: give method\.name"),
    ],
)
def test_a_users_yaml_that_is_wrong_is_refused(tmp_path, text, message):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        choices.read("mine", [tmp_path])


def test_every_method_has_a_yaml():
    assert set(methods.names()) <= set(choices.choices())


@NAMES
def test_the_module_says_where_it_comes_from_and_what_it_costs(method):
    cls = methods.get(method)
    text = sys.modules[cls.__module__].__doc__
    assert cls.__module__ == f"aoft_bench.methods.{method}"
    assert "Source:" in text and "Parameters:" in text and cls.source and cls.published


def test_the_rows_on_the_page_of_methods_are_up_to_date(cli):
    """The page is written by a command. A method that is not on it yet is no mistake."""
    page = (conf_dir().parent / "docs" / "methods.md").read_text(encoding="utf-8")
    printed = cli("list", "methods", "--markdown").out.splitlines()
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    old = [row for row in rows if row not in printed]
    assert len(rows) > 30 and not old, "run `aoft-bench list methods --markdown` and put it into docs/methods.md"
