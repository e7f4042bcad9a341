"""Write the manifests of the embedded tasks to aoft_bench/data/tfds/lists: python tools/make_embedded_manifests.py"""

import shutil
import tempfile
from pathlib import Path

from aoft_bench.data import manifest, task, tasks
from aoft_bench.data.locations import Locations
from aoft_bench.data.prepared_task import prepare
from aoft_bench.data.tfds import official


def main() -> None:
    """Prepare each embedded task in a temporary cache and keep its manifest."""
    with tempfile.TemporaryDirectory() as folder:
        for name in tasks("embedded"):
            ready = prepare(task(name), Locations(Path(folder)), image_size=32)
            shutil.copy(ready.directory / manifest.NAME, official.FOLDER / f"{name}.manifest.tsv.gz")
            print(name, ready.manifest)


if __name__ == "__main__":
    main()
