"""What every method promises, for whatever is registered; and exact counts on ViT-B/16."""

import copy
import dataclasses
import sys

import pytest
import torch
import torch.nn.functional as F
from method_cases import COUNTS, VARIANTS
from networks import TIGHT, batch, perturb, swin, timm, vit
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.testing import assert_close

import aoft_bench
from aoft_bench import methods, presets
from aoft_bench.config import conf_dir
from aoft_bench.errors import UserError
from aoft_bench.methods.blocks import shape_of

CASES = [(name, {}) for name in methods.names()] + VARIANTS
ON_SWIN = {"adapter", "aoft", "full", "linear", "lora"}  # a new method may refuse it, these may not

each = pytest.mark.parametrize(
    "name, options", CASES, ids=[f"{n}-{'-'.join(map(str, o.values()))}" if o else n for n, o in CASES]
)


def adapted(name: str, options: dict, model: nn.Module | None = None, seed: int = 7) -> methods.Handle:
    model = vit() if model is None else model
    torch.manual_seed(seed)
    return aoft_bench.attach(model, name, **options)


@torch.no_grad()
def output(model: nn.Module, size: int = 16) -> Tensor:
    return model(batch(size)[0])


@torch.no_grad()
def features(model: nn.Module, size: int = 16) -> Tensor:
    return model.forward_features(batch(size)[0])


def steps(handle: methods.Handle, count: int, size: int = 16, lr: float = 0.1) -> None:
    """SGD on noise."""
    images, labels = batch(size)
    optimizer = torch.optim.SGD([p for _, p in handle.trained()], lr=lr)
    for _ in range(count):
        optimizer.zero_grad()
        F.cross_entropy(handle.model(images), labels).backward()
        optimizer.step()


def check_everything(name: str, options: dict, backbone: nn.Module, size: int) -> None:
    """Start, gradients, frozen weights and merging on one backbone."""
    before = {id(p): (p, p.detach().clone()) for p in backbone.parameters()}
    head = {id(p) for p in backbone.get_classifier().parameters()}
    base, base_features = output(backbone, size), features(backbone, size)
    handle = adapted(name, options, backbone)

    moved = (output(handle.model, size) - base).abs().max()
    assert moved < 1e-10 if handle.method.starts_at_backbone else moved > 1e-3

    trained = {id(p) for _, p in handle.trained()}
    inserted = {id(p) for p in handle.model.parameters()} - set(before)
    assert head <= trained
    if inserted:
        assert trained == inserted | head
    steps(handle, 2, size)
    handle.model.zero_grad()
    F.cross_entropy(handle.model(batch(size)[0]), batch(size)[1]).backward()
    for key, parameter in handle.trained():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-9, f"{key} gets no gradient"
    for key, parameter in handle.model.named_parameters():
        if id(parameter) in before:
            same = torch.equal(parameter, before[id(parameter)][1])
            assert same != parameter.requires_grad, f"{key} is {'not trained' if same else 'not frozen'}"

    perturb(handle)
    expected, state = output(handle.model, size), copy.deepcopy(handle.model.state_dict())
    if handle.trainable_parameters(head=False):
        assert (features(handle.model, size) - base_features).abs().max() > 1e-3
    if not handle.mergeable:
        with pytest.raises(UserError, match="cannot be merged"):
            handle.merge()
        return
    plain = {n for n, _ in (swin() if size == 32 else vit()).named_modules()}
    assert {n for n, _ in handle.merge().named_modules()} == plain
    assert_close(output(handle.model, size), expected, **TIGHT)
    handle.unmerge()
    assert torch.equal(output(handle.model, size), expected)
    after = handle.model.state_dict()
    assert after.keys() == state.keys() and all(torch.equal(after[k], state[k]) for k in state)


@each
def test_behaviour_on_a_vit(name, options):
    check_everything(name, options, vit(), 16)


@each
def test_behaviour_on_a_swin(name, options):
    try:
        adapted(name, options, swin())
    except UserError as refusal:
        assert name not in ON_SWIN and "Swin" in str(refusal) and "\n" not in str(refusal)
        return
    check_everything(name, options, swin(), 32)


def test_aoft_adapter_works_on_swin_where_it_says_so():
    with pytest.raises(UserError, match=r"SwinTransformerBlock; use method\.positions=ffn"):
        adapted("aoft_adapter", {}, swin())
    adapted("aoft_adapter", dict(positions="ffn"), swin())


@each
def test_state_goes_into_a_fresh_model_bit_for_bit(name, options, tmp_path):
    handle = adapted(name, options)
    known = {n for n, _ in vit().named_buffers()}
    perturb(handle)
    torch.save(handle.state_dict(), tmp_path / "trained.pt")
    state = torch.load(tmp_path / "trained.pt", weights_only=True)
    buffers = {n for n, _ in handle.model.named_buffers()} - known
    trained = {n for n, _ in handle.trained()}
    assert trained <= state.keys() <= trained | buffers
    fresh = adapted(name, options, seed=8)  # another start
    assert not torch.equal(output(fresh.model), output(handle.model))
    fresh.load_state_dict(state)
    assert torch.equal(output(fresh.model), output(handle.model))
    assert all(torch.equal(value, state[key]) for key, value in fresh.state_dict().items())


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
    before = output(handle.model)
    wrong = [
        {key: value for key, value in state.items() if key != first},
        {**state, "blocks.9.foreign": torch.zeros(1)},
        {**state, first: torch.zeros(3, 3, 3)},
    ]
    for other in wrong:
        with pytest.raises(UserError, match="do not fit this model: 1 of"):
            handle.load_state_dict(other)
    assert torch.equal(output(handle.model), before)


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


@each
def test_the_seed_decides_the_start(name, options):
    one, two = (adapted(name, options, seed=7).state_dict() for _ in range(2))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@each
def test_bf16_autocast_is_finite(name, options):
    handle = adapted(name, options, vit().float())
    perturb(handle)
    images, labels = batch(16)
    with torch.autocast("cpu", torch.bfloat16):
        logits = handle.model(images.float())
    F.cross_entropy(logits.float(), labels).backward()
    with torch.no_grad():
        exact = handle.model(images.float())
    assert logits.isfinite().all()
    assert 0 < (logits - exact).abs().max() < 0.2
    for key, parameter in handle.trained():
        assert parameter.dtype == torch.float32 and parameter.grad.isfinite().all(), key


@each
def test_a_deep_copy_stands_by_itself(name, options):
    handle = adapted(name, options)
    perturb(handle)
    before = output(handle.model)
    twin = copy.deepcopy(handle)
    assert torch.equal(output(twin.model), before)
    perturb(twin)
    assert torch.equal(output(handle.model), before) and not torch.equal(output(twin.model), before)
    assert twin.trainable_parameters() == handle.trainable_parameters()
    assert twin.state_dict().keys() == handle.state_dict().keys()


@each
def test_the_formula_counts_what_is_trained(name, options):
    model = vit(depth=3, mlp_ratio=2.0)
    shape = shape_of(model)
    assert shape == methods.Shape(depth=3, width=32, hidden=64)
    handle = adapted(name, options, model)
    formula = handle.method.count(shape)
    assert formula == handle.trainable_parameters(head=False) or (formula is None and name == "full")
    assert handle.trainable_parameters() - handle.trainable_parameters(head=False) == 5 * 32 + 5


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
    with pytest.raises(UserError, match=r"(?s)3 problems.*rank.*targets.*learn_lambda"):
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


def test_every_method_has_a_yaml():
    assert set(methods.names()) <= set(presets.choices())


@pytest.mark.parametrize("name", methods.names())
def test_the_module_says_where_it_comes_from_and_what_it_costs(name):
    cls = methods.get(name)
    text = sys.modules[cls.__module__].__doc__
    assert cls.__module__ == f"aoft_bench.methods.{name}"
    assert "Source:" in text and "Parameters:" in text and cls.source
