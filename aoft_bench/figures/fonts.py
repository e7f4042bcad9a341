"""A small copy of the font for PDF files.

Each file embeds the glyphs that it uses, for which fontTools reads the whole font. DejaVu Sans has 6,241 glyphs; with
the 700 that labels use, a figure takes a third less time.
"""

import hashlib
from functools import cache
from pathlib import Path

import fontTools
import matplotlib
from fontTools import subset
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager

from aoft_bench.utils.files import write_atomically

WHOLE = "DejaVu Sans"  # comes with matplotlib, so every machine draws the same
_SMALL = "aoft_bench"
_CHARACTERS = (
    *range(0x20, 0x180),  # Latin
    *range(0x370, 0x400),  # Greek
    *range(0x2010, 0x2040),  # punctuation
    *(ord(sign) for sign in "←→−≤≥\N{REPLACEMENT CHARACTER}"),
)


@cache
def families() -> tuple[str, str]:
    """Names of fonts for `font.family`: the small copy, and the whole one for characters that it lacks."""
    source = Path(findfont(FontProperties(family=WHOLE)))
    key = hashlib.sha256(repr((fontTools.version, _CHARACTERS)).encode() + source.read_bytes()).hexdigest()[:16]
    path = Path(matplotlib.get_cachedir()) / f"aoft_bench-{key}.ttf"
    if not path.is_file():  # once a machine; glyphs, widths and kerning are those of the whole font
        write_atomically(path, lambda partial: _cut(source, partial))
    fontManager.ttflist.append(FontEntry(fname=str(path), name=_SMALL, weight=400, size="scalable"))
    return _SMALL, WHOLE


def _cut(source: Path, target: Path) -> None:
    # FFTM: dates of FontForge; MATH: for formulas, which no label is
    options = subset.Options(name_IDs=["*"], glyph_names=True, notdef_outline=True)
    options.drop_tables += ["FFTM", "MATH"]
    with subset.load_font(str(source), options) as font:
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=_CHARACTERS)
        cutter.subset(font)
        font.save(str(target))
