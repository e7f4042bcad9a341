"""A linear layer of the backbone whose matrices peft adapts one by one: how they are adapted, run and merged."""

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from aoft_bench.backbones.layout import Matrix
from aoft_bench.methods.parts.mergeable import Mergeable, plain_linear
from aoft_bench.methods.parts.peft_tuners import Tuner

ADAPTER = "default"  # the name that peft gives an adapter of which there is only one


class PeftLinear(Mergeable):
    """A frozen linear layer whose matrices peft adapts. Input (..., in), output (..., out).

    parts: name of a matrix ("q", "fc1", ...) -> peft's layer, or a plain frozen one, in the order of their rows.
    The frozen weights in them are views of the layer's own. by_weight: the output is x (W + dW)^T with peft's dW,
    and not peft's own forward.
    """

    def __init__(self, parts: dict[str, nn.Module], by_weight: bool) -> None:
        super().__init__()
        self.parts, self.by_weight = nn.ModuleDict(parts), by_weight

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self._output(part, x) for part in self.parts.values()]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)

    def _output(self, part: Any, x: Tensor) -> Tensor:
        if not self.by_weight or type(part) is nn.Linear:
            return part(x)
        base = part.get_base_layer()
        with torch.autocast(x.device.type, enabled=False):
            weight = base.weight + part.get_delta_weight(ADAPTER)
        return nn.functional.linear(x, weight, base.bias)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """A plain layer that computes the same: what peft merges, put together again."""
        plain = [_merged(part) for part in self.parts.values()]
        weights: list[Tensor] = [part.weight for part in plain]
        biases: list[Tensor] = [p.weight.new_zeros(p.out_features) if p.bias is None else p.bias for p in plain]
        has_bias = any(part.bias is not None for part in plain)
        return plain_linear(torch.cat(weights), torch.cat(biases) if has_bias else None, training=self.training)


def _merged(part: Any) -> nn.Linear:
    if type(part) is nn.Linear:
        return part
    copied = copy.deepcopy(part)  # peft merges in place
    copied.merge()
    return copied.get_base_layer()


def part_of(matrix: Matrix) -> nn.Linear:
    """A matrix as a layer of its own; its weight and bias are views of the frozen ones."""
    layer, rows = matrix.layer, matrix.rows
    bias = None if layer.bias is None else layer.bias.detach()[rows]
    return plain_linear(layer.weight.detach()[rows], bias, training=layer.training)


def inject(config: Any, tuner: Tuner, blocks: list[dict[str, nn.Linear]]) -> list[dict[str, nn.Module]]:
    """Let peft adapt the parts of every block, all at once, because some tuners share tensors between them."""
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

    # peft sees names like backbone.blocks.3.q, so that its layers_pattern=blocks finds the number of the block
    root = nn.ModuleDict({"backbone": nn.ModuleDict({"blocks": nn.ModuleList(nn.ModuleDict(b) for b in blocks)})})
    frozen = [(part, part.weight, part.bias) for block in blocks for part in block.values()]
    for part, weight, bias in frozen:
        part.weight, part.bias = _stand_in(weight, tuner), None if bias is None else _stand_in(bias, tuner)
    with warnings.catch_warnings():
        # boft warns when its CUDA kernel is missing; options that need the kernel are refused below
        warnings.filterwarnings("ignore", message=r"Failed to load the CUDA|Setting boft_n_butterfly_factor")
        PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](root, config, adapter_name=ADAPTER)
    _check_butterfly(config, root)
    weight = frozen[0][1]
    root.to(device=weight.device, dtype=weight.dtype)
    for part, weight, bias in frozen:
        if not (
            tuner.residual or weight.is_meta or torch.equal(part.weight, _stand_in(weight, tuner).to(weight.dtype))
        ):
            raise ValueError("this initialisation changes the frozen weight; those that may are tuner=pissa and olora")
        part.weight, part.bias = weight, bias
    adapted: list[Any] = [layer for layer in root.modules() if hasattr(layer, "get_delta_weight")]
    for layer in adapted if tuner.residual else []:
        base = layer.get_base_layer()
        base.weight = nn.Parameter(base.weight - layer.get_delta_weight(ADAPTER), requires_grad=False)
    if config.peft_type.name == "SHIRA":
        # torch warns once that it does not check sparse tensors; disabling the check explicitly avoids the warning
        torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]
    return [dict(block.items()) for block in fixed(root)["backbone"]["blocks"]]  # type: ignore[index]


def _stand_in(tensor: Tensor, tuner: Tuner) -> nn.Parameter:
    """A copy of a weight that the tuner may change while it is prepared, in float32 or with real values if needed."""
    data = tensor.detach().clone()
    if data.is_meta and tuner.real:
        data = torch.rand(data.shape, dtype=data.dtype, generator=torch.Generator().manual_seed(0), device="cpu")
    return nn.Parameter(data.float() if tuner.single else data, requires_grad=False)


def _check_butterfly(config: Any, root: nn.Module) -> None:
    wanted = getattr(config, "boft_n_butterfly_factor", 1)
    got = {len(p) for name, p in root.named_parameters() if ".boft_R." in name}
    if got - {wanted}:
        raise ValueError(f"boft_n_butterfly_factor={wanted} needs its CUDA kernel, which cannot be built here; use 1")


def fixed(module: nn.Module) -> nn.Module:
    """Turn what is not trained into buffers, so that it is saved, copied and moved with the model."""
    from peft.tuners._buffer_dict import BufferDict

    for owner in module.modules():
        for name, parameter in list(owner.named_parameters(recurse=False)):
            if not parameter.requires_grad:
                delattr(owner, name)
                owner.register_buffer(name, parameter.detach())
        for name, value in list(vars(owner).items()):  # indices in a plain dict: fourierft, waveft, shira, adamss
            if isinstance(value, dict) and name[0] != "_" and isinstance(value.get(ADAPTER), Tensor):
                delattr(owner, name)
                setattr(owner, name, BufferDict(value, persistent=True))
        if isinstance(owner, BufferDict):
            owner._non_persistent_buffers_set.clear()
    return module
