"""What every generator of raw archives returns, and how TFDS is made to use the archives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RawExample:
    """One example that the builder must yield.

    Attributes:
        key: `str()` of the key that the builder yields, which determines the example's position in TFDS's order.
        image: (H, W, C) uint8, decoded; of a JPEG file PIL's decoding of the same bytes.
        labels: task name of aoft_bench to the label that the task must get, made by hand.
    """

    key: str
    image: np.ndarray
    labels: dict[str, int]


@dataclass(frozen=True)
class Raw:
    """The archives of one builder, and the examples that must come out of them.

    Attributes:
        builder: the argument of `tfds.builder`, with the configuration if it is not the default: "cifar100".
        archives: URL in the builder to the file name in the manual folder.
        splits: TFDS split name to its examples, in any order; "train+test" if the builder draws the split.
    """

    builder: str
    archives: dict[str, str]
    splits: dict[str, list[RawExample]]


def registered(builder: Any, raw: Raw, manual: Path) -> dict[str, Any]:
    """Make `builder`, a TFDS dataset builder, expect the archives in `manual` instead of the published ones.

    TFDS takes an archive from its manual folder, without the network, if it has file name, size and SHA-256 for the
    URL. They are added to this builder object only: `url_infos` belongs to the class, and TFDS merges it into a table
    of the process, which later builders would use.

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
