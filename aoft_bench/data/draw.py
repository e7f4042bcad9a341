"""Which images train, by rules: splits that are missing, a number of training images, images of each class.

The rules are stratified and seeded, and depend on the names of the images and not on their order in a file:

* The images of a class are put in the order of the SHA-256 of "<seed> <name>".
* Without a test split, the first fifth of each class of the training images is test: rounded to the nearest whole
  number (halves up), at least one where the class has two, and never all.
* `train`: N images are drawn from what is left. Of N, a fifth (rounded down) comes from the val split if there is one.
  Each class gets one image, and a share of the others in proportion to what else it has (largest remainders).
* Without a val split, a fifth of each class of what was drawn is val, as for test. With N = 1000 and equal classes
  these are 800 and 200, as in VTAB-1k.
* `shots`: k images of each class train, all of them where it has fewer. Val is the val split; without one, the next k
  of each class. Val is then for choosing hyper-parameters only: the protocols that train on train and val together
  train on the k images.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from aoft_bench.data.locations import Draw
from aoft_bench.data.sources.base import Listed, Member, Source
from aoft_bench.data.tasks import SPLITS
from aoft_bench.utils.errors import UserError

_RULE = 1  # raise it when the same names give other splits


class _Pool(NamedTuple):
    """The images of one class that are left, in the order of drawing; `take` removes those that it gives."""

    members: list[Member]

    def take(self, count: int) -> list[Member]:
        taken = self.members[:count]
        del self.members[:count]
        return taken


def complete(source: Source, wanted: Draw) -> Source:
    """`source` with three splits, and those of its training images that are wanted.

    It is returned as it is where it has three splits and all images are wanted, and where it drew them itself. Raises
    `UserError` where there are too few images.
    """
    if source.drawn or (not wanted.given and all(split in source.sizes for split in SPLITS)):
        return source
    assert source.listed is not None, "only listed images are drawn"
    chosen, texts, about = choose_images(source.listed, source.classes, wanted, source.class_names, source.stamp)
    rule = f"{_RULE} {wanted.train} {wanted.shots} {wanted.seed}"

    def native_sizes() -> dict[str, np.ndarray]:
        assert source.native_sizes is not None
        every = source.native_sizes()
        return {split: np.array([every[of][index] for of, index in some]) for split, some in chosen.items()}

    return replace(
        source,
        note=f"{source.note}; {', '.join(texts)}, seed {wanted.seed}",
        official_note="; ".join([source.official_note, *texts]),
        stamp=hashlib.sha256(f"{source.stamp} {rule}".encode()).hexdigest(),
        sizes={split: len(some) for split, some in chosen.items()},
        read=lambda split, index: source.read(*chosen[split][index]),
        native_sizes=native_sizes if source.native_sizes else None,
        drawn=about,
        part=_part(source, Draw(seed=wanted.seed), chosen) if wanted.given else None,
    )


class Chosen(NamedTuple):
    """members: of each split of `SPLITS`; texts: what was drawn, in words; about: the same for the record."""

    members: dict[str, list[Member]]
    texts: list[str]
    about: dict[str, Any]


def choose_images(
    listed: Mapping[str, Listed], classes: int, wanted: Draw, class_names: Sequence[str] | None, pool: str
) -> Chosen:
    """The images of each split, see `drawn`. pool: a digest of all images that are drawn from."""
    chosen = drawn(listed, classes, wanted, class_names)
    missing = [split for split in SPLITS if split not in listed]
    texts = [f"{' and '.join(missing)} drawn by rule"] if missing else []
    texts += [f"{wanted.given} drawn by rule"] if wanted.given else []
    few = _short_classes(listed, chosen["train800"], classes, wanted.shots)
    texts += [f"{few:,} classes have fewer than {wanted.shots} images"] if few else []
    about = {"rule": _RULE, "seed": wanted.seed, "splits": missing, "pool": pool}
    about |= {name: value for name in ("train", "shots") if (value := getattr(wanted, name))}
    return Chosen(chosen, texts, about)


def _part(
    source: Source, everything: Draw, chosen: Mapping[str, Sequence[Member]]
) -> tuple[Source, dict[str, list[Member]]]:
    """The source with all images, and where in it the chosen ones are: only that is decoded, once for all draws."""
    assert source.listed is not None
    whole = complete(source, everything)
    if whole is source:
        return whole, {split: list(some) for split, some in chosen.items()}
    splits = drawn(source.listed, source.classes, everything, source.class_names)
    place = {member: (split, at) for split, some in splits.items() for at, member in enumerate(some)}
    return whole, {split: [place[member] for member in some] for split, some in chosen.items()}


def drawn(
    listed: Mapping[str, Listed], classes: int, wanted: Draw, class_names: Sequence[str] | None = None
) -> dict[str, list[Member]]:
    """The images of each split of `SPLITS`, those of one in the order of the source.

    listed: the splits that the source has; "train800" is one of them.
    """
    train = _pools(listed, "train800", classes, wanted.seed)
    found: dict[str, list[Member]] = {}
    if "test" in listed:
        found["test"] = [("test", index) for index in range(len(listed["test"].labels))]
    else:
        found["test"] = [member for pool in train for member in pool.take(_fifth(len(pool.members)))]
    val = _pools(listed, "val200", classes, wanted.seed) if "val200" in listed else None
    if wanted.shots:
        found |= _shots(train, val, wanted.shots, class_names)
    else:
        found |= _share(train, val, wanted.train)
    for split in ("val200", "test"):
        if not found[split]:
            few = "no class has two training images left"
            if split == "val200" and wanted.shots:
                few = f"no class has a training image besides the {wanted.shots} of data.shots"
            raise UserError(
                f"too few images to draw {split} from: {few}; give more images, or a "
                f"{'val' if split == 'val200' else 'test'} split"
            )
    return {split: sorted(found[split], key=lambda member: (SPLITS.index(member[0]), member[1])) for split in SPLITS}


def _pools(listed: Mapping[str, Listed], split: str, classes: int, seed: int) -> list[_Pool]:
    """The images of a split by class, in the order in which they are drawn."""
    pools = [_Pool([]) for _ in range(classes)]
    labels, names = listed[split]
    order = {name: hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest() for name in names}
    for index in sorted(range(len(names)), key=lambda index: (order[names[index]], names[index])):
        pools[labels[index]].members.append((split, index))
    return pools


def _fifth(count: int) -> int:
    """A fifth of `count`, rounded to the nearest whole number; at least one and not all, where there are two."""
    return min(max(1, (2 * count + 5) // 10), count - 1) if count > 1 else 0


def _shots(
    train: list[_Pool], val: list[_Pool] | None, shots: int, class_names: Sequence[str] | None
) -> dict[str, list[Member]]:
    for index, pool in enumerate(train):
        if not pool.members:
            named = f"{index}" + (f" ({class_names[index]})" if class_names else "")
            raise UserError(f"data.shots={shots}: class {named} has no training image left; give one")
    found = {"train800": [member for pool in train for member in pool.take(shots)]}
    rest = [member for pool in train for member in pool.take(shots)] if val is None else _all(val)
    return found | {"val200": rest}


def _share(train: list[_Pool], val: list[_Pool] | None, wanted: int | None) -> dict[str, list[Member]]:
    of_val = 0 if val is None or wanted is None else wanted // 5
    if wanted is not None:
        train = _allotted(train, wanted - of_val, wanted, "training images")
        val = val and _allotted(val, of_val, wanted, "images of the val split")
    if val is not None:
        return {"train800": _all(train), "val200": _all(val)}
    held_out = [member for pool in train for member in pool.take(_fifth(len(pool.members)))]
    return {"train800": _all(train), "val200": held_out}


def _allotted(pools: list[_Pool], total: int, wanted: int, what: str) -> list[_Pool]:
    """The first images of each class, `total` of them."""
    counts = [len(pool.members) for pool in pools]
    if total > sum(counts):
        raise UserError(
            f"data.train={wanted} needs {total:,} {what}, there are {sum(counts):,}; give a smaller number, or "
            f"data.train=all"
        )
    present = sum(count > 0 for count in counts)
    if what == "training images" and total < present:
        raise UserError(f"data.train={wanted} is too few: each of the {present:,} classes needs an image; give more")
    return [_Pool(pool.take(count)) for pool, count in zip(pools, allot(counts, total), strict=True)]


def allot(counts: Sequence[int], total: int) -> list[int]:
    """`total` things, of `counts` in each class: one of each class where that is possible, the others in proportion.

    Whole numbers by largest remainders; of equal ones the first class gets more.
    """
    first = [int(count > 0) for count in counts] if total >= sum(count > 0 for count in counts) else [0] * len(counts)
    rest = [count - one for count, one in zip(counts, first, strict=True)]
    left, whole = total - sum(first), sum(rest)
    if not left:
        return first
    shares = [divmod(left * count, whole) for count in rest]
    extra = left - sum(share for share, _ in shares)
    largest = sorted(range(len(rest)), key=lambda index: (-shares[index][1], index))[:extra]
    return [one + share + (index in largest) for index, (one, (share, _)) in enumerate(zip(first, shares, strict=True))]


def _all(pools: list[_Pool]) -> list[Member]:
    return [member for pool in pools for member in pool.members]


def _short_classes(listed: Mapping[str, Listed], train: list[Member], classes: int, shots: int | None) -> int:
    """How many classes have fewer than `shots` images in `train`, what was drawn to train on."""
    labels = [listed[split].labels[index] for split, index in train]
    return int((np.bincount(labels, minlength=classes) < shots).sum()) if shots else 0
