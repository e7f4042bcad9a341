"""What a run would train, without its weights: the parameter table of `dry_run=true`."""

import re
from collections import Counter

from aoft_bench import data
from aoft_bench.backbones.layout import VIT_B16, chosen_blocks
from aoft_bench.config.schema import RunConfig
from aoft_bench.experiments.device import device_of
from aoft_bench.experiments.experiment import prepare_experiment
from aoft_bench.methods import Handle
from aoft_bench.training.model import build_model


def dry_run(config: RunConfig) -> None:
    """Build the model without weights and print its parameter table. Needs data only if that defines the classes."""
    task = data.task_of(config.dataset)
    classes = task.classes or prepare_experiment(config).prepared.classes
    adapted = build_model(config, classes, device_of(config.trainer), weights=False)
    title = f"{config.method.label} on {config.backbone.name}, {classes} classes"
    if config.method.options.prepares and config.method.options.count(VIT_B16) is None:
        title += "\nwhat is trained is chosen by the images; these sizes are of a choice of the same budget"
    blocks = config.method.options.blocks
    if blocks != "all":
        numbers = ", ".join(map(str, chosen_blocks(adapted.model, blocks)))
        last = len(chosen_blocks(adapted.model, "all")) - 1
        title += f"\nmethod.blocks={blocks}: it acts on block {numbers} of 0 to {last}, and on what stands behind"
    print(parameter_table(adapted.handle, title))


def parameter_table(handle: Handle, title: str) -> str:
    """A text table of what is trained, blocks summed, and what is frozen."""
    counts = handle.parameter_counts()
    rows: Counter[str] = Counter()
    for name, parameter in handle.trained():
        rows[re.sub(r"\.\d+(?=\.|$)", ".*", name)] += parameter.numel()
    width = max(map(len, [*rows, "trained without the head"]))
    lines = [title] + [f"  {name:<{width}}  {count:>12,}" for name, count in rows.items()]
    share = 100 * counts["trained"] / counts["backbone"]
    lines += [
        "  " + "-" * (width + 14),
        f"  {'trained without the head':<{width}}  {counts['trained']:>12,}   {share:.3f} % of the backbone",
        f"  {'trained with the head':<{width}}  {counts['trained_with_head']:>12,}",
        f"  {'backbone':<{width}}  {counts['backbone']:>12,}",
    ]
    return "\n".join(lines)
