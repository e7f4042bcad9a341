"""The README.txt of an exported pack."""

from aoft_bench import __version__
from aoft_bench.data import manifest
from aoft_bench.data.prepared_task import PreparedTask


def readme(ready: PreparedTask) -> str:
    """The text of README.txt."""
    name = ready.task.name if "folder" in ready.task.sources else "folder"  # a dataset that can be read from a pack
    sizes = ", ".join(f"{split} {count:,}" for split, count in ready.sizes.items())
    named = "named in classes.txt" if ready.class_names else "without names"
    official = "yes" if ready.official else "no"
    cached = f"{' x '.join(map(str, ready.shape))} (H x W x C)" if ready.shape else "with one short side"
    if ready.squashed_by is None:
        fingerprint = f"of these images, {cached}"
    else:
        fingerprint = (
            f"of resized copies of these images, {cached}, by {ready.squashed_by};\n"
            f"             such copies are not the originals: the files here were read from the source, not from them"
        )
    return f"""{ready.task.name}, exported by aoft_bench {__version__}

images       {sum(ready.sizes.values()):,} at native size, as PNG: lossless, bit for bit what the source's decoder gave
splits       {sizes}
classes      {ready.classes}, {named}
source       {ready.source_note}
official     {official}{f"; {ready.official_note}" if ready.official_note else ""}
fingerprint  {ready.fingerprint}
             {fingerprint}
manifest     {ready.manifest}
             SHA-256 of the text in {manifest.NAME}: label, id and digest of every image in its source

A line of train800.txt, val200.txt, test.txt is '<image> <label>', labels count from 0; train800val200.txt is the first
two, one after the other. Lossless does not mean original: a pack made from JPEG files keeps what JPEG lost.
The images stay under the terms of their source.

To train on it, and to compare it with another pack, a cache or TFDS:

    python -m aoft_bench dataset={name} data.source=folder data.root=<this folder>
    aoft-bench doctor --compare <this folder> <the other one> dataset={name}
"""
