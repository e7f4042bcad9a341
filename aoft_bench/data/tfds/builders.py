"""The 16 TFDS builders of VTAB-1k and the many-shot tasks: versions, sizes, what to do where a download is broken.

Sizes are those of TensorFlow Datasets 4.9.10's registered checksums. A file in `data.manual_dir` with the name that
TFDS registered is used instead of the download if its SHA-256 is the registered one, whatever mirror it comes from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Builder:
    """Where a builder's images come from.

    download: bytes to download; disk: an estimate of the bytes of downloads, extracted files and prepared examples;
    manual: what the user has to download first ("" if nothing); trouble: a known problem, and the way around it.
    """

    download: int
    disk: int
    manual: str = ""
    trouble: str = ""


def _gb(download: float, disk: float, manual: str = "", trouble: str = "") -> Builder:
    return Builder(round(download * 1e9), round(disk * 1e9), manual, trouble)


BUILDERS: Mapping[str, Builder] = MappingProxyType(
    {
        "cifar100": _gb(0.169, 0.5),
        "caltech101": _gb(
            0.137,
            0.6,
            trouble="the test split is drawn over a directory listing, so its members may differ between file systems: "
            "compare manifests",
        ),
        "dtd": _gb(0.625, 1.9),
        "oxford_flowers102": _gb(0.345, 1.1),
        "oxford_iiit_pet": _gb(0.811, 2.5),
        "svhn_cropped": _gb(1.58, 3.2),
        "sun397/tfds": _gb(
            39.1,
            78.0,
            trouble="the original address of SUN397.tar.gz is dead: put a copy from any mirror into data.manual_dir",
        ),
        "patch_camelyon": _gb(8.07, 25.0),
        "eurosat/rgb": _gb(
            0.094,
            0.3,
            trouble="the host's certificate has expired: the download goes on without it, guarded by its SHA-256; or "
            "put EuroSAT.zip into data.manual_dir",
        ),
        "resisc45": _gb(
            0.0,
            1.0,
            manual="download NWPU-RESISC45.rar (its authors share it on OneDrive) and unpack it, so that "
            "<manual_dir>/NWPU-RESISC45/airplane/airplane_001.jpg is there",
        ),
        "diabetic_retinopathy_detection/btgraham-300": _gb(
            0.001,
            93.0,
            manual="download the Kaggle competition diabetic-retinopathy-detection (an account is needed) and unpack "
            "it, so that <manual_dir>/train/10_left.jpeg, test/1_left.jpeg, sample/ and trainLabels.csv are there",
        ),
        "clevr": _gb(19.0, 58.0),
        "dmlab": _gb(3.02, 9.0),
        "kitti": _gb(12.6, 37.0),
        "dsprites": _gb(0.028, 0.4),
        "smallnorb": _gb(0.263, 1.6),
    }
)


def facts(spec: str) -> Builder:
    """The entry of the builder in a specification; an empty one if it is not in the table."""
    return BUILDERS.get(builder_name(spec), Builder(0, 0))


def builder_name(spec: str) -> str:
    """The name (and configuration) in a specification such as `eurosat/rgb:2`, without the versions."""
    return spec.partition(":")[0]


def accepts(spec: str, version: str) -> bool:
    """Whether a specification allows a version: `:3` allows any 3.x, `:2.0.1` that one, `:>=3` 3.0.0 and later."""
    wanted = spec.partition(":")[2]
    if wanted.startswith(">="):
        return _numbers(version) >= _numbers(wanted[2:])
    return _numbers(version)[: len(_numbers(wanted))] == _numbers(wanted)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
