"""The name=value words of commands that open a finished run: what may differ from its record on this machine."""

import os
import re
from collections.abc import Sequence
from typing import Any

from aoft_bench.utils.errors import UserError, unknown

# options that may differ from the record's, since they do not change the number
MOVABLE = (
    *(f"data.{name}" for name in ("root", "cache", "source", "tfds_dir", "manual_dir", "hf")),
    *("backbone.checkpoint", "trainer.eval_batch_size", "trainer.threads"),
)


def record_first(words: Sequence[str]) -> list[str]:
    """The words with the record before the name=value words, for argparse; a user may give them in any order."""
    return sorted(words, key=lambda word: bool(re.match(r"[\w.]+=", word)) and not os.path.exists(word))


def parse_changes(words: Sequence[str], own: Sequence[str] = ()) -> dict[str, Any]:
    """Return name=value words as a dictionary. own: other names that the command takes, of which a value is a text.

    Raises `UserError` for a name that is in neither list or given twice, and for a value that is empty, several, or not
    one of its option.
    """
    from aoft_bench.config.check import check_value
    from aoft_bench.config.command_line import quoted, split_word
    from aoft_bench.config.compose import parse_override
    from aoft_bench.config.schema import SECTIONS

    changes: dict[str, Any] = {}
    for word in words:
        name, text = split_word(word, "data.root=DIR")
        if name not in (*own, *MOVABLE):
            raise unknown("change", name, (*own, *MOVABLE), "everything else is part of what the record's number means")
        if name in changes:
            raise UserError(f"{name}= is given twice; give it once")
        if name in own:
            if not text:
                raise UserError(f"{name} has no value: give {name}=VALUE")
            changes[name] = text
        else:
            override = parse_override(quoted(word))
            if override.is_sweep_override():
                raise UserError(f"{word} has several values: give one, in quotes if it has a comma")
            changes[name] = override.value()
        section, _, option = name.partition(".")
        if option and (problems := check_value(SECTIONS[section], option, changes[name], section)):
            raise UserError(problems[0])
    return changes
