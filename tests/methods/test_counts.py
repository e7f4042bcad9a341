"""Counts of what is trained and of what is not, whatever a method does to the network."""

import pytest
from contract import attached
from networks import shape_of, vit

from aoft_bench import methods


class Biases(methods.Method):
    """A method that inserts nothing and trains a part of the network."""

    mergeable = True

    def attach(self, model):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("bias"))


@pytest.mark.parametrize("method", [*methods.names(), Biases()])
def test_the_backbone_counts_its_own_parameters_only(method):
    fresh = vit()
    own = sum(p.numel() for p in fresh.parameters()) - sum(p.numel() for p in fresh.head.parameters())
    handle = attached(fresh, method)
    head, counts = 5 * handle.method.head_inputs(shape_of(vit())) + 5, handle.parameter_counts()
    assert (counts["backbone"], counts["head"]) == (own, head)
    assert counts["trained_with_head"] == counts["trained"] + head


def test_a_part_of_the_network_is_counted_as_trained():
    fresh = vit()
    biases = sum(p.numel() for name, p in fresh.named_parameters() if name.endswith("bias") and "head" not in name)
    assert methods.attach(fresh, Biases()).parameter_counts()["trained"] == biases
