"""A finished run: its record, and the model that it trained, from the file of parameters beside the record."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aoft_bench import methods
from aoft_bench.config.schema import ChosenMethod, RunConfig, from_dict
from aoft_bench.experiments.experiment import Experiment, prepare_experiment
from aoft_bench.records.schema import Record
from aoft_bench.training import hardware
from aoft_bench.training.model import AdaptedModel, build_model
from aoft_bench.training.trained_file import read_trained
from aoft_bench.utils.errors import UserError

CPU = torch.device("cpu")


@dataclass(frozen=True)
class TrainedRun:
    """A record at `path`, its configuration with the paths of this machine, and `state`, what the run trained."""

    path: Path
    record: Record
    config: RunConfig
    state: dict[str, Tensor]

    def experiment(self) -> Experiment:
        """The run's experiment, its data and weights found; `UserError` if they are not those of the record."""
        return experiment_of(self.record, self.config)

    def start(self, device: torch.device = CPU, *, weights: bool = True) -> AdaptedModel:
        """The adapted model before the first step, drawn from the run's seed, on the CPU; `device`: where it will run.

        weights=False leaves out the pre-trained weights, for which no file is needed then. Raises `UserError` if the
        weight file is not that of the record.
        """
        classes = self.record["data"].get("classes")
        if classes is None:
            raise UserError(f"{self.path}: data.classes is missing; run the cell again with results.mode=force")
        sha256 = self.record["weights"]["sha256"]
        return build_model(self.config, classes, device, weights=weights, prepared=self.state, sha256=sha256)

    def load(self, adapted: AdaptedModel) -> AdaptedModel:
        """Load what was trained into a model of `start`, and return it. Raises `UserError` if it does not fit."""
        try:
            adapted.handle.load_state_dict(self.state)
        except UserError as error:
            raise UserError(f"{self.path.with_suffix('.safetensors')}: {error}") from None
        if adapted.handle.choice_digest() != self.record.get("prepared"):
            raise UserError(
                f"the parameters beside {self.path} are of another run: what the method chose from training images is "
                "not what the record says; run the cell again with results.mode=force"
            )
        return adapted

    def backbone(self, device: torch.device = CPU) -> AdaptedModel:
        """The pre-trained network as in `start`, with nothing inserted."""
        nothing = ChosenMethod("linear", "linear", methods.get("linear")(), {"name": "linear"})
        run = replace(self, config=replace(self.config, method=nothing))
        return run.start(device)

    def trained(self, device: torch.device = CPU) -> AdaptedModel:
        """The adapted model after the last step, on the CPU; `device`: where it will run."""
        return self.load(self.start(device))


def merged_state(run: TrainedRun, adapted: AdaptedModel) -> dict[str, Tensor]:
    """The tensors of a trained model merged into its network, by the names that they have in the network itself.

    `adapted` is merged. Raises `UserError` if what the method inserted cannot be merged.
    """
    handle = adapted.handle
    problem = f"{run.config.method.label} cannot be merged into its network"
    if not handle.mergeable:
        raise UserError(f"{problem}: {handle.method.why_not_mergeable}")
    handle.merge()
    state = adapted.model.state_dict()
    own = run.backbone().model.state_dict()
    if {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in own.items()}:
        raise UserError(f"{problem}: it keeps parts of its own; docs/methods.md says which methods can be")
    return state


def open_run(path: Path, record: Record, changes: Mapping[str, Any] | None = None) -> TrainedRun:
    """The run of the record at `path`.

    changes: full names of options, such as data.root, and the values that they have on this machine. Raises `UserError`
    if the trained parameters are missing, damaged, or not those of the record.
    """
    return TrainedRun(path, record, config_of(record, changes or {}), read_trained(path, record))


def config_of(record: Record, changes: Mapping[str, Any]) -> RunConfig:
    """The configuration of a record in its precision. changes: see `open_run`."""
    sections: dict[str, Any] = {"trainer": {"precision": record["precision"]}}
    for name, value in changes.items():
        section, _, key = name.partition(".")
        sections.setdefault(section, {})[key] = value
    tree = record["config"]
    return from_dict(tree | {name: tree.get(name, {}) | values for name, values in sections.items()}, methods.get)


def experiment_of(record: Record, config: RunConfig) -> Experiment:
    """The experiment of a record, its data and weights found; `UserError` if they are not those of the record."""
    hardware.prepare_cpu(config.trainer.threads)
    experiment = prepare_experiment(config)
    source, file = "those images by data.root, data.source or data.tfds_dir", "that file by backbone.checkpoint"
    for what, found, recorded, remedy in (
        ("data", experiment.prepared.fingerprint, record["data"]["fingerprint"], f"give {source}"),
        ("backbone weights", experiment.weights_sha256, record["weights"]["sha256"], f"give {file}"),
        ("configuration", experiment.digest, record["hash"], "use the version of aoft_bench that wrote the record"),
    ):
        if found != recorded:
            got = f"got {found[:12]}, the record has {recorded[:12]}"
            raise UserError(f"the {what} here are not those of the record: {got}; {remedy}")
    return experiment
