"""What every generator of raw archives hands over, and how TFDS is told to take the archives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RawExample:
    """One example as the builder must yield it.

    Attributes:
        key: `str()` of the key that the builder yields; it alone decides the example's place in TFDS's order.
        image: (H, W, C) uint8, what a decoder gives for it; of a JPEG file PIL's decode of the very bytes.
        labels: task name of aoft_bench to the label which the task must get, made by hand.
    """

    key: str
    image: np.ndarray
    labels: dict[str, int]


@dataclass(frozen=True)
class Raw:
    """The archives of one builder, and what has to come out of them.

    Attributes:
        builder: what `tfds.builder` takes, with the configuration where the default is not meant: "cifar100".
        archives: URL, as the builder asks for it, to the file name in the manual folder.
        splits: TFDS split name to its examples, in any order; "train+test" where the builder draws which is which.
    """

    builder: str
    archives: dict[str, str]
    splits: dict[str, list[RawExample]]


def registered(builder: Any, raw: Raw, manual: Path) -> dict[str, Any]:
    """Make `builder`, a TFDS dataset builder, expect the archives in `manual` in place of the published ones.

    TFDS takes an archive from its manual folder, without the network, when it knows file name, size and SHA-256 for
    the URL. They are given to this builder object alone: `url_infos` belongs to the class, and TFDS merges it into a
    table of the whole process, from where later builders would get them.

    Returns:
        URL to `tensorflow_datasets.core.download.checksums.UrlInfo`; empty where everything is manual data.
    """
    from tensorflow_datasets.core.download.checksums import compute_url_info

    infos = {url: compute_url_info(manual / name) for url, name in raw.archives.items()}
    make = builder._make_download_manager

    def make_download_manager(*args: Any, **options: Any) -> Any:
        manager = make(*args, **options)
        manager._url_infos = manager._url_infos | infos
        return manager

    builder._make_download_manager = make_download_manager
    return infos
