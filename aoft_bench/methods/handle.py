"""`attach` and the handle it returns: what was trained, how to save it, how to fold it back into the backbone."""

import fnmatch
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from aoft_bench.backbones.layout import (
    acted_on,
    acting_on,
    fix_running_statistics,
    head_parameters,
    image_size,
    is_known,
    replace,
)
from aoft_bench.config.fields import plain_values
from aoft_bench.methods import registry
from aoft_bench.methods.base import Batches, Factors, Method, Objective, Prepared
from aoft_bench.methods.parts.mergeable import Mergeable
from aoft_bench.methods.parts.step_hooks import build_once_a_step
from aoft_bench.utils.errors import UserError, message_of
from aoft_bench.utils.text import shown

NO_MEMORY = ("allocate memory", "Storage size calculation overflowed", "out of memory")  # in torch's messages


def attach(
    model: nn.Module,
    method: str | Method,
    *,
    batches: Batches | None = None,
    prepared: Prepared | None = None,
    **options: Any,
) -> "Handle":
    """Freeze `model`, adapt it in place, and keep its head trainable.

    model: a network of timm (docs/networks.md says which method acts on which); method: a registered name, with its
    options as keywords, or an instance of a method class. A method that chooses something from training images
    (`Method.prepare`) needs `batches` of them, or `prepared`: what it chose before, or {} where only the sizes matter.
    Random numbers come from torch's global generator. Norms that keep statistics of batches use those of pre-training
    from here on. Raises `UserError` for an unknown name or option, for a value out of range or beyond the memory,
    for a backbone that the method cannot act on, and for a choice that does not fit; then the model's weights are
    untouched.
    """
    chosen = registry.build(method, options) if isinstance(method, str) else method
    if any(hasattr(module, "_aoft_bench") for module in model.modules()):
        raise UserError("this model is adapted already; load a fresh backbone for another method")
    if prepared is None:
        prepared = prepare(model, chosen, batches)
    tuned = _tuned(model, chosen)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in tuned)
    original = {_storage(tensor) for _, tensor in _tensors(model)}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    known = is_known(model)
    with _memory(chosen), acting_on(model, chosen.blocks):
        chosen.attach_prepared(model, prepared)
    if not known and any(_storage(tensor) not in original for _, tensor in _tensors(model)):
        _try_out(model, chosen)
    build_once_a_step(model)
    fix_running_statistics(model)
    model._aoft_bench = True  # type: ignore[assignment]
    head = head_parameters(model)
    for name, parameter in model.named_parameters():
        if name in head:
            parameter.requires_grad_(True)
    # a view of a frozen weight is not new: q alone, say, where timm keeps q, k and v in one layer
    fixed = {n for n, t in _tensors(model) if _storage(t) not in original and not t.requires_grad}
    return Handle(model, chosen, fixed, sum(size for name, size in sizes.items() if name not in head))


@torch.no_grad()
def _try_out(model: nn.Module, method: Method) -> None:
    """Raise `UserError` where an adapted network of no known family cannot be run: on one black image."""
    parameter, training = next(model.parameters()), model.training
    image = torch.zeros(1, 3, *image_size(model), dtype=parameter.dtype, device=parameter.device)
    try:
        model.eval()(image)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        why = message_of(error, 160)
        raise UserError(
            f"{type(method).__name__} cannot adapt a {type(model).__name__}: with what it inserts the network does not "
            f"run ({type(error).__name__}: {why}); docs/networks.md says which methods act on what"
        ) from None
    finally:
        model.train(training)


@contextmanager
def _memory(method: Method) -> Iterator[None]:
    """Raise `UserError` where the tensors of a method are larger than the memory, as with 10^9 prompts."""
    try:
        yield
    except RuntimeError as error:
        if not any(said in str(error) for said in NO_MEMORY):
            raise
        options = ", ".join(f"{name}={shown(value)}" for name, value in plain_values(method).items())
        raise UserError(
            f"{type(method).__name__} with {options} asks for more memory than there is; give less"
        ) from None


def prepare(model: nn.Module, method: Method, batches: Batches | None) -> Prepared:
    """What the method chooses from `batches`, on the CPU; the model is left as it was. See `Method.prepare`."""
    if not method.prepares:
        return {}
    if batches is None or next(iter(batches), None) is None:
        raise UserError(
            f"{type(method).__name__} chooses what it trains from training images, and got none: give batches=, pairs "
            "of normalized images (B, C, S, S) and labels (B,)"
        )
    training, required = model.training, [parameter.requires_grad for parameter in model.parameters()]
    try:
        with acting_on(model, method.blocks):
            found = method.prepare(model.eval().requires_grad_(True), batches)
    finally:
        model.train(training)
        for parameter, was in zip(model.parameters(), required, strict=True):
            parameter.requires_grad_(was)
            parameter.grad = None
    return {name: tensor.detach().cpu() for name, tensor in found.items()}


def _tuned(model: nn.Module, method: Method) -> set[str]:
    """Names of the backbone's own parameters that the method trains; a pattern without a match is an error."""
    with acting_on(model, method.blocks):
        patterns, acts = method.tunes(model), acted_on(model)
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UserError(
                f"cannot adapt a {type(model).__name__}: it has no parameter called {pattern!r}, which "
                f"{type(method).__name__} trains; use a plain ViT"
            )
    return {name for pattern in patterns for name in fnmatch.filter(names, pattern) if acts(name)}


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


class Handle:
    """An adapted model: counts, trained state, merging. Made by `attach`.

    constants: names of what the method inserted and does not train (starting points, random projections); saved too.
    size: parameters of the network before it was adapted, without its head. objective: how the method's loss averages
    over images; training sets it.
    """

    def __init__(self, model: nn.Module, method: Method, constants: set[str], size: int) -> None:
        self.model = model
        self.method = method
        self.objective = Objective()
        self._constants = constants
        self._size = size
        self._head = head_parameters(model)
        # held here, because a merged model no longer has them
        self._trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._merged: dict[str, Mergeable] = {}

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(name, parameter) of everything that is trained, the head included; the same while the model is merged."""
        return iter(self._trained.items())

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The method's loss of a training batch: normalized images (B, C, S, S), labels (B,)."""
        return self.method.loss(self, images, labels)

    def choice_digest(self) -> str | None:
        """SHA-256 of the constants of a method that chose them from training images; None for any other method."""
        if not self.method.prepares:
            return None
        digest, state = hashlib.sha256(), self.state_dict()
        for name in sorted(self._constants):
            value = state[name]
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode() + value.numpy().tobytes())
        return digest.hexdigest()

    def trainable_parameters(self, head: bool = True) -> int:
        """Number of trained parameters, with or without the head."""
        return sum(p.numel() for name, p in self.trained() if head or name not in self._head)

    def groups(self, decay_head_bias: bool = True) -> dict[tuple[float, float], list[nn.Parameter]]:
        """What is trained, by (lr, weight decay) as multiples of the recipe's: the groups of an optimiser."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.trained():
            decayed = decay_head_bias or not name.endswith("bias")
            scales = (1.0, float(decayed)) if name in self._head else self.method.scales(name)
            groups.setdefault(scales, []).append(parameter)
        return groups

    def parameter_counts(self) -> dict[str, int]:
        """trained: without the head; head; trained_with_head; backbone: of the network itself, without its head."""
        trained, both = self.trainable_parameters(head=False), self.trainable_parameters()
        head = both - trained
        return {"trained": trained, "head": head, "trained_with_head": both, "backbone": self._size}

    def factors(self) -> dict[str, Factors]:
        """W_down and W_up of every module that the method inserted, by its path; empty where the method has none."""
        self._refuse_merged("taken apart")
        found = {path: self.method.factors(module) for path, module in self.model.named_modules()}
        return {path: factors for path, factors in found.items() if factors is not None}

    @property
    def mergeable(self) -> bool:
        """Whether `merge` can fold what was trained into the backbone's own layers."""
        return self.method.mergeable

    def merge(self) -> nn.Module:
        """Fold the updates into plain linear layers, in place; the model then runs at the backbone's own speed.

        `unmerge` brings the trained form back, bit for bit. Raises `UserError` for a method that cannot be merged.
        """
        if not self.mergeable:
            raise UserError(f"{type(self.method).__name__} cannot be merged: {self.method.why_not_mergeable}")
        for path, layer in list(self.model.named_modules()):
            inside = any(path.startswith(f"{outer}.") for outer in self._merged)
            if isinstance(layer, Mergeable) and not inside:
                self._merged[path] = layer
                replace(self.model, path, layer.merged())
        return self.model

    def unmerge(self) -> nn.Module:
        """Undo `merge`."""
        for path, layer in self._merged.items():
            replace(self.model, path, layer)
        self._merged.clear()
        return self.model

    def state_dict(self) -> dict[str, Tensor]:
        """What was trained, and the constants it started from; never a frozen weight. Copies, on the CPU."""
        self._refuse_merged("saved")
        wanted = {name for name, _ in self.trained()} | self._constants
        return {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items() if k in wanted}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Load what `state_dict` gave into a freshly attached model; names, shapes and types must agree."""
        self._refuse_merged("loaded")
        mine = self.state_dict()
        wrong = sorted(set(mine) ^ set(state))
        wrong += [k for k in mine if k in state and (mine[k].shape, mine[k].dtype) != (state[k].shape, state[k].dtype)]
        if wrong:
            raise UserError(
                f"the trained parameters do not fit this model: {len(wrong)} of {len(mine)} names, shapes or types "
                f"differ, the first is {wrong[0]!r}; load them with the same backbone, method and options"
            )
        with torch.no_grad():
            self.model.load_state_dict(state, strict=False)

    def _refuse_merged(self, done: str) -> None:
        if self._merged:
            raise UserError(f"a merged model cannot be {done}; call handle.unmerge() first")
