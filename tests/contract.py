"""What every method promises, as checks that say what is wrong: each takes a method and raises AssertionError.

`tests/methods/test_methods.py` runs all of them over the registry. A network is a function that makes a fresh one, see
networks.py: `vit` and `swin`.
"""

import copy
import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from networks import TIGHT, batch, perturb, shape_of, vit
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

import aoft_bench
from aoft_bench.backbones.layout import acted_on, acting_on, classifiers, image_size
from aoft_bench.methods import Handle, Method
from aoft_bench.training.shards import Shard, ShardObjective

Network = Callable[..., nn.Module]


def adapted(method: Method, network: Network = vit, seed: int = 7) -> Handle:
    """A fresh network with the method attached."""
    return attached(network(), method, seed)


def attached(model: nn.Module, method: str | Method, seed: int = 7, **options: Any) -> Handle:
    """`model` with the method attached; one that prepares looks at noise."""
    images, labels = batch(size_of(model))
    torch.manual_seed(seed)
    return aoft_bench.attach(model, method, batches=[(images.to(next(model.parameters())), labels)], **options)


@functools.cache
def untouched(network: Network) -> nn.Module:
    """A network that checks only read."""
    return network()


def size_of(model: nn.Module) -> int:
    """Input side of one of our networks in pixels; 1 for a network that is none of ours."""
    return image_size(model)[0] if hasattr(model, "get_classifier") else 1


@torch.no_grad()
def output(model: nn.Module) -> Tensor:
    """Logits on noise."""
    return model(batch(size_of(model))[0])


@torch.no_grad()
def features(model: nn.Module) -> Tensor:
    """What the head sees, on noise."""
    return model.forward_head(model.forward_features(batch(size_of(model))[0]), pre_logits=True)


def loss(handle: Handle) -> Tensor:
    """The method's loss on noise."""
    return handle.loss(*batch(size_of(handle.model)))


def steps(handle: Handle, count: int = 2, lr: float = 0.1) -> None:
    """SGD on noise, off the starting point, where a factor may have no gradient because the other one is zero."""
    optimizer = torch.optim.SGD([p for _, p in handle.trained()], lr=lr)
    for _ in range(count):
        optimizer.zero_grad()
        loss(handle).backward()
        optimizer.step()
    optimizer.zero_grad()


def check_start(method: Method, network: Network = vit) -> None:
    """The adapted network computes the pre-trained function before the first step, exactly if it says so."""
    moved = (output(adapted(method, network).model) - output(untouched(network))).abs().max().item()
    if method.starts_at_backbone:
        assert moved < 1e-10, f"starts_at_backbone is true, but attaching moved the logits by {moved:.1e}"
    else:
        assert moved > 1e-4, f"starts_at_backbone is false, but attaching moved the logits by {moved:.1e} only"


def check_what_is_trained(method: Method, network: Network = vit) -> None:
    """What was inserted is trained, and of the backbone only the head and what `tunes` declares."""
    model = network()
    before = {name: (parameter, parameter.detach().clone()) for name, parameter in model.named_parameters()}
    handle = attached(model, method)
    trained = {id(parameter) for _, parameter in handle.trained()}
    declared = declared_names(method, network)
    head = {id(p) for classifier in classifiers(model) for p in classifier.parameters()}
    for name, (parameter, _) in before.items():
        wanted = name in declared or id(parameter) in head
        got = id(parameter) in trained
        assert got <= wanted, f"{name} of the backbone is trained, but tunes() does not declare it"
        assert wanted <= got, f"{name} of the backbone is declared by tunes(), but not trained"
    steps(handle)
    for name, (parameter, value) in before.items():
        if id(parameter) not in trained:
            assert parameter.grad is None, f"{name} is frozen, but a gradient was computed for it"
            assert torch.equal(parameter, value), f"{name} is frozen, but its value changed"


def check_gradients(method: Method, network: Network = vit) -> None:
    """After two steps from the start a gradient reaches every trained parameter."""
    handle = adapted(method, network)
    steps(handle)
    loss(handle).backward()
    for name, parameter in handle.trained():
        reached = parameter.grad is not None and parameter.grad.abs().max() > 1e-9
        assert reached, f"{name} is trained, but no gradient reaches it"


def check_count(method: Method) -> None:
    """count() is the number of trained parameters without the head, on a ViT of other proportions, and head_inputs()
    what the head reads."""
    model = _three_blocks()
    shape = method.chosen_shape(shape_of(model))
    formula = method.count(shape)
    counted = attached(model, method).trainable_parameters(head=False)
    assert formula in (counted, None), f"count() says {formula:,} parameters on {shape}, but {counted:,} are trained"
    told, read = method.head_inputs(shape), model.get_classifier().in_features
    assert told == read, f"head_inputs() says {told:,} on {shape}, but the head reads {read:,}"


def check_blocks(method: Method, blocks: str | list[int] = "last:1") -> None:
    """With some blocks chosen, nothing before the first of them is trained or changed, nothing is trained in another
    one, and count() is what is trained."""
    chosen = dataclasses.replace(method, blocks=blocks)
    model, plain = _three_blocks(), untouched(_three_blocks)
    with acting_on(plain, blocks):
        acts = acted_on(plain)
    numbers = [number for number in range(3) if acts(f"blocks.{number}")]
    handle = attached(model, chosen)
    perturb(handle)
    others = tuple(f"blocks.{number}." for number in {0, 1, 2} - set(numbers))
    for name, _ in handle.trained():
        outside = name.startswith(others) or not name.startswith(("blocks.", "norm.", "head."))
        assert not outside, f"{name} is trained, but method.blocks={blocks} leaves it out"
    before = []
    for network in (model, plain):
        block = network.get_submodule(f"blocks.{numbers[0]}")
        with block.register_forward_pre_hook(lambda _, inputs: before.append(inputs[0])):
            network(batch(16)[0])
    assert torch.equal(before[0], before[1]), f"what stands before method.blocks={blocks} is changed"
    assert not before[0].requires_grad, f"something before method.blocks={blocks} is trained"
    check_count(chosen)


def _three_blocks() -> nn.Module:
    return vit(depth=3, mlp_ratio=2.0)


def check_merging(method: Method, network: Network = vit) -> None:
    """Merged computes the same as unmerged, in the backbone's own layers; unmerging brings back every bit."""
    handle = adapted(method, network)
    base = features(handle.model)
    perturb(handle)
    expected, state = output(handle.model), copy.deepcopy(handle.model.state_dict())
    if handle.trainable_parameters(head=False):
        moved = (features(handle.model) - base).abs().max().item()
        assert moved > 1e-3, f"training moved the features by {moved:.1e} only: what is trained is not used"
    if not handle.mergeable:
        return
    plain = {name: type(module) for name, module in untouched(network).named_modules()}
    merged = {name: type(module) for name, module in handle.merge().named_modules()}
    left = sorted(merged.items() - plain.items(), key=str)
    assert not left, f"mergeable is true, but {left[0][0]} is a {left[0][1].__name__} after merging"
    assert_close(output(handle.model), expected, **TIGHT, msg=lambda text: f"merging changed the outputs: {text}")
    handle.unmerge()
    assert torch.equal(output(handle.model), expected), "unmerging did not bring the outputs back bit for bit"
    after = handle.model.state_dict()
    same = after.keys() == state.keys() and all(torch.equal(after[name], state[name]) for name in state)
    assert same, "unmerging did not bring the weights back bit for bit"


def check_state(method: Method, network: Network = vit) -> None:
    """What is saved is what was trained, and goes into a model attached anew, with another seed, bit for bit."""
    handle = adapted(method, network)
    original = untouched(network).state_dict().keys()
    perturb(handle)
    state = handle.state_dict()
    trained = {name for name, _ in handle.trained()}
    assert trained <= state.keys(), f"{sorted(trained - state.keys())} is trained, but not saved"
    for name in state.keys() - trained:
        assert name not in original, f"{name} is a frozen weight of the backbone, but it is saved"
    fresh = adapted(method, network, seed=8)
    fresh.load_state_dict(state)
    equal = torch.equal(output(fresh.model), output(handle.model))
    assert equal, "the saved state does not bring the outputs back: something random is not a buffer or parameter"
    assert all(torch.equal(value, state[name]) for name, value in fresh.state_dict().items())


def check_seed(method: Method, network: Network = vit) -> None:
    """The seed decides the start, and evaluating twice gives the same."""
    one, two = (adapted(method, network) for _ in range(2))
    same = all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert same, "the same seed gives two starts: draw from torch's global generator"
    assert torch.equal(output(one.model), output(one.model)), "evaluating twice gives two results"


def check_gradient_checkpointing(method: Method, network: Network = vit) -> None:
    """Recomputing the blocks in the backward pass gives the same gradients."""
    found = []
    for recompute in (False, True):
        handle = adapted(method, network)
        perturb(handle)
        handle.model.train().set_grad_checkpointing(recompute)
        loss(handle).backward()
        found.append({name: parameter.grad for name, parameter in handle.trained()})
    for name in found[0]:
        one, other = found[0][name], found[1][name]
        assert other is not None, f"{name} gets no gradient when blocks are recomputed"
        assert_close(other, one, **TIGHT, msg=lambda text, name=name: f"gradient checkpointing, {name}: {text}")


def check_bf16(method: Method, network: Network = vit) -> None:
    """Under autocast the forward and all gradients are finite and near the exact ones, and parameters stay fp32."""
    handle = adapted(method, lambda: network().float())
    perturb(handle)
    images, labels = batch(size_of(handle.model))
    with torch.autocast("cpu", torch.bfloat16):
        logits = handle.model(images.float())
    F.cross_entropy(logits.float(), labels).backward()
    with torch.no_grad():
        exact = handle.model(images.float())
    assert logits.isfinite().all(), "logits are not finite under bf16 autocast"
    off = (logits - exact).abs().max().item()
    assert 0 < off < 0.2, f"logits under bf16 autocast are off by {off:.2g}"
    for name, parameter in handle.trained():
        assert parameter.dtype == torch.float32, f"{name} is a {parameter.dtype} under autocast"
        assert parameter.grad is not None and parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"


def check_copy(method: Method, network: Network = vit) -> None:
    """A deep copy shares nothing that is trained with the original."""
    handle = adapted(method, network)
    perturb(handle)
    before = output(handle.model)
    copied = copy.deepcopy(handle)
    assert torch.equal(output(copied.model), before), "a deep copy computes something else"
    own = {id(parameter) for parameter in copied.model.parameters()}
    assert all(id(parameter) in own for _, parameter in copied.trained()), "a deep copy trains what its model has not"
    perturb(copied)
    assert torch.equal(output(handle.model), before), "training a deep copy changes the original"
    assert not torch.equal(output(copied.model), before), "training a deep copy does not change it"
    assert copied.trainable_parameters() == handle.trainable_parameters()
    assert copied.state_dict().keys() == handle.state_dict().keys()


def check_backward_size(method: Method) -> None:
    """No matrix of the size of a frozen weight is made in the backward pass, unless matrices themselves are trained, or
    the method declares it."""
    if method.forms_weight_gradients:
        return
    network = _odd_sizes
    shapes = {name: tuple(parameter.shape) for name, parameter in untouched(network).named_parameters()}
    if any(len(shapes[name]) > 1 for name in declared_names(method, network)):
        return
    weights = {shape for name, shape in shapes.items() if name.startswith("blocks") and len(shape) == 2}
    handle = adapted(method, network)
    perturb(handle)
    value = loss(handle)
    with _made() as made:
        value.backward()
    large = sorted({f"{name} {shape}" for name, shape in made if shape in weights or shape[::-1] in weights})
    assert not large, f"the backward pass forms a matrix of the size of a frozen weight: {', '.join(large)}"


def _odd_sizes() -> nn.Module:
    """A ViT with sizes that no number of tokens, heads or factors comes near."""
    return vit(embed_dim=56, mlp_ratio=3.0)


def check_prepare(method: Method, network: Network = vit) -> None:
    """What is chosen from images is the same each time, leaves the network as it was, and is saved."""
    if not method.prepares:
        return
    model, images = network(), [batch(size_of(untouched(network)))]
    before = copy.deepcopy(model.state_dict())
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        found.append(aoft_bench.methods.prepare(model.train(), method, images))
    assert found[0], "prepare() chose nothing"
    same = all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert same and found[0].keys() == found[1].keys(), "prepare() chooses something else the second time"
    same = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert same and model.training, "prepare() changed the network that it looked at"
    handle = attached(model.eval(), method)
    perturb(handle)
    state = handle.state_dict()
    for name, value in found[0].items():
        assert torch.equal(state.get(name, value.new_empty(0)), value), f"prepare() chose {name}, which is no buffer"
    again = attached(network(), method, seed=8, prepared=state)
    again.load_state_dict(state)
    assert torch.equal(output(again.model), output(handle.model)), "what is saved does not hold all that was chosen"
    assert again.choice_digest() == handle.choice_digest()
    counts = [attached(network(), method, prepared=prepared).trainable_parameters() for prepared in ({}, state)]
    assert method.count(shape_of(vit())) is None or counts[0] == counts[1], "sizes depend on what is chosen"


def check_loss(method: Method, network: Network = vit) -> None:
    """The loss is one number, and the mean over shards of a batch that several processes see."""
    handle = adapted(method, network)
    perturb(handle)
    images, labels = batch(size_of(handle.model), count=5)
    whole = handle.loss(images, labels)
    assert whole.shape == () and whole.isfinite(), "loss() is not one finite number"
    shards = []
    for rank in range(2):
        handle.objective = ShardObjective(len(labels), 2)
        part = Shard(rank, 2).slice_of(len(labels))
        shards.append(handle.loss(images[part], labels[part]))
    off = (torch.stack(shards).mean() - whole).abs().item()
    assert off < 1e-10, f"the loss of two shards is off by {off:.1e}: average over images by handle.objective"


def declared_names(method: Method, network: Network) -> set[str]:
    """Names of the backbone's parameters that `tunes` declares."""
    model = untouched(network)
    with acting_on(model, method.blocks):
        patterns, acts = method.tunes(model), acted_on(model)
    names = (name for name, _ in model.named_parameters() if acts(name))
    return {name for name in names if any(fnmatch.fnmatchcase(name, p) for p in patterns)}


@contextmanager
def _made() -> Iterator[list[tuple[str, tuple[int, ...]]]]:
    """(operation, shape) of every tensor that is made inside, views left out."""
    made: list[tuple[str, tuple[int, ...]]] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            is_view = any(a.alias_info for a in function._schema.arguments)
            for tensor in result if isinstance(result, (tuple, list)) else [result]:
                if isinstance(tensor, Tensor) and not is_view:
                    made.append((function._schema.name, tuple(tensor.shape)))
            return result

    with Watch():
        yield made


def check_on_family(method: Method, network: Network) -> None:
    """What may break on another family of networks, in few passes: the start, gradients, saving, merging."""
    handle = adapted(method, network)
    start = handle.state_dict()
    moved = (output(handle.model) - output(untouched(network))).abs().max().item()
    if method.starts_at_backbone:
        assert moved < 1e-10, f"starts_at_backbone is true, but attaching moved the logits by {moved:.1e}"
    steps(handle, lr=0.05)
    loss(handle).backward()
    for name, parameter in handle.trained():
        assert parameter.grad is not None, f"{name} is trained, but no gradient reaches it"
        if parameter.grad.abs().max() < 1e-9:
            assert has_no_effect(handle.model, parameter), f"{name} is trained, but no gradient reaches it"
    perturb(handle)
    trained, state = output(handle.model), handle.state_dict()
    fresh = attached(network(), method, seed=8, prepared=start)
    fresh.load_state_dict(state)
    assert torch.equal(output(fresh.model), trained), "the saved state does not bring the outputs back"
    if handle.mergeable:
        plain = {name: type(module) for name, module in untouched(network).named_modules()}
        left = {name: type(module) for name, module in handle.merge().named_modules()}.items() - plain.items()
        assert not left, f"mergeable is true, but this is left after merging: {sorted(map(str, left))[0]}"
        assert_close(output(handle.model), trained, **TIGHT, msg=lambda text: f"merging changed the outputs: {text}")


@torch.no_grad()
def has_no_effect(model: nn.Module, parameter: nn.Parameter) -> bool:
    """Whether the output does not depend on a parameter, as a bias that is the same for all keys."""
    before, value = output(model), parameter.clone()
    parameter.add_(torch.randn_like(parameter))
    after = output(model)
    parameter.copy_(value)
    return (after - before).abs().max().item() < 1e-9


CHECKS = [
    check_start,
    check_what_is_trained,
    check_gradients,
    check_count,
    check_merging,
    check_state,
    check_seed,
    check_gradient_checkpointing,
    check_bf16,
    check_copy,
    check_backward_size,
    check_prepare,
    check_loss,
]
ON_ANY_NETWORK = [check for check in CHECKS if check not in (check_count, check_backward_size)]
