"""AOFT against dense matrices that are built here from the formula, entry by entry, in float64."""

import copy
import itertools
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from networks import TIGHT, batch, perturb, vit
from torch import Tensor, nn
from torch.testing import assert_close

import aoft_bench
from aoft_bench.methods.aoft import POLE_DISTANCE, AOUpdate, ao_constant, ao_matrix
from aoft_bench.methods.aoft_adapter import AOAdapter
from aoft_bench.methods.lora import LoRAUpdate
from aoft_bench.methods.parts.low_rank import LowRank
from aoft_bench.methods.parts.merged_linear import AdaptedLinear
from aoft_bench.utils.errors import UserError

CONSTANTS = ["paper", "released"]
WIDTH = 7


def dense_q(q: Tensor, constant: str) -> Tensor:
    """Q(q) of the paper, all of D x D, as the formula has it; differentiable."""
    c = 1 / (1 + q[0]) if constant == "paper" else 1 / ((1 + q[0]) ** 2 + 1)
    first, p = q[:1, None], q[1:, None]
    return torch.cat([torch.cat([first, -p.T], 1), torch.cat([p, torch.eye(len(p)).to(q) - c * (p @ p.T)], 1)])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def vector(width: int = WIDTH, seed: int = 0, norm: float | None = None) -> Tensor:
    """A q away from the pole; norm: its length, or whatever it is."""
    q = random(width, seed=seed)
    q[0] = q[0].abs()
    return q if norm is None else norm * q / q.norm()


@pytest.mark.parametrize("constant", CONSTANTS)
@pytest.mark.parametrize("width, d", [(7, 1), (7, 3), (7, 7), (2, 1), (2, 2)])
def test_matrix_and_its_gradient_are_those_of_the_first_columns_of_the_formula(constant, width, d):
    q = vector(width).requires_grad_()
    made, expected = ao_matrix(q, d, constant), dense_q(q, constant)[:, :d]
    assert made.shape == (width, d)
    assert_close(made, expected, **TIGHT)
    weights = random(width, d, seed=2)
    mine, dense = (torch.autograd.grad((m * weights).sum(), q)[0] for m in (made, expected))
    assert_close(mine, dense, **TIGHT)


@pytest.mark.parametrize("d", [1, 4, 7])
def test_unit_q_is_orthogonal_with_the_papers_constant_only(d):
    q = vector(norm=1.0)
    gram = {c: ao_matrix(q, d, c).T @ ao_matrix(q, d, c) for c in CONSTANTS}
    assert_close(gram["paper"], torch.eye(d, dtype=torch.float64), **TIGHT)
    if d > 1:  # the first column is q itself, whatever the constant
        assert (gram["released"] - torch.eye(d)).abs().max() > 1e-2


def test_the_norm_is_not_enforced():
    q = vector(norm=1.5)
    assert_close(ao_matrix(q, 1)[:, 0].norm(), torch.tensor(1.5, dtype=torch.float64), **TIGHT)


@pytest.mark.parametrize("q0", [-1.0, -1.0 + POLE_DISTANCE / 2, -1.0 - POLE_DISTANCE / 2])
def test_the_pole_is_held_at_a_distance_with_its_sign(q0):
    q = vector().clone()
    q[0] = q0
    q.requires_grad_()
    assert ao_constant(q, "paper").item() == pytest.approx(math.copysign(1 / POLE_DISTANCE, 1 + q0), rel=1e-12)
    matrix = ao_matrix(q, 3)
    matrix.square().sum().backward()
    assert matrix.isfinite().all() and q.grad.isfinite().all()
    assert q.grad[1:].abs().min() > 0


def test_the_constant_is_untouched_just_outside_the_guard():
    q = vector().clone()
    q[0] = -1 - 2 * POLE_DISTANCE
    assert_close(ao_matrix(q, 3), dense_q(q, "paper")[:, :3], rtol=1e-12, atol=0.0)


def test_the_released_constant_has_no_pole():
    q = vector().clone()
    q[0] = -1
    assert_close(ao_matrix(q, 3, "released"), dense_q(q, "released")[:, :3], **TIGHT)


# -- one weight ------------------------------------------------------------------------------------------------------


def update(
    inputs: int, outputs: int, rank: int, constant: str, init: str, learn_lambda: bool, **options: bool
) -> AOUpdate:
    """An update off its starting point."""
    torch.manual_seed(3)
    lambda_ = torch.zeros(rank) if learn_lambda else None
    made = AOUpdate(inputs, outputs, rank, constant=constant, init=init, lambda_=lambda_, **options).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def dense_update(u: AOUpdate) -> Tensor:
    """AO(q_down) diag(lambda) AO(q_up)^T, minus the same at the remembered start; (in, out)."""

    def product(q_down: Tensor, q_up: Tensor) -> Tensor:
        down, up = dense_q(q_down, u.constant)[:, : u.rank], dense_q(q_up, u.constant)[:, : u.rank]
        return down @ (torch.eye(u.rank).double() if u.lambda_ is None else torch.diag(u.lambda_)) @ up.T

    scale = (u.q_down.norm(), u.q_up.norm()) if u.orthogonal else (1, 1)
    total = product(u.q_down / scale[0], u.q_up / scale[1])
    return total if u.q_down_start is None else total - product(u.q_down_start, u.q_up_start)


OPTIONS = list(
    itertools.product(CONSTANTS, ["zero", "axes", "released"], [True, False])
)  # constant, init, learn_lambda


@pytest.mark.parametrize("constant, init, learn_lambda", OPTIONS)
@pytest.mark.parametrize("rank", [1, 3, 4])
def test_update_of_a_weight_is_the_dense_formula(constant, init, learn_lambda, rank):
    made = update(6, 4, rank, constant, init, learn_lambda)
    assert (made.q_down_start is not None) == (init != "released" and not learn_lambda)
    assert made.weight().shape == (4, 6)
    assert_close(made.weight(), dense_update(made).T, **TIGHT)


@pytest.mark.parametrize("constant", CONSTANTS)
@pytest.mark.parametrize("learn_lambda", [True, False])
def test_the_zero_start_is_zero_and_the_released_start_is_the_authors(constant, learn_lambda):
    lambda_ = torch.tensor([0.5, -2.0, 3.0])
    for init in ("zero", "axes"):
        start = torch.zeros(3) if learn_lambda else None
        zero = AOUpdate(6, 4, 3, constant=constant, init=init, lambda_=start).double()
        assert_close(zero.weight(), torch.zeros(4, 6).double(), **TIGHT)
        assert zero.q_down.norm().item() == pytest.approx(1) and zero.q_up.norm().item() == pytest.approx(1)
        assert (zero.q_down[0] == 1) == (init == "axes")
    start = lambda_ if learn_lambda else None
    released = AOUpdate(6, 4, 3, constant=constant, init="released", lambda_=start)
    expected = torch.zeros(4, 6)
    expected[1, 1], expected[2, 2] = (-2.0, 3.0) if learn_lambda else (1.0, 1.0)
    assert torch.equal(released.weight(), expected)


@pytest.mark.parametrize("constant", CONSTANTS)
def test_orthogonal_normalises_q_whatever_its_length(constant):
    made = update(6, 4, 3, constant, "zero", True, orthogonal=True)
    assert abs(made.q_down.norm() - 1) > 1e-2
    assert_close(made.weight(), dense_update(made).T, **TIGHT)
    down = made.matrix(made.q_down)
    exact = (down.T @ down - torch.eye(3)).abs().max() < 1e-12
    assert exact == (constant == "paper")
    with torch.no_grad():
        before = made.weight()
        made.q_down.mul_(3)
        assert_close(made.weight(), before, **TIGHT)


@pytest.mark.parametrize("init", ["zero", "axes", "released"])
def test_a_fixed_q_is_no_parameter_and_lambda_alone_is_trained(init):
    made = update(6, 4, 3, "paper", init, True, learn_q=False)
    assert [name for name, _ in made.named_parameters()] == ["lambda_"]
    assert {name for name, _ in made.named_buffers()} == {"q_down", "q_up"}
    assert_close(made.weight(), dense_update(made).T, **TIGHT)
    if init == "axes":  # the identity's columns: lambda stands on the diagonal
        assert_close(made.weight(), F.pad(torch.diag(made.lambda_), (0, 3, 0, 1)), **TIGHT)


@pytest.mark.parametrize("method", ["aoft", "aoft_adapter"])
def test_lambda_has_rates_of_its_own(method):
    handle = aoft_bench.attach(vit(), method, lambda_lr=10.0, lambda_decay=0.0)
    groups = handle.groups()
    assert set(groups) == {(1.0, 1.0), (10.0, 0.0)}
    lambdas = {id(p) for name, p in handle.trained() if name.endswith("lambda_")}
    assert lambdas and {id(p) for p in groups[10.0, 0.0]} == lambdas
    assert sum(len(parameters) for parameters in groups.values()) == len(list(handle.trained()))


@pytest.mark.parametrize("method", ["aoft", "aoft_adapter"])
@pytest.mark.parametrize(
    "options, message",
    [
        (dict(rank=1, init="released"), r"method\.rank=1 .* method\.init=released"),
        (dict(orthogonal=True, init="released"), r"method\.orthogonal=true .* method\.init=released"),
        (dict(learn_q=False, learn_lambda=False), "nothing to train"),
    ],
)
def test_options_that_do_not_go_together_are_refused(method, options, message):
    with pytest.raises(UserError, match=message):
        aoft_bench.attach(vit(), method, **options)


def fused(updates: dict[str, LowRank], width: int = 6) -> AdaptedLinear:
    """A layer of q, k, v that carries `updates`, with frozen weight and bias."""
    torch.manual_seed(4)
    layer = AdaptedLinear(nn.Linear(width, 3 * width).double().requires_grad_(False))
    for target, one in updates.items():
        start = "qkv".index(target) * width
        layer.add(target, slice(start, start + width), one.double())
    return layer


def two_branches(layer: AdaptedLinear, x: Tensor) -> Tensor:
    """The definition: the frozen layer, plus x A B^T on the rows of each matrix."""
    y = x @ layer.base.weight.T + layer.base.bias
    for name, one in layer.updates.items():
        delta = dense_update(one) if isinstance(one, AOUpdate) else one.a @ one.b.T * one.scale
        rows = layer.rows[name]
        y = y + F.pad(x @ delta, (rows.start, len(layer.base.bias) - rows.stop))
    return y


def lora(rank: int = 2, width: int = 6) -> LoRAUpdate:
    torch.manual_seed(5)
    made = LoRAUpdate(width, width, rank, scale=1.7)
    nn.init.normal_(made.b)
    return made


def aoft_layer(*options) -> AdaptedLinear:
    return fused({"q": update(6, 6, 3, *options), "v": update(6, 6, 2, *options)})


LAYERS = {f"{c}-{i}-{'lambda' if l_ else 'plain'}": partial(aoft_layer, c, i, l_) for c, i, l_ in OPTIONS}
LAYERS |= {"lora": lambda: fused({"q": lora(), "v": lora(3)}), "k only": lambda: fused({"k": lora()})}


@pytest.mark.parametrize("name", LAYERS)
def test_adapted_layer_and_its_merged_form_equal_the_definition(name):
    layer, x = LAYERS[name](), random(2, 5, 6, seed=6)
    expected = two_branches(layer, x)
    assert (expected - layer.base(x)).abs().max() > 1e-2
    assert_close(layer(x), expected, **TIGHT)
    assert_close(layer.merged()(x), expected, **TIGHT)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("shape", [(6,), (2, 5, 6)])
def test_the_backward_pass_equals_autograd_through_two_branches(name, shape):
    layer = LAYERS[name]()
    layer.base.bias.requires_grad_()
    weights = random(*shape[:-1], 18, seed=7)
    results = []
    for forward in (layer, lambda x: two_branches(layer, x)):
        x = random(*shape, seed=6).requires_grad_()
        wanted = {"x": x, "bias": layer.base.bias, **dict(layer.updates.named_parameters())}
        gradients = torch.autograd.grad((forward(x).square() * weights).sum(), list(wanted.values()))
        results.append(dict(zip(wanted, gradients, strict=True)))
    for key in results[0]:
        assert_close(results[0][key], results[1][key], **TIGHT, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("name", ["paper-zero-lambda", "paper-zero-plain", "released-released-lambda", "lora"])
def test_gradcheck(name):
    layer = LAYERS[name]()
    layer.base.bias.requires_grad_()
    names, values = zip(*((n, p) for n, p in layer.named_parameters() if p.requires_grad), strict=True)

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert len(values) >= 5
    assert torch.autograd.gradcheck(run, (random(2, 6, seed=8).requires_grad_(), *values))


@pytest.mark.parametrize("constant, init, learn_lambda", OPTIONS)
def test_adapted_model_equals_a_model_with_the_dense_update_in_its_weights(constant, init, learn_lambda):
    backbone, (x, _) = vit(), batch(16)
    model = copy.deepcopy(backbone)
    options = dict(rank=3, constant=constant, init=init, learn_lambda=learn_lambda)
    handle = aoft_bench.attach(model, "aoft", targets=["q", "k", "proj", "fc1", "fc2"], **options)
    perturb(handle)
    with torch.no_grad():
        for plain, adapted in zip(backbone.blocks, model.blocks, strict=True):
            qkv = adapted.attn.qkv.updates
            plain.attn.qkv.weight[:32] += dense_update(qkv["q"]).T
            plain.attn.qkv.weight[32:64] += dense_update(qkv["k"]).T
            plain.attn.proj.weight += dense_update(adapted.attn.proj.updates["proj"]).T
            plain.mlp.fc1.weight += dense_update(adapted.mlp.fc1.updates["fc1"]).T
            plain.mlp.fc2.weight += dense_update(adapted.mlp.fc2.updates["fc2"]).T
        backbone.head.load_state_dict(model.head.state_dict())
        assert_close(model(x), backbone(x), **TIGHT)
        assert_close(handle.merge()(x), backbone(x), **TIGHT)


# -- adapters --------------------------------------------------------------------------------------------------------


def dense_adapter(a: AOAdapter, h: Tensor, norm: str) -> Tensor:
    x = h if norm == "none" else (h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    return h + x @ dense_update(a)


def dense_block(block: nn.Module, h: Tensor, after_attention, after_ffn) -> Tensor:
    """A pre-norm block of two heads from its weights alone."""
    x = F.layer_norm(h, (32,), block.norm1.weight, block.norm1.bias, block.norm1.eps)
    q, k, v = (x @ block.attn.qkv.weight.T + block.attn.qkv.bias).unflatten(-1, (3, 2, 16)).permute(2, 0, 3, 1, 4)
    mixed = ((q @ k.mT) / 4).softmax(-1) @ v
    h = h + mixed.transpose(1, 2).flatten(2) @ block.attn.proj.weight.T + block.attn.proj.bias
    h = after_attention(h)
    x = F.layer_norm(h, (32,), block.norm2.weight, block.norm2.bias, block.norm2.eps)
    x = F.gelu(x @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
    return after_ffn(h + x @ block.mlp.fc2.weight.T + block.mlp.fc2.bias)


@pytest.mark.parametrize("constant, init, learn_lambda", OPTIONS)
@pytest.mark.parametrize("positions, norm", [("both", "layernorm"), ("both", "none"), ("ffn", "layernorm")])
def test_adapter_blocks_equal_a_dense_derivation(constant, init, learn_lambda, positions, norm):
    model = vit()
    options = dict(rank=3, constant=constant, init=init, learn_lambda=learn_lambda, positions=positions, norm=norm)
    perturb(aoft_bench.attach(model, "aoft_adapter", **options))
    h = random(2, 17, 32, seed=9)
    with torch.no_grad():
        for adapted in model.blocks:
            first, last = adapted.after_attention, adapted.after_ffn
            assert (first is None) == (positions == "ffn")
            expected = dense_block(
                adapted.block,
                h,
                (lambda h, a=first: dense_adapter(a, h, norm)) if first is not None else (lambda h: h),
                lambda h, a=last: dense_adapter(a, h, norm),
            )
            assert_close(adapted(h), expected, **TIGHT)
