"""CLEVR: RGBA PNG files in images/{train,val,test}, scenes and questions as JSON; test has neither scenes nor answers.

The label of clevr_count is the number of objects less 3; that of clevr_distance is the interval of the smallest
third pixel coordinate: up to 8, above 8 and up to 8.5, 9, 9.5, 10, above 10. The generator draws both classes,
then the scene.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from raw.common import Raw, RawExample
from raw.pictures import encoded, noise, put, zipped

URL = "https://dl.fbaipublicfiles.com/clevr/CLEVR_v1.0.zip"
ARCHIVE = "CLEVR_v1.0.zip"
SIZES = {"train": ("train", 700), "validation": ("val", 150), "test": ("test", 150)}
HEIGHT, WIDTH = 32, 48  # a tenth of the published sides
NEAREST = (  # the least distance of a scene: within each class, on its upper end, and just above
    [(5.0, 0), (7.9, 0), (8.0, 0)],
    [(8.01, 1), (8.25, 1), (8.5, 1)],
    [(8.51, 2), (8.75, 2), (9.0, 2)],
    [(9.01, 3), (9.25, 3), (9.5, 3)],
    [(9.51, 4), (9.75, 4), (10.0, 4)],
    [(10.01, 5), (11.5, 5), (30.0, 5)],
)
WORDS = {
    "color": ["gray", "blue", "brown", "yellow", "red", "green", "purple", "cyan"],
    "material": ["rubber", "metal"],
    "shape": ["cube", "sphere", "cylinder"],
    "size": ["small", "large"],
}


def write(manual: Path, seed: int = 0) -> Raw:
    """Write the archive: noise of 32 x 48 pixels, scenes of 3 to 10 objects."""
    rng = np.random.default_rng(seed)
    content = {"CLEVR_v1.0/README.txt": b"see the paper\n"}
    splits: dict[str, list[RawExample]] = {}
    for split, (short, count) in SIZES.items():
        scenes, splits[split] = [], []
        for index in range(count):
            name = f"CLEVR_{short}_{index:06d}.png"
            pixels = noise(rng, HEIGHT, WIDTH)
            opaque = np.full((HEIGHT, WIDTH, 1), 255, np.uint8)
            content[f"CLEVR_v1.0/images/{short}/{name}"] = encoded(np.concatenate([pixels, opaque], axis=2), "PNG")
            scene, labels = _scene(rng, index)
            scenes.append({"split": short, "image_index": index, "image_filename": name, **scene})
            splits[split].append(RawExample(name, pixels, labels if short != "test" else {}))
        answer = {} if short == "test" else {"answer": "yes"}
        content[f"CLEVR_v1.0/questions/CLEVR_{short}_questions.json"] = _json("questions", _questions(scenes, answer))
        if short != "test":
            content[f"CLEVR_v1.0/scenes/CLEVR_{short}_scenes.json"] = _json("scenes", scenes)
    put(manual / ARCHIVE, zipped(content))
    return Raw("clevr", {URL: ARCHIVE}, splits)


def _scene(rng: np.random.Generator, index: int) -> tuple[dict[str, Any], dict[str, int]]:
    """The scene and its two labels; the classes alternate, so that every pair of them occurs."""
    count = index % 8
    of_class = NEAREST[index // 8 % 6]
    nearest, distance = of_class[int(rng.integers(len(of_class)))]
    others = nearest + rng.uniform(0.5, 6.0, count + 2)
    depths = rng.permutation([nearest, *others]).tolist()
    scene = {
        "objects": [_object(rng, depth) for depth in depths],
        "relationships": {"left": [[] for _ in depths]},
        "directions": {"left": [-0.66, -0.75, 0.0]},
    }
    return scene, {"clevr_count": count, "clevr_distance": distance}


def _object(rng: np.random.Generator, depth: float) -> dict[str, Any]:
    words = {name: str(rng.choice(options)) for name, options in WORDS.items()}
    across, down = (int(limit * rng.random()) for limit in (WIDTH, HEIGHT))
    place = rng.uniform(-3, 3, 3).round(6).tolist()
    return words | {
        "rotation": float(rng.uniform(0, 360)),
        "3d_coords": place,
        "pixel_coords": [across, down, depth],
    }


def _questions(scenes: list[dict[str, Any]], answer: dict[str, str]) -> list[dict[str, Any]]:
    """Two questions on each scene but the first, of which there is none."""
    return [
        {
            "split": scene["split"],
            "image_filename": scene["image_filename"],
            "image_index": scene["image_index"],
            "question_index": 2 * position + turn,
            "question": f"Are there {position + turn} objects?",
            **answer,
        }
        for position, scene in enumerate(scenes[1:])
        for turn in range(2)
    ]


def _json(kind: str, rows: list[dict[str, Any]]) -> bytes:
    return json.dumps({"info": {"version": "1.0"}, kind: rows}).encode()
