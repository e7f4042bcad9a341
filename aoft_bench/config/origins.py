"""Which files of conf/ a configuration is made of: what a refused value is from, and for how many epochs a warm-up is.

A warm-up or a cool-down in a file is meant for the epochs that were set when it was: those of the same file, or of one
merged before it. Where the epochs are changed afterwards, on the command line or by a sweep, it is scaled with them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PARTS = ("warmup_epochs", "cooldown_epochs")  # of a recipe, in epochs
_OPTION = re.compile(r"\b(?:recipe|method)\.\w+")


@dataclass(frozen=True)
class Origins:
    """The files of a configuration in the order in which they are merged, and the words that are merged after them.

    files: (path, what the file gives), the path as a user would look for it. given: the names on the command line.
    """

    files: Sequence[tuple[str, Mapping[str, Any]]]
    given: frozenset[str]

    def scaled(self, tree: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """(the tree with warm-up and cool-down for its epochs, a line that says so, or an empty one).

        Rounded down, as a warm-up of null is, so that what is left of the epochs is never negative.
        """
        recipe, said = dict(tree["recipe"]), []
        for part in PARTS:
            value, found = recipe.get(part), self._last(part)
            if type(value) is not int or not value or found is None or self._is_given(f"recipe.{part}"):
                continue
            number, path = found
            before = [recipe_of.get("epochs") for _, recipe_of in self._recipes()[: number + 1]]
            meant = next((epochs for epochs in reversed(before) if type(epochs) is int), None)
            if meant and meant != recipe["epochs"]:
                recipe[part] = value * recipe["epochs"] // meant
                said.append(f"recipe.{part}={recipe[part]} ({value} of {meant} in {path})")
        if not said:
            return tree, ""
        return {**tree, "recipe": recipe}, f"scaled to recipe.epochs={recipe['epochs']}: {', '.join(said)}"

    def hint(self, problem: str) -> str:
        """What to add to a problem with values of files that the user did not name: which files, and what to do."""
        names: dict[str, list[str]] = {}
        for name in dict.fromkeys(_OPTION.findall(problem)):
            section, _, option = name.partition(".")
            paths = [path for path, content in self.files if option in _mapping(content.get(section))]
            if not paths or self._is_given(name):
                continue
            if "/hparams/" in paths[-1] or "/method/" in paths[-1]:
                names.setdefault(paths[-1], []).append(name)
        leave = "" if "hparams" in self.given else ", which hparams=none leaves out"
        hints = [
            f"{' and '.join(some)} {'are' if some[1:] else 'is'} from {path}{leave if '/hparams/' in path else ''}"
            for path, some in names.items()
        ]
        return f" ({'; '.join(hints)})" if hints else ""

    def _is_given(self, name: str) -> bool:
        return not self.given.isdisjoint((name, name.partition(".")[0]))

    def _last(self, part: str) -> tuple[int, str] | None:
        """(number, path) of the last file that gives a part of the recipe."""
        found = [(number, path) for number, (path, recipe) in enumerate(self._recipes()) if part in recipe]
        return found[-1] if found else None

    def _recipes(self) -> list[tuple[str, Mapping[str, Any]]]:
        return [(path, _mapping(content.get("recipe"))) for path, content in self.files]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
