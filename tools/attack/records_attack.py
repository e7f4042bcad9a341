"""Records with one value replaced, or with a damaged file, given to every command that reads records."""

import itertools
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from answers import Answer, Attack, Ended, call, judge

BIG = 10**400
# stand in the text of the record for what Python's json would not write
RAW = {"nested 100,000 deep": "[" * 100_000 + "]" * 100_000, "5,000 digits": "7" * 5000, "1e999": "1e999"}
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        -0.0,
        0.5,
        1e308,
        -1e308,
        1e-320,
        BIG,
        -BIG,
        float("nan"),
        float("inf"),
    ),
    *(
        "",
        " ",
        "x",
        "0",
        "1e5",
        "nan",
        "\x00",
        "\ud800",
        "\n\n",
        "a\nhydra: {}",
        "\x1b[2J",
        "=1+1",
        "@x",
        "-x",
        "|",
        "&\\%$#_{}",
    ),
    *(
        "<script>alert(1)</script>",
        "]]>",
        "${oc.env:HOME}",
        "../../x",
        "/etc/passwd",
        "é" * 400,
        "\u202e",
        "a" * 100_000,
    ),
    *([], [[]], [None], [1e400], [-1], ["x"], {}, {"": ""}, {"a": {"b": []}}, {"name": {}}, *RAW),
]
# commands, and the text of their output that must not change: files below the results folder
COMMANDS = {"tables": "tables/accuracy_long.csv", "report": "", "figures": ""}
SHOWN = ["tables"] * 6 + ["report"] * 3 + ["figures"]


def attacks(rng: random.Random, base: Path) -> Iterator[Attack]:
    shipped = Path(__file__).resolve().parents[2] / "results" / "shipped" / "records" / "vit_nano"
    chosen = [
        path for method in ("lora", "aoft", "linear") for path in sorted((shipped / method / "digits").glob("*.json"))
    ]
    original = base / "original"
    for path in chosen:
        _put(original, path, path.read_bytes(), shipped)
    victim = chosen[1]
    without = base / "without"
    shutil.copytree(original, without)
    (without / "records/vit_nano" / victim.relative_to(shipped)).unlink()
    expected = set()
    for folder in (original, without):
        ended = call(["tables", str(folder)], base / f"{folder.name}.call")
        assert ended.code == 0, ended.err
        expected.add((folder / COMMANDS["tables"]).read_text())
    record = json.loads(victim.read_text())
    for number in itertools.count():
        if rng.random() < 0.2:
            text, content = _damaged_file(rng, victim.read_bytes())
        else:
            text, content = _edited(rng, record)
        command, folder = rng.choice(SHOWN), base / str(number) / "results"
        shutil.copytree(original, folder)
        _put(folder, victim, content, shipped)
        yield Attack(f"{command}: {text}", lambda c=command, f=folder: _answer(c, f, expected))


def _put(root: Path, path: Path, content: bytes, shipped: Path) -> None:
    to = root / "records/vit_nano" / path.relative_to(shipped)
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(content)


def _edited(rng: random.Random, record: Any) -> tuple[str, bytes]:
    """A record with another value at one place."""
    edited = json.loads(json.dumps(record))
    places = list(_places(edited))
    parent, key, name = rng.choice(places)
    value = rng.choice(VALUES)
    parent[key] = value
    content = json.dumps(edited)
    if isinstance(value, str) and value in RAW:
        content = content.replace(json.dumps(value), RAW[value], 1)
    return f"{name} = {str(value)[:40]!r}", content.encode()


def _places(value: Any, name: str = "") -> Iterator[tuple[Any, Any, str]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key, f"{name}.{key}"
        yield from _places(inner, f"{name}.{key}")


def _damaged_file(rng: random.Random, content: bytes) -> tuple[str, bytes]:
    at = rng.randrange(len(content))
    kind = rng.choice(
        ["cut", "zeros", "bit", "twice", "key twice", "bom", "utf-16", "empty", "array", "comment", "junk"]
    )
    flipped = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    made = {
        "cut": content[:at],
        "zeros": content[:at] + bytes(len(content) - at),
        "bit": flipped,
        "twice": content * 2,
        "key twice": content.rstrip()[:-1] + b', "seed": 0, "metrics": {}}',
        "bom": b"\xef\xbb\xbf" + content,
        "utf-16": content.decode().encode("utf-16"),
        "empty": b"",
        "array": b"[" + content + b"]",
        "comment": b"// x\n" + content,
        "junk": rng.randbytes(1000),
    }
    return f"file: {kind} at {at}", made[kind]


def _answer(command: str, root: Path, expected: set[str]) -> Answer:
    ended: Ended = call([command, str(root)], root.with_name("call"))

    def wrong() -> str:
        shown = COMMANDS[command]
        return "" if not shown or (root / shown).read_text() in expected else "another table"

    answer = judge(ended, wrong)
    shutil.rmtree(root)
    return answer
