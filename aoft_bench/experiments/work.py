"""How much a cell computes, from its configuration alone: steps, and images that pass through the network."""

from dataclasses import dataclass

from aoft_bench import data
from aoft_bench.config.schema import RunConfig
from aoft_bench.records.protocols import PROTOCOLS


@dataclass(frozen=True)
class Work:
    """steps: of the optimiser; trained: images that pass forward and backward; scored: images that pass forward."""

    steps: int = 0
    trained: int = 0
    scored: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.steps + other.steps, self.trained + other.trained, self.scored + other.scored)


def work_of(config: RunConfig) -> Work | None:
    """What a cell trains and scores from its start to its end, by the sizes in the table of tasks.

    None for images of the user's own, whose number is not known before they are read. What is frozen and computed once
    (docs/performance.md) is counted as if it were computed in every step.
    """
    task, recipe, protocol = data.task_of(config.dataset), config.recipe, PROTOCOLS[config.protocol.name]
    if not task.sizes:
        return None
    images = task.sizes["train800"] + (task.sizes["val200"] if protocol.train == "train800val200" else 0)
    if config.data.shots:
        images = min(images, config.data.shots * task.classes)
    elif config.data.train != "all":
        images = min(images, int(config.data.train))
    scored = task.sizes[protocol.score] * (1 + (recipe.epochs if protocol.every_epoch else 0))
    if protocol.score == "test":
        scored += sum(task.sizes[split] for split in task.shifts)
    return Work(recipe.epochs * -(-images // recipe.batch_size), recipe.epochs * images, scored)
