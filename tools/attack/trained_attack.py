"""Weight files of a backbone, and checkpoints of a run that was killed, damaged one at a time."""

import itertools
import json
import os
import pickle
import random
import shutil
import signal
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from answers import Answer, Attack, call, judge

RUN = ["dataset=digits", "backbone=vit_nano", "trainer=cpu", "logger=none", "trainer.threads=1", "results.root=results"]
LINEAR = [*RUN, "method=linear", "recipe.epochs=1", "recipe.batch_size=200"]
LONG = [*RUN, "method=lora", "recipe.epochs=2", "recipe.batch_size=100", "recipe.drop_path=0.1"]
TENSOR = "blocks.1.attn.qkv.weight"


class _Runs:
    """A pickle that runs a command when it is loaded."""

    def __reduce__(self) -> Any:
        return os.system, ("touch pickle_ran",)


def _tensor(edit: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Any]:
    return lambda state: {**state, TENSOR: edit(state[TENSOR])}


def _states() -> dict[str, Callable[[dict[str, Any]], Any]]:
    """name -> what is saved as .pth."""
    import torch

    def put(value: float) -> Callable[[Any], Any]:
        def edit(tensor: Any) -> Any:
            tensor = tensor.clone()
            tensor.view(-1)[7] = value
            return tensor

        return edit

    def gone(name: str) -> Callable[[dict[str, Any]], Any]:
        return lambda state: {key: value for key, value in state.items() if key != name}

    return {
        "a NaN": _tensor(put(float("nan"))),
        "an infinity": _tensor(put(float("inf"))),
        "3e38": _tensor(put(3e38)),
        "all 1e30": lambda state: {name: tensor * 0 + 1e30 for name, tensor in state.items()},
        **{
            str(kind): _tensor(lambda t, k=kind: t.to(k)) for kind in (torch.int8, torch.bool, torch.int64, torch.uint8)
        },
        "complex": _tensor(lambda t: t.to(torch.complex64)),
        "float64": _tensor(lambda t: t.double()),
        "transposed": _tensor(lambda t: t.t().contiguous()),
        "one row less": _tensor(lambda t: t[:-1]),
        "flat": _tensor(lambda t: t.flatten()),
        "one dimension more": _tensor(lambda t: t[None]),
        "no elements": _tensor(lambda t: t[:0]),
        "sparse": _tensor(lambda t: t.to_sparse()),
        "meta": _tensor(lambda t: t.to("meta")),
        "nested list": _tensor(lambda t: t.tolist()),
        "None": _tensor(lambda t: None),
        "text": _tensor(lambda t: "weights"),
        "a parameter": _tensor(lambda t: torch.nn.Parameter(t)),
        "strided": _tensor(lambda t: t.t().contiguous().t()),
        **{f"without {name}": gone(name) for name in (TENSOR, "pos_embed", "cls_token", "norm.weight")},
        "renamed": lambda state: {name.replace("blocks.1.", "blocks.11."): value for name, value in state.items()},
        "empty": lambda state: {},
        "a list": lambda state: list(state.values()),
        "a tensor": lambda state: state[TENSOR],
        "a number": lambda state: 3,
        "within state_dict": lambda state: {"state_dict": state},
        "within model within model": lambda state: {"model": {"model": state}},
        "keys that are numbers": lambda state: dict(enumerate(state.values())),
        "a pickle that runs": lambda state: {**state, "x": _Runs()},
        "an extra tensor": lambda state: {**state, "blocks.1.attn.bias_table": state[TENSOR]},
        "longer position embedding": lambda state: {**state, "pos_embed": state["pos_embed"].repeat(1, 2, 1)},
    }


def _files() -> dict[str, Callable[[Path, random.Random], Any]]:
    """name -> what is done to a valid .safetensors file."""

    def content(edit: Callable[[bytes, random.Random], bytes]) -> Callable[[Path, random.Random], Any]:
        return lambda path, rng: path.write_bytes(edit(path.read_bytes(), rng))

    def replaced(make: Callable[[Path], Any]) -> Callable[[Path, random.Random], Any]:
        return lambda path, rng: (path.unlink(), make(path))

    def header(edit: Callable[[Any], Any]) -> Callable[[Path, random.Random], Any]:
        def change(file: bytes, rng: random.Random) -> bytes:
            length = struct.unpack("<Q", file[:8])[0]
            text = json.dumps(edit(json.loads(file[8 : 8 + length]))).encode()
            return struct.pack("<Q", len(text)) + text + file[8 + length :]

        return content(change)

    def archive(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("x.npy", b"\x93NUMPY junk")

    return {
        "cut": content(lambda c, r: c[: r.randrange(len(c))]),
        "empty": content(lambda c, r: b""),
        "header of 2**63": content(lambda c, r: b"\xff" * 8 + c[8:]),
        "header a list": header(lambda head: []),
        "offsets that overlap": header(lambda head: {**head, TENSOR: {**head[TENSOR], "data_offsets": [0, 4]}}),
        "another dtype": header(lambda head: {**head, TENSOR: {**head[TENSOR], "dtype": "I32"}}),
        "another shape": header(lambda head: {**head, TENSOR: {**head[TENSOR], "shape": head[TENSOR]["shape"][::-1]}}),
        "a tensor gone from the header": header(lambda head: {k: v for k, v in head.items() if k != TENSOR}),
        "a pickle": content(lambda c, r: pickle.dumps(_Runs())),
        "a zip": replaced(archive),
        "a folder": replaced(lambda path: path.mkdir()),
        "/dev/zero": replaced(lambda path: path.symlink_to("/dev/zero")),
        "a FIFO": replaced(lambda path: os.mkfifo(path)),
        "a link to itself": replaced(lambda path: path.symlink_to(path)),
        "junk after its end": content(lambda c, r: c + b"junk"),
        "half zeros": content(lambda c, r: c[: len(c) // 2] + bytes(len(c) - len(c) // 2)),
    }


MAY_DIFFER = {"half zeros"}  # a valid file of other weights: nothing says that they are wrong


def weights(rng: random.Random, base: Path) -> Iterator[Attack]:
    import torch
    from safetensors.torch import load_file

    from aoft_bench.backbones.weights import NANO_WEIGHTS

    state = load_file(NANO_WEIGHTS)
    good = base / "good"
    ended = call(LINEAR, good)
    assert ended.code == 0, ended.err
    reference = result(good)
    states, files = _states(), _files()
    cases = [*(("state", name) for name in states), *(("file", name) for name in files)]
    numbers = itertools.count()
    while True:
        for kind, name in rng.sample(cases, len(cases)):
            folder = base / str(next(numbers))
            folder.mkdir()
            path = folder / ("w.pth" if kind == "state" else rng.choice(["w.safetensors"] * 4 + ["w.npz", "w.bin"]))
            if kind == "state":
                torch.save(states[name](dict(state)), path)
            else:
                shutil.copy(NANO_WEIGHTS, path)
                files[name](path, rng)
            same = name not in MAY_DIFFER
            words = [*LINEAR, f"backbone.checkpoint={path.name}"]
            yield Attack(
                f"{path.name}: {name}", lambda f=folder, w=words, s=same: _answer(w, f, reference if s else None)
            )


def checkpoints(rng: random.Random, base: Path) -> Iterator[Attack]:
    """A run of two epochs that is killed after its first, its checkpoint damaged, and started again."""
    good, killed, other = base / "good", base / "killed", base / "other"
    ended = call(LONG, good)
    assert ended.code == 0, ended.err
    reference = result(good)
    for folder, words in ((killed, LONG), (other, [*LONG, "seed=1"])):
        _kill_after_first_epoch(words, folder)
    numbers = itertools.count()
    while True:
        folder = base / str(next(numbers))
        shutil.copytree(killed, folder)
        (path,) = folder.rglob("*.ckpt")
        name = _damage(path, rng, next(other.rglob("*.ckpt")))
        yield Attack(f"checkpoint: {name}", lambda f=folder: _answer(LONG, f, reference))


def _kill_after_first_epoch(words: list[str], folder: Path) -> None:
    folder.mkdir()
    child = os.fork()
    if not child:
        os.setsid()
        call(words, folder)
        os._exit(0)
    while not any(folder.rglob("*.ckpt")):
        time.sleep(0.005)
    for pid in _children(child):
        os.kill(pid, signal.SIGKILL)
    os.waitpid(child, 0)


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _damage(path: Path, rng: random.Random, other: Path) -> str:
    import torch

    content = path.read_bytes()
    kind = rng.choice(["bits"] * 6 + ["cut", "zeros", "junk", "other seed", "folder", "value"] + ["value"] * 6)
    if kind == "bits":
        count, made = rng.choice([1, 1, 1, 3, 100]), bytearray(content)
        for at in (rng.randrange(len(made)) for _ in range(count)):
            made[at] ^= 1 << rng.randrange(8)
        path.write_bytes(made)
        return f"{count} bits flipped"
    if kind == "cut":
        path.write_bytes(content[: rng.randrange(len(content))])
    elif kind == "zeros":
        at = rng.randrange(len(content) - 4096)
        path.write_bytes(content[:at] + bytes(4096) + content[at + 4096 :])
    elif kind == "junk":
        path.write_bytes(rng.randbytes(5000))
    elif kind == "other seed":
        shutil.copy(other, path)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        saved = torch.load(path, weights_only=True)
        places = list(_places(saved))
        parent, key, name = rng.choice(places)
        value = rng.choice([None, "x", -1, 7, {}, [], float("nan"), "gone", "scaled", "scaled"])
        if value == "gone":
            del parent[key]
        elif value == "scaled" and isinstance(parent[key], torch.Tensor):
            parent[key] = parent[key] * 2
        else:
            parent[key] = value
        torch.save(saved, path)
        return f"{name} = {value!r}"
    return kind


def _places(value: Any, name: str = "") -> Iterator[tuple[Any, Any, str]]:
    items = (
        list(value.items())
        if isinstance(value, dict)
        else list(enumerate(value[:3]))
        if isinstance(value, list)
        else []
    )
    for key, inner in items:
        yield value, key, f"{name}.{key}"
        yield from _places(inner, f"{name}.{key}")


def result(folder: Path) -> Any:
    """What a run measured, and the digest of what it trained."""
    import hashlib

    (path,) = (folder / "results/records").rglob("*.json")
    record = json.loads(path.read_text())
    trained = hashlib.sha256(path.with_suffix(".safetensors").read_bytes()).hexdigest()
    return record["metrics"], record["curves"]["train_loss"], trained


def _answer(words: list[str], folder: Path, reference: Any) -> Answer:
    ended = call(words, folder)

    def wrong() -> str:
        if (folder / "pickle_ran").exists():
            return "the pickle ran its command"
        if reference is None or result(folder) == reference:
            return ""
        return f"{result(folder)[0]} instead of {reference[0]}"

    answer = judge(ended, wrong, lines=3)
    if (folder / "pickle_ran").exists():
        return Answer("silently wrong", "the pickle ran its command")
    return answer
