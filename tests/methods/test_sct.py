"""SCT: the channels that are chosen, and what is done with them."""

import pytest
import torch
from contract import attached
from networks import TIGHT, batch, perturb, vit
from torch.testing import assert_close

from aoft_bench import methods
from aoft_bench.methods.sct import SCT
from aoft_bench.utils.errors import UserError


@pytest.mark.parametrize(("scale", "scale_input"), [(1.0, False), (0.3, False), (0.3, True)])
def test_sct_is_its_formula(scale: float, scale_input: bool) -> None:
    images, labels = batch(16)[0], torch.tensor([3, 0, 3, 3])  # classes 1, 2 and 4 have no image
    plain = vit()
    found = methods.prepare(plain, SCT(channels=5), [(images[:3], labels[:3]), (images[3:], labels[3:])])
    handle = attached(vit(), "sct", channels=5, scale=scale, scale_input=scale_input, prepared=found)
    perturb(handle)
    p = dict(handle.trained())
    seen = adapted = plain._pos_embed(plain.patch_embed(images))
    for i, block in enumerate(plain.blocks):
        seen = seen + block.attn(block.norm1(seen))
        scores = [seen[labels == c, 1:].square().sum((0, 1)).sqrt() for c in (0, 3)]
        chosen = sum(scores).argsort(descending=True)[:5].sort().values
        assert torch.equal(found[f"blocks.{i}.after_attention.chosen"], chosen)
        seen = seen + block.mlp(block.norm2(seen))
        adapted = adapted + block.attn(block.norm1(adapted))
        path, inner = f"blocks.{i}.after_attention.linear", adapted[..., chosen]
        adapted = adapted.clone()
        update = inner @ p[f"{path}.weight"].T + p[f"{path}.bias"]
        adapted[..., chosen] = scale * inner + update if scale_input else inner + scale * update
        adapted = adapted + block.mlp(block.norm2(adapted))
    plain.head.load_state_dict(handle.model.head.state_dict())
    assert_close(handle.model(images), plain.forward_head(plain.norm(adapted)), **TIGHT)


def test_more_channels_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match=r"method\.channels is too large: got 33, .* give 1 to 32"):
        attached(vit(), "sct", channels=33)
