"""What every method promises (contract.py), for whatever is registered; mistakes; and exact counts on ViT-B/16."""

import dataclasses
import sys

import contract
import pytest
import torch
from method_cases import COUNTS, VARIANTS
from networks import perturb, swin, timm, vit
from omegaconf import OmegaConf
from torch import nn

import aoft_bench
from aoft_bench import methods
from aoft_bench.backbones.layout import shape_of
from aoft_bench.config import choices as presets
from aoft_bench.config.schema import conf_dir
from aoft_bench.utils.errors import UserError

CASES = [(name, {}) for name in methods.names()] + VARIANTS
# a new method may refuse a Swin; these may not
ON_SWIN = {
    *("adapter", "adapter_houlsby", "adapter_pfeiffer", "adapter_plus", "adaptformer", "aoft", "arc", "bitfit", "full"),
    *("hta", "linear", "lora", "norm", "partial", "peft", "repadapter", "rlrr", "ssf"),
}

each = pytest.mark.parametrize(
    "name, options", CASES, ids=[f"{n}-{'-'.join(map(str, o.values()))}" if o else n for n, o in CASES]
)


def adapted(name: str, options: dict, model: nn.Module | None = None, seed: int = 7) -> methods.Handle:
    model = vit() if model is None else model
    torch.manual_seed(seed)
    return aoft_bench.attach(model, name, **options)


@each
@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
def test_on_a_vit(check, name, options):
    check(methods.build(name, options))


@each
@pytest.mark.parametrize("check", contract.ON_ANY_NETWORK, ids=lambda check: check.__name__)
def test_on_a_swin(check, name, options):
    method = methods.build(name, options)
    try:
        adapted(name, options, swin())
    except UserError as refusal:
        assert name not in ON_SWIN and "Swin" in str(refusal) and "\n" not in str(refusal)
        return
    check(method, swin)


def test_aoft_adapter_works_on_swin_where_it_says_so():
    with pytest.raises(UserError, match=r"SwinTransformerBlock; use method\.positions=ffn"):
        adapted("aoft_adapter", {}, swin())
    adapted("aoft_adapter", dict(positions="ffn"), swin())


def test_a_pattern_of_the_backbones_parameters_must_match_something():
    with pytest.raises(UserError, match=r"it has no parameter called 'norm\.\*', which Partial trains"):
        adapted("partial", {}, vit(global_pool="avg"))  # whose last norm is called fc_norm


@each
def test_saved_tensors_are_copies(name, options):
    handle = adapted(name, options)
    state = handle.state_dict()
    kept = {key: value.clone() for key, value in state.items()}
    perturb(handle)
    assert all(torch.equal(state[key], kept[key]) for key in kept)


@each
def test_state_of_another_model_is_refused(name, options):
    handle = adapted(name, options)
    state = handle.state_dict()
    first = next(iter(state))
    before = contract.output(handle.model)
    wrong = [
        {key: value for key, value in state.items() if key != first},
        {**state, "blocks.9.foreign": torch.zeros(1)},
        {**state, first: torch.zeros(3, 3, 3)},
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


@each
def test_attaching_twice_is_refused(name, options):
    handle = adapted(name, options)
    with pytest.raises(UserError, match="adapted already"):
        adapted(name, options, handle.model)


SIZES = [
    (n, f.name) for n in methods.names() for f in dataclasses.fields(methods.get(n)) if f.name in ("rank", "bottleneck")
]


@pytest.mark.parametrize("name, option", SIZES)
def test_what_is_wider_than_the_matrix_is_refused(name, option):
    adapted(name, {option: 32})
    with pytest.raises(UserError, match=rf"method\.{option} is too large: got 33, .* give 1 to 32"):
        adapted(name, {option: 33})
    with pytest.raises(UserError, match=rf"{option}: got 0, must be at least 1"):
        adapted(name, {option: 0})


@pytest.mark.parametrize("name", ["aoft", "lora"])
def test_the_narrower_side_bounds_the_rank(name):
    with pytest.raises(UserError, match=r"got 20, but fc1 is 32 -> 16 wide; give 1 to 16"):
        adapted(name, dict(rank=20, targets=["fc1"]), vit(mlp_ratio=0.5))


@pytest.mark.parametrize("name", methods.names())
def test_unknown_options_come_with_the_closest(name):
    with pytest.raises(UserError, match=r"unknown option .*'nonsense'"):
        adapted(name, {"nonsense": 1})
    for field in dataclasses.fields(methods.get(name)):
        with pytest.raises(UserError, match=f"did you mean '{field.name}'"):
            adapted(name, {field.name + "x": 1})


def test_unknown_methods_come_with_the_closest():
    with pytest.raises(UserError, match="did you mean 'lora'"):
        adapted("lroa", {})


def test_every_problem_is_told_at_once():
    with pytest.raises(UserError, match=r"(?s)3 problems.*rank.*learn_lambda.*targets"):
        adapted("aoft", dict(rank="8", targets=["q", "w"], learn_lambda=1))


@pytest.mark.parametrize("name", sorted({name for name, _ in CASES} - {"full", "linear"}))  # these need no blocks
def test_a_network_without_blocks_is_refused(name):
    with pytest.raises(UserError, match="no transformer blocks"):
        adapted(name, {}, nn.Sequential(nn.Linear(2, 2)))


# -- ViT-B/16 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, options, expected", COUNTS)
def test_counts_on_vit_b16(name, options, expected):
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=100)
    shape = shape_of(model)
    handle = adapted(name, options, model)
    assert handle.trainable_parameters(head=False) == expected
    assert handle.trainable_parameters() == expected + 768 * 100 + 100
    assert handle.method.count(shape) in (expected, None)
    assert all(p.is_meta for p in handle.model.parameters())


# -- one file and one YAML -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", presets.choices())
def test_every_yaml_is_a_method_or_a_labelled_setting_of_one(choice):
    name, options = presets.read(choice)
    label = OmegaConf.load(conf_dir() / "method" / f"{choice}.yaml").method.get("label")
    defaults = dataclasses.asdict(methods.build(name, {}))
    if choice == name:
        assert options == defaults
    else:
        assert label == choice and options.keys() == defaults.keys() and options != defaults
        assert methods.build(name, options)


@pytest.mark.parametrize(
    "text, told",
    [
        ("defaults: [lorra]\nmethod: {label: mine}\n", "unknown method 'lorra' .*did you mean 'lora'"),
        ("method: {rank: 2}\n", r"method/mine\.yaml does not say which method it is of: give method\.name"),
    ],
)
def test_a_yaml_of_ones_own_that_is_wrong_is_told(tmp_path, text, told):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        presets.read("mine", [conf_dir(), tmp_path])


def test_every_method_has_a_yaml():
    assert set(methods.names()) <= set(presets.choices())


@pytest.mark.parametrize("name", methods.names())
def test_the_module_says_where_it_comes_from_and_what_it_costs(name):
    cls = methods.get(name)
    text = sys.modules[cls.__module__].__doc__
    assert cls.__module__ == f"aoft_bench.methods.{name}"
    assert "Source:" in text and "Parameters:" in text and cls.source


def test_the_page_of_methods_has_every_choice_with_its_count():
    page = (conf_dir().parent / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.split("|")[1:3]]
        for line in page.splitlines()
        if line.startswith("| `") and "method=" not in line
    ]
    told = {}
    for names, counts in rows:
        told |= dict(zip(names.replace("`", "").split(", "), counts.replace(",", "").split("; "), strict=True))
    assert set(told) == set(presets.choices())
    shape = methods.Shape(depth=12, width=768, hidden=3072)
    for choice, count in told.items():
        name, options = presets.read(choice)
        assert methods.build(name, options).count(shape) in (int(count), None), choice
