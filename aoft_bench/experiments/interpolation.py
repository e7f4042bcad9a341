r"""Weights between the pre-trained network and what a method made of it, as in WiSE-FT.

.. math:: \theta(\alpha) = (1 - \alpha) \theta_{\text{pre-trained}} + \alpha \theta_{\text{trained}}

theta is every weight of the network with the method merged, except the head. The pre-trained network has no head for
the task, so the trained head stays as it is for every alpha: alpha = 0 is the pre-trained network under the head that
was trained with the adapted one, not a linear probe. (From a head of zeros to the trained one the logits would be
alpha times as large, and the predictions the same.)

Source: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, arXiv 2109.01903, section 3; there the
pre-trained network has a head of text embeddings, and the two heads are interpolated too.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from aoft_bench.backbones.layout import head_parameters
from aoft_bench.experiments.experiment import Experiment
from aoft_bench.experiments.scoring import Score, score_model
from aoft_bench.experiments.trained_run import TrainedRun, merged_state


def scores_between(run: TrainedRun, experiment: Experiment, alphas: Iterable[float]) -> Iterator[tuple[float, Score]]:
    """(alpha, score) of each alpha in [0, 1], on the split that the record was scored on, in its precision.

    alpha = 1 is the record's own model. Raises `UserError` for a method that cannot be merged.
    """
    trained = merged_state(run, run.trained(experiment.device))
    plain = run.backbone(experiment.device)
    head = head_parameters(plain.model)
    pretrained = {name: tensor.clone() for name, tensor in plain.model.state_dict().items()}
    for alpha in alphas:
        plain.model.cpu().load_state_dict(between(pretrained, trained, alpha, head))
        yield alpha, score_model(experiment, plain)


def between(
    pretrained: dict[str, Tensor], trained: dict[str, Tensor], alpha: float, kept: set[str]
) -> dict[str, Tensor]:
    """theta(alpha) of two networks of the same names; those in `kept`, and whole numbers, are as trained.

    Exact at both ends.
    """
    return {
        name: tensor if name in kept or not tensor.is_floating_point() else torch.lerp(pretrained[name], tensor, alpha)
        for name, tensor in trained.items()
    }
