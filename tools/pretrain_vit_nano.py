"""Pre-train `vit_nano`, the backbone that is shipped with the package, on images drawn by formulas.

No image is read from anywhere: every picture is drawn here, so that the weights can be redistributed and made again.
Four kinds of 32 x 32 pictures share each batch, and each is supervised by what it was drawn from:

=========  ==================================================================  ==================================
kind       picture                                                             targets
=========  ==================================================================  ==================================
fractals   attractors of random iterated function systems                      which system
glyphs     random "letters" of Bezier strokes and arcs, warped                 which letter
crowds     0 to 10 blobs, polygons or outlines that do not touch               how many; where (per patch token)
solos      one such figure                                                     kind, x, y, angle, size
=========  ==================================================================  ==================================

All are coloured at random on flat, graded or textured backgrounds; a part is scaled down and up again (the look of
low-resolution images) or gets noise. The heads are linear, read the class token after the last norm (one reads the
patch tokens) and are thrown away. None of the embedded tasks' images is used; their painter, their shapes' formulas,
their sizes, colours and numbers are others, though a drop, a square or an ellipse is of course drawn here, too.

Run from the repository root:  python tools/pretrain_vit_nano.py --minutes 20
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

SIDE = 32  # pixels
PATCH = 4  # pixels
DIM = 128
BINS = 24  # of a position or an angle
MAX_COUNT = 10
FRACTALS = 128
GLYPHS = 160
#: pictures of each kind in a batch of 128; glyphs lead, since strokes are what most small tasks are made of
MIX = {"fractals": 24, "glyphs": 40, "crowds": 32, "solos": 32}
RECIPE = (
    "multi-task supervised pre-training on formula-driven images made on the fly (IFS fractals, random stroke glyphs, "
    "scenes of drawn shapes); AdamW, warm-up + cosine, bf16 autocast, batch 128; heads dropped"
)


class Draw:
    """Random numbers from one seeded generator, in the few forms that the painters need."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator) * (high - low) + low

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Uniform in low <= n < high."""
        return torch.randint(low, high, shape, generator=self.generator)

    def chance(self, p: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator) < p


# --- figures: closed outlines given as radius over angle -------------------------------------------------------------


def _polygon(vertices: list[tuple[float, float]], angles: Tensor) -> Tensor:
    """Radius over angle of a polygon that is star-shaped around the origin."""
    direction = torch.stack([angles.cos(), angles.sin()], 1)
    a = torch.tensor(vertices)
    edge = a.roll(-1, 0) - a
    # the ray t * direction meets a + s * edge at s in [0, 1]; the nearest positive t is the radius
    cross = direction[:, :1] * edge[:, 1] - direction[:, 1:] * edge[:, 0]
    t = (a[:, 0] * edge[:, 1] - a[:, 1] * edge[:, 0]) / cross
    s = (a[:, 0] * direction[:, 1:] - a[:, 1] * direction[:, :1]) / cross
    hit = (t > 0) & (s > -1e-4) & (s < 1 + 1e-4)
    return torch.where(hit, t, torch.inf).amin(1).clamp(max=1.5)


def figure_table(draw: Draw, resolution: int = 256) -> tuple[Tensor, Tensor]:
    """Radii (kinds, resolution), the largest about 1, and whether each kind has a direction it points in (angle 0)."""
    angles = torch.arange(resolution) * (2 * math.pi / resolution) + 1e-3

    def ngon(n: int, inner: float | None = None) -> list[tuple[float, float]]:
        corners = n if inner is None else 2 * n
        radii = [1.0 if inner is None or i % 2 == 0 else inner for i in range(corners)]
        turns = [2 * math.pi * i / corners for i in range(corners)]
        return [(r * math.cos(t), r * math.sin(t)) for r, t in zip(radii, turns, strict=True)]

    round_ones = [torch.ones(resolution), 0.45 / (1 - 0.8 * angles.cos() ** 2 + 1e-6).sqrt()]
    regular = [_polygon(ngon(n, inner), angles) for n, inner in [(3, None), (4, None), (5, None), (4, 0.4), (6, 0.5)]]
    pointing = [
        _polygon(points, angles)
        for points in (
            [(1, 0), (-0.6, 0.5), (-0.6, -0.5)],  # dart
            [(1, 0), (0.1, 0.7), (0.1, 0.3), (-0.8, 0.3), (-0.8, -0.3), (0.1, -0.3), (0.1, -0.7)],  # arrow
            [(1, 0), (-0.2, 0.6), (-0.6, 0), (-0.2, -0.6)],  # kite
            [(1, 0), (-0.9, 0.7), (-0.25, 0), (-0.9, -0.7)],  # chevron
            [(0.9, 0.25), (0.9, -0.25), (-0.8, -0.75), (-0.8, 0.75)],  # trapezium
            [(1, 0), (0.2, 0.75), (-0.7, 0.75), (-0.7, -0.75), (0.2, -0.75)],  # house
        )
    ]
    pointing.append(torch.where(angles.cos() > 0.75, 0.25, 1.0))  # a disc with a slice missing
    pointing.append(torch.minimum(torch.ones(resolution), 0.35 / (-angles.cos()).clamp(min=1e-3)))  # a cut disc
    for sharpness in (1.0, 2.0, 4.0):  # drops and pears: a power of the cardioid
        pointing.append(0.35 + 0.65 * (0.5 + 0.5 * angles.cos()) ** sharpness)
    for _ in range(8):  # formula-driven blobs: the first harmonic leads, so that they point, too
        high = [0.22 * draw.normal(1) / k * (k * angles + draw.uniform(0, 6.28, 1)).cos() for k in (2, 3, 4, 5)]
        radius = (0.6 + 0.3 * angles.cos() + sum(high)).clamp(min=0.15)
        pointing.append(radius / radius.max())
    table = torch.stack([*round_ones, *regular, *pointing])
    directed = torch.tensor([False] * (len(round_ones) + len(regular)) + [True] * len(pointing))
    return table, directed


def ink_of_figures(
    table: Tensor, kind: Tensor, x: Tensor, y: Tensor, angle: Tensor, size: Tensor, line: Tensor
) -> Tensor:
    """Coverage (n, SIDE, SIDE) in [0, 1] of n figures; lengths in pixels, angle in radians, line 0 for filled ones."""
    grid = torch.arange(SIDE) + 0.5
    dx = grid[None, None, :] - x[:, None, None]
    dy = grid[None, :, None] - y[:, None, None]
    turn = (torch.atan2(dy, dx) - angle[:, None, None]) * (table.shape[1] / (2 * math.pi))
    index = turn.floor().long() % table.shape[1]
    radius = table.flatten()[index + kind[:, None, None] * table.shape[1]] * size[:, None, None]
    depth = radius - (dx * dx + dy * dy).sqrt()
    line = line[:, None, None]
    # an outline is the band of that width inside the edge
    depth = torch.where(line > 0, torch.minimum(depth, line - depth), depth)
    return (depth + 0.5).clamp(0, 1)


# --- fractals and glyphs: classes of random formulas -----------------------------------------------------------------


def fractal_pool(draw: Draw, classes: int, instances: int, points: int = 500) -> Tensor:
    """Density images (classes, instances, SIDE, SIDE) uint8 of random iterated function systems.

    A class is a system of 2 to 4 affine maps; an instance scales each coefficient by 0.85 to 1.15. Of three times as
    many systems those are kept that fill a middling part of the frame: lines and clouds cannot be told apart.
    """

    def play(maps: Tensor, weights: Tensor) -> Tensor:
        systems = maps.shape[0]
        choice = torch.multinomial(weights, points + 20, replacement=True, generator=draw.generator)
        state = torch.zeros(systems, 2)
        track = []
        for step in range(points + 20):
            chosen = maps[torch.arange(systems), choice[:, step]]
            state = (chosen[:, :, :2] @ state[:, :, None]).squeeze(2) + chosen[:, :, 2]
            if step >= 20:  # the first points have not reached the attractor
                track.append(state)
        path = torch.stack(track, 1)
        low, high = path.amin(1, keepdim=True), path.amax(1, keepdim=True)
        cell = ((path - low) / (high - low).clamp(min=1e-6) * (SIDE - 4.01) + 2).long()
        count = torch.zeros(systems, SIDE * SIDE)
        count.scatter_add_(1, cell[:, :, 1] * SIDE + cell[:, :, 0], torch.ones(systems, points))
        return count

    candidates = 3 * classes
    # rotation, two contractions and a reflection per map, so that every map is a contraction
    first, second = draw.uniform(0, 2 * math.pi, 2, candidates, 4)
    sx, sy = draw.uniform(0.25, 0.85, 2, candidates, 4)
    sy = torch.where(draw.chance(0.4, candidates, 4), -sy, sy)
    turn = torch.stack([first.cos(), -first.sin(), first.sin(), first.cos()], -1).view(candidates, 4, 2, 2)
    back = torch.stack([second.cos(), -second.sin(), second.sin(), second.cos()], -1).view(candidates, 4, 2, 2)
    linear = turn @ torch.diag_embed(torch.stack([sx, sy], -1)) @ back
    maps = torch.cat([linear, draw.uniform(-1, 1, candidates, 4, 2, 1)], -1)
    used = torch.arange(4)[None] < draw.integers(2, 5, candidates)[:, None]
    weights = torch.where(used, linear.det().abs() + 0.05, 0.0)
    fill = (play(maps, weights) > 0).float().mean(1)
    keep = (fill - 0.2).abs().argsort()[:classes]
    pool = []
    for _ in range(instances):
        jitter = draw.uniform(0.85, 1.15, classes, 4, 2, 3)
        count = play(maps[keep] * jitter, weights[keep])
        pool.append((count.clamp(max=3) * 85).to(torch.uint8).view(classes, SIDE, SIDE))
    return torch.stack(pool, 1)


def glyph_table(draw: Draw, classes: int, strokes: int = 3, samples: int = 24) -> Tensor:
    """Points (classes, strokes * samples, 2) in about [-1, 1] along 1 to 3 strokes: Bezier curves and arcs."""
    t = torch.linspace(0, 1, samples)[None, None, :, None]
    ends = draw.uniform(-1, 1, classes, strokes, 3, 2)
    a, b, c = (ends[:, :, i, None] for i in range(3))
    curve = (1 - t) ** 2 * a + 2 * t * (1 - t) * (b * 1.4) + t**2 * c
    straight = a + t * (c - a)
    start = draw.uniform(0, 2 * math.pi, classes, strokes, 1)
    sweep = torch.where(draw.chance(0.4, classes, strokes, 1), 2 * math.pi, draw.uniform(2, 5, classes, strokes, 1))
    phase = start + sweep * t[..., 0]
    radius = draw.uniform(0.3, 0.8, classes, strokes, 1, 2)
    arc = b * 0.5 + radius * torch.stack([phase.cos(), phase.sin()], -1)
    style = draw.integers(0, 10, classes, strokes)[:, :, None, None]
    points = torch.where(style < 4, curve, torch.where(style < 6, straight, arc))
    # a glyph of fewer strokes repeats its first one: the union of the ink is the same
    used = torch.arange(strokes)[None] < draw.integers(1, strokes + 1, classes)[:, None]
    points = torch.where(used[:, :, None, None], points, points[:, :1]).reshape(classes, -1, 2)
    low, high = points.amin(1, keepdim=True), points.amax(1, keepdim=True)
    return (points - (low + high) / 2) / ((high - low).amax(2, keepdim=True) / 2).clamp(min=0.2)


def ink_of_glyphs(draw: Draw, points: Tensor) -> Tensor:
    """Coverage (n, SIDE, SIDE) of warped, turned and shifted glyphs with a random pen width."""
    n = points.shape[0]
    wave = draw.uniform(0.6, 2.0, n, 1, 2) * points.flip(2) + draw.uniform(0, 2 * math.pi, n, 1, 2)
    points = points + draw.uniform(0.0, 0.22, n, 1, 1) * wave.sin()
    turn = draw.uniform(-0.3, 0.3, n)
    shear = draw.uniform(-0.3, 0.3, n)
    sx, sy = draw.uniform(0.55, 1.05, 2, n)
    matrix = torch.stack([turn.cos() * sx, -turn.sin() * sy + shear, turn.sin() * sx, turn.cos() * sy], 1)
    points = points @ matrix.view(n, 2, 2).mT * (SIDE * 0.42) + SIDE / 2 + draw.uniform(-2.5, 2.5, n, 1, 2)
    grid = torch.arange(SIDE) + 0.5
    pixels = torch.stack([grid[None, :].expand(SIDE, SIDE), grid[:, None].expand(SIDE, SIDE)], -1).reshape(-1, 2)
    # |p - q|^2 by one matrix product
    square = (pixels**2).sum(1)[None, :, None] + (points**2).sum(2)[:, None] - 2 * pixels[None] @ points.mT
    distance = square.amin(2).clamp(min=0).sqrt()
    width = draw.uniform(0.8, 2.8, n, 1)
    return (width - distance + 0.5).clamp(0, 1).view(n, SIDE, SIDE)


# --- colours, backgrounds and the look of the picture ----------------------------------------------------------------


def palette(draw: Draw, n: int) -> tuple[Tensor, Tensor]:
    """Ground and ink colours (n, 3) in [0, 1] that differ enough; rather more than half of the pairs are grey."""
    grey = draw.chance(0.55, n)
    ground, ink = draw.uniform(0, 1, 2, n, 3)
    grey_ground = torch.where(draw.chance(0.7, n, 1), draw.uniform(0, 0.25, n, 1), draw.uniform(0, 1, n, 1))
    ground = torch.where(grey[:, None], grey_ground, ground)
    # grey ink goes to the far end of the scale, in a colour one channel at least does
    far = torch.where(ground < 0.5, draw.uniform(0.65, 1, n, 1), draw.uniform(0, 0.35, n, 1))
    forced = grey[:, None] | (torch.arange(3)[None] == draw.integers(0, 3, n, 1))
    return ground, torch.where(forced, far, ink)


def backgrounds(draw: Draw, ground: Tensor) -> Tensor:
    """(n, 3, SIDE, SIDE): the ground colour, for 40 % of the pictures with a smooth or rough texture."""
    n = ground.shape[0]
    coarse = F.interpolate(draw.normal(n, 1, 4, 4), SIDE, mode="bilinear")
    rough = F.interpolate(draw.normal(n, 1, 13, 13), SIDE, mode="bilinear")
    mixed = torch.where(draw.chance(0.6, n, 1, 1, 1), coarse, rough)
    strength = torch.where(draw.chance(0.4, n, 1, 1, 1), draw.uniform(0.02, 0.09, n, 1, 1, 1), 0.0)
    return (ground[:, :, None, None] + strength * mixed).clamp(0, 1)


def low_resolution(draw: Draw, images: Tensor, p: float, sides: tuple[int, ...]) -> Tensor:
    """A part p of the pictures scaled down to one of `sides` and up again."""
    chosen = draw.chance(p, len(images)).nonzero()[:, 0]
    for part, side in zip(chosen.chunk(len(sides)), sides, strict=False):
        small = F.interpolate(images[part], side, mode="bilinear", antialias=True)
        images[part] = F.interpolate(small, SIDE, mode="bicubic").clamp(0, 1)
    return images


def finish(draw: Draw, images: Tensor) -> Tensor:
    """Noise for a quarter of the pictures, then the normalisation of the package: mean = std = 0.5."""
    n = len(images)
    strength = torch.where(draw.chance(0.25, n, 1, 1, 1), draw.uniform(0.01, 0.05, n, 1, 1, 1), 0.0)
    noisy = images + strength * draw.normal(n, 1, SIDE, SIDE)
    return (noisy.clamp(0, 1) - 0.5) / 0.5


# --- the four kinds of pictures --------------------------------------------------------------------------------------


class Painter:
    """Makes one batch after another: images (128, 3, SIDE, SIDE) and the targets of each kind."""

    def __init__(self, seed: int, instances: int = 128) -> None:
        self.draw = Draw(seed)
        self.table, self.directed = figure_table(self.draw)
        self.glyphs = glyph_table(self.draw, GLYPHS)
        self.fractals = fractal_pool(self.draw, FRACTALS, instances)

    def batch(self) -> tuple[Tensor, dict[str, Tensor]]:
        targets: dict[str, Tensor] = {}
        painters = {
            "fractals": self.paint_fractals,
            "glyphs": self.paint_glyphs,
            "crowds": self.paint_crowds,
            "solos": self.paint_solos,
        }
        images = [painters[kind](n, targets) for kind, n in MIX.items()]
        return finish(self.draw, torch.cat(images)), targets

    def _paint(self, ink: Tensor) -> Tensor:
        ground, colour = palette(self.draw, len(ink))
        ink = ink[:, None]
        return backgrounds(self.draw, ground) * (1 - ink) + colour[:, :, None, None] * ink

    def _fractals_ink(self, label: Tensor) -> Tensor:
        n = len(label)
        pick = self.draw.integers(0, self.fractals.shape[1], n)
        ink = self.fractals[label, pick].float()[:, None] / 255
        # points of one pixel or of a random 3 x 3 patch
        patch = self.draw.uniform(0, 1, n, 1, 3, 3) * self.draw.chance(0.5, n, 1, 3, 3)
        patch[:, :, 1, 1] = 1
        thick = F.conv2d(ink.view(1, n, SIDE, SIDE), patch, padding=1, groups=n).view(n, 1, SIDE, SIDE).clamp(max=1)
        turn = self.draw.uniform(-0.3, 0.3, n)
        scale = self.draw.uniform(0.85, 1.5, n)
        flip = torch.where(self.draw.chance(0.5, n), -scale, scale)
        shift = self.draw.uniform(-0.2, 0.2, n, 2, 1)
        matrix = torch.stack([flip * turn.cos(), -scale * turn.sin(), flip * turn.sin(), scale * turn.cos()], 1)
        grid = F.affine_grid(torch.cat([matrix.view(n, 2, 2), shift], 2), [n, 1, SIDE, SIDE], align_corners=False)
        return F.grid_sample(thick, grid, align_corners=False)[:, 0]

    def paint_fractals(self, n: int, targets: dict[str, Tensor]) -> Tensor:
        targets["fractal"] = self.draw.integers(0, FRACTALS, n)
        return low_resolution(self.draw, self._paint(self._fractals_ink(targets["fractal"])), 0.2, (12, 16))

    def paint_glyphs(self, n: int, targets: dict[str, Tensor]) -> Tensor:
        targets["glyph"] = self.draw.integers(0, GLYPHS, n)
        images = self._paint(ink_of_glyphs(self.draw, self.glyphs[targets["glyph"]]))
        return low_resolution(self.draw, images, 0.5, (8, 8, 8, 12))

    def paint_crowds(self, n: int, targets: dict[str, Tensor]) -> Tensor:
        draw = self.draw
        wanted = draw.integers(0, MAX_COUNT + 1, n)
        # one scale a picture: else the inked area alone would tell the number
        scale = draw.uniform(1.7, 3.6, n)
        ground, colour = palette(draw, n)
        images = backgrounds(draw, ground)
        one_colour = draw.chance(0.6, n, 1)
        count = torch.zeros(n, dtype=torch.long)
        centres = torch.zeros(n, (SIDE // PATCH) ** 2)
        placed_at = torch.full((n, MAX_COUNT, 2), 1e3)
        placed_size = torch.zeros(n, MAX_COUNT)
        for slot in range(MAX_COUNT):
            size = scale * draw.uniform(0.8, 1.3, n)
            # the first of 24 random places that is free; a picture too full for one more stays as it is
            place = size[:, None, None] + draw.uniform(0, 1, n, 24, 2) * (SIDE - 2 * size[:, None, None])
            gap = torch.cdist(place, placed_at) - placed_size[:, None] - size[:, None, None]
            free = (gap > 0.7).all(2)
            pick = free.float().argmax(1)
            active = (free.any(1) & (wanted > slot)).nonzero()[:, 0]
            at = place[torch.arange(n), pick]
            placed_at[active, slot], placed_size[active, slot] = at[active], size[active]
            count[active] += 1
            m = len(active)
            if m == 0:
                continue
            line = torch.where(draw.chance(0.2, m), draw.uniform(1.0, 1.4, m), 0.0)
            kind, angle = draw.integers(0, len(self.table), m), draw.uniform(0, 2 * math.pi, m)
            x, y = at[active].unbind(1)
            ink = ink_of_figures(self.table, kind, x, y, angle, size[active], line)[:, None]
            _, other = palette(draw, m)
            bright = (ground[active].mean(1, keepdim=True) - other.mean(1, keepdim=True)).abs() > 0.25
            shade = torch.where(one_colour[active] | ~bright, colour[active], other)
            images[active] = images[active] * (1 - ink) + shade[:, :, None, None] * ink
            cell = (y / PATCH).long().clamp(0, 7) * (SIDE // PATCH) + (x / PATCH).long().clamp(0, 7)
            centres[active, cell] = 1
        targets["count"], targets["centres"] = count, centres
        return low_resolution(draw, images, 0.2, (16, 20))

    def paint_solos(self, n: int, targets: dict[str, Tensor]) -> Tensor:
        draw = self.draw
        # every other one has a direction for sure, so that the angle is learnt in time
        kind = torch.where(
            draw.chance(0.5, n),
            draw.integers(int((~self.directed).sum()), len(self.table), n),
            draw.integers(0, len(self.table), n),
        )
        size = draw.uniform(2.5, 11, n)
        room = (size * 0.8)[:, None]
        x, y = (room + draw.uniform(0, 1, n, 2) * (SIDE - 2 * room)).unbind(1)
        angle = draw.uniform(0, 2 * math.pi, n)
        line = torch.where(draw.chance(0.2, n), draw.uniform(1.2, 2.2, n), 0.0)
        targets["kind"], targets["directed"] = kind, self.directed[kind]
        targets["x"], targets["y"], targets["angle"], targets["size"] = x, y, angle, size
        images = self._paint(ink_of_figures(self.table, kind, x, y, angle, size, line))
        return low_resolution(draw, images, 0.25, (10, 16))


# --- model, losses and the loop --------------------------------------------------------------------------------------


def build() -> VisionTransformer:
    """`vit_nano` without a head: 1.2 M parameters, started so that a short training gets off the ground.

    timm starts every linear layer at a standard deviation of 0.02. At width 128 that is a quarter of what keeps a
    signal's size, and the class token sees next to nothing for thousands of steps; hence Xavier weights here. The
    position embedding starts as sines and cosines of the row and the column, so that places need not be learnt.
    """
    model = VisionTransformer(
        img_size=SIDE,
        patch_size=PATCH,
        embed_dim=DIM,
        depth=6,
        num_heads=4,
        mlp_ratio=4.0,
        qkv_bias=True,
        class_token=True,
        global_pool="token",
        num_classes=0,
    )
    for module in model.blocks.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    at = torch.arange(SIDE // PATCH) + 0.5
    waves = at[:, None] * (math.pi / 8 * 2 ** torch.linspace(-0.5, 2.5, DIM // 4))
    line = torch.cat([waves.sin(), waves.cos()], 1)
    rows, columns = line[:, None].expand(-1, len(at), -1), line[None].expand(len(at), -1, -1)
    with torch.no_grad():
        model.pos_embed[0, 1:] = 0.3 * torch.cat([rows, columns], 2).flatten(0, 1)
        nn.init.normal_(model.cls_token, std=0.3)
    return model


class Heads(nn.Module):
    """Linear heads: what they read must be linear in the class token, as a linear probe will need it to be."""

    def __init__(self, kinds: int) -> None:
        super().__init__()
        sizes = {"fractal": FRACTALS, "glyph": GLYPHS, "count": MAX_COUNT + 1, "kind": kinds, "size": 1, "heading": 2}
        sizes |= {"x": BINS, "y": BINS, "angle": BINS}
        self.heads = nn.ModuleDict({name: nn.Linear(DIM, size) for name, size in sizes.items()})
        self.centres = nn.Linear(DIM, 1)

    def forward(self, tokens: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted losses by name from tokens (128, 1 + 64, 128) after the last norm.

        The heads read the class token and, with half the weight, the mean of the patch tokens: from that the gradient
        reaches every patch at once, and the class token only has to learn where to look.
        """
        losses = self._global(tokens[:, 0], targets)
        pooled = self._global(tokens[:, 1:].mean(1), targets)
        losses |= {f"{name}*": 0.5 * loss for name, loss in pooled.items()}
        # every patch token says whether a centre lies in it: counting and locating are learnt much faster with that
        crowd_patches = tokens[:, 1:].split(list(MIX.values()))[list(MIX).index("crowds")]
        centres = self.centres(crowd_patches)[..., 0]
        losses["centres"] = 2.0 * F.binary_cross_entropy_with_logits(centres, targets["centres"])
        return losses

    def _global(self, features: Tensor, targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weighted losses of all heads but the patches' from one feature vector (128, 128) a picture."""
        of = dict(zip(MIX, features.split(list(MIX.values())), strict=True))
        head, solo = self.heads, of["solos"]
        losses = {
            "fractal": 0.5 * F.cross_entropy(head["fractal"](of["fractals"]), targets["fractal"]),
            "glyph": 1.0 * F.cross_entropy(head["glyph"](of["glyphs"]), targets["glyph"]),
            "count": 1.0 * F.cross_entropy(head["count"](of["crowds"]), targets["count"]),
            "kind": 0.4 * F.cross_entropy(head["kind"](solo), targets["kind"]),
            "size": 2.0 * F.mse_loss(head["size"](solo)[:, 0], targets["size"] / 8 - 1),
        }
        edge = (torch.arange(BINS) + 0.5) / BINS
        for axis in ("x", "y"):
            away = targets[axis][:, None] / SIDE - edge
            losses[axis] = 0.4 * F.cross_entropy(head[axis](solo), _soft(away))
        directed = targets["directed"]
        angle = targets["angle"][directed]
        away = (angle[:, None] / (2 * math.pi) - edge + 0.5) % 1 - 0.5
        losses["angle"] = 0.5 * F.cross_entropy(head["angle"](solo[directed]), _soft(away))
        heading = torch.stack([angle.cos(), angle.sin()], 1)
        losses["heading"] = 1.0 * F.mse_loss(head["heading"](solo[directed]), heading)
        return losses


def _soft(away: Tensor) -> Tensor:
    """Target distribution over the bins: a Gaussian of 0.8 bin, from the distances (n, BINS) as parts of the range."""
    return (-0.5 * (away * BINS / 0.8) ** 2).softmax(1)


def pretrain(minutes: float, seed: int, out: Path, peak: float = 1.5e-3, log_every: int = 50) -> None:
    started = time.perf_counter()
    torch.manual_seed(seed)
    painter = Painter(seed)
    model, heads = build(), Heads(len(painter.table))
    for block in model.blocks:
        block.attn.fused_attn = False  # at 65 tokens of width 32 the plain product is about twice as fast on a CPU
    named = [*model.named_parameters(), *heads.named_parameters()]
    decayed = [p for _, p in named if p.ndim == 2]
    plain = [p for _, p in named if p.ndim != 2]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=peak,
        betas=(0.9, 0.98),
        fused=True,
    )
    print(f"drew the pools in {time.perf_counter() - started:.1f} s", flush=True)
    step, painting, mean = 0, 0.0, {}
    warm_up = 200
    # the schedule follows the clock, so that the minutes asked for are the minutes taken on any machine
    while (progress := (time.perf_counter() - started) / (60 * minutes)) < 1:
        rate = peak * min(1, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimiser.param_groups:
            group["lr"] = rate
        tick = time.perf_counter()
        images, targets = painter.batch()
        painting += time.perf_counter() - tick
        with torch.autocast("cpu", torch.bfloat16):
            tokens = model.forward_features(images)
        losses = heads(tokens.float(), targets)
        optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        optimiser.step()
        step += 1
        for name, loss in losses.items():
            mean[name] = mean.get(name, 0.0) + loss.item() / log_every
        if step % log_every == 0:
            text = " ".join(f"{name} {value:.3f}" for name, value in mean.items() if name[-1] != "*")
            seconds = time.perf_counter() - started
            print(f"{step:6d} {seconds:7.1f} s (painting {painting:.0f} s) lr {rate:.1e} {text}", flush=True)
            mean = {}
    taken = (time.perf_counter() - started) / 60
    seen = step * sum(MIX.values())
    weights = {name: value.detach().float().contiguous() for name, value in model.state_dict().items()}
    metadata = {"recipe": RECIPE, "seed": str(seed), "minutes": f"{taken:.1f}", "steps": str(step)}
    metadata |= {
        "images_seen": str(seen),
        "mix": json.dumps(MIX),
        "torch": torch.__version__,
        "script": Path(__file__).name,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, out, metadata)
    count = sum(value.numel() for value in weights.values())
    print(f"wrote {out} ({count} parameters, {out.stat().st_size} bytes); {seen} images in {taken:.1f} min", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Pre-train vit_nano on images drawn by formulas.")
    parser.add_argument("--minutes", type=float, default=20.0, help="wall-clock time of the whole run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("aoft_bench/backbones/vit_nano.safetensors"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pretrain(arguments.minutes, arguments.seed, arguments.out)


if __name__ == "__main__":
    main()
