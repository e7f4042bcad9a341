"""How much a cell computes, by hand."""

import pytest
from test_config import config_of

from aoft_bench.experiments.work import Work, work_of


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("dataset=dtd recipe.epochs=3", Work(3 * 32, 3 * 1000, 1880)),
        ("dataset=dtd recipe.epochs=3 protocol=literature", Work(3 * 32, 3 * 1000, 4 * 1880)),
        ("dataset=dtd recipe.epochs=3 protocol=tune", Work(3 * 25, 3 * 800, 4 * 200)),
        ("dataset=cub recipe.epochs=2 data.shots=4", Work(2 * 25, 2 * 800, 5794)),
        ("dataset=dtd recipe.epochs=1 data.train=100 recipe.batch_size=64", Work(2, 100, 1880)),
        ("dataset=imagenet recipe.epochs=1", Work(1000, 32000, 50000 + 10000 + 50889 + 7500 + 30000)),
        ("dataset=folder data.root=here", None),
    ],
)
def test_work_is_steps_and_images(words: str, expected: Work | None) -> None:
    assert work_of(config_of("method=lora", *words.split())) == expected
