"""Settings, and the records of each as rows that may be compared.

A setting is everything but the method that a number depends on: suite, protocol, backbone file, image size,
normalisation, interpolation, epochs, precision, and where the images come from. Records of different settings never
share a table, so they are never ranked together. Runs of one method that differ in options or recipe never share a
cell: they become rows of their own, labelled by what differs.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from aoft_bench.data.tasks import TASKS, in_order
from aoft_bench.records.schema import Record
from aoft_bench.results.image_sets import by_images, count_of
from aoft_bench.results.kept import Kept
from aoft_bench.results.rows import Row, build_rows
from aoft_bench.results.rules import Proofs, broken_rules
from aoft_bench.results.setting import Setting, setting_of, triple
from aoft_bench.results.setting_notes import caption_of, code_notes, notes_on
from aoft_bench.results.titles import BUILT_IN, Titles
from aoft_bench.utils.text import counted

Layout = Literal["vtab1k", "manyshot", "fgvc", "domainshift", "plain"]
BENCHMARKS: dict[Layout, str] = {
    "vtab1k": "VTAB-1k",
    "manyshot": "Many-shot",
    "fgvc": "FGVC",
    "domainshift": "Shifts of domain",
}
SUITES = {
    "vtab1k": "Tasks of VTAB-1k",
    "manyshot": "Many-shot",
    "fgvc": "FGVC",
    "domainshift": "Shifts of domain",
    "embedded": "Embedded tasks",
    "own": "Own data",
}
# added to the titles of settings that would have the same one, where they differ
_ADDED_TO_TITLES = ("precision", "interpolation", "mean", "std", "sha256", "split", "source", "official", "images")


@dataclass(frozen=True)
class Comparison:
    """All rows of one setting, which are ranked together.

    datasets: all of a suite in its layout, such as all 19 tasks of `vtab1k`; in `plain` those that have records;
    unofficial: those that are marked, since they may not be compared with published rows; notes: what a reader must
    know, made from the records; kept: the predictions beside the records; smaller: the same setting with a part of the
    training images, the fewest first, where this one has all of them.
    """

    title: str
    caption: str
    datasets: list[str]
    unofficial: set[str]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    setting: Setting = field(kw_only=True)
    layout: Layout = field(default="plain", kw_only=True)
    kept: Kept = field(default_factory=Kept, kw_only=True)
    smaller: Sequence["Comparison"] = field(default=(), kw_only=True)
    titles: Titles = field(default_factory=Titles, kw_only=True)

    @property
    def standing(self) -> list[Row]:
        """The rows that break no rule of the results page."""
        return [row for row in self.rows if not row.broken]

    @property
    def apart(self) -> list[Row]:
        """The rows that break one."""
        return [row for row in self.rows if row.broken]

    def ranked(self) -> "Comparison":
        """What statistics and figures are of: the rows that stand, or all where none does."""
        if not self.standing or not self.apart:
            return self
        labels = ", ".join(row.label for row in self.apart)
        note = f"Not in it, since they stand apart (docs/results.md): {labels}."
        return replace(self, rows=self.standing, notes=[*self.notes, note])

    @property
    def records(self) -> list[Record]:
        return [record for row in self.rows for record in row.records]

    @property
    def timm(self) -> str:
        """The backbone's name in timm, with its tag."""
        return str(self.records[0]["config"]["backbone"]["timm"])

    @property
    def weights(self) -> str:
        """Where the backbone's weights came from."""
        return str(self.records[0]["weights"]["source"])

    def header(self, dataset: str) -> str:
        """The dataset's title, with a star where it is not official."""
        return self.titles.dataset(dataset) + ("*" if dataset in self.unofficial else "")

    @property
    def codes(self) -> dict[str, str]:
        """What tables call rows and datasets -> what the command line and CSV files do."""
        stars = {name: name + "*" * (name in self.unofficial) for name in self.datasets}
        return {self.header(name): code for name, code in stars.items()} | {row.label: row.code for row in self.rows}


def build_comparisons(
    records: Sequence[Record],
    proofs: Proofs | None = None,
    kept: Kept | None = None,
    titles: Titles = BUILT_IN,
) -> list[Comparison]:
    """The rows of every setting, VTAB-1k first, each with a title of its own.

    proofs: of the rules of the results page; without them, no row is held to these. kept: the predictions of the
    records. titles: what methods, backbones and datasets are called.
    """
    by_setting: dict[Setting, list[Record]] = defaultdict(list)
    for record in records:
        by_setting[setting_of(record)].append(record)
    settings = {
        replace(setting, images=number): some
        for setting, members in by_setting.items()
        for number, some in enumerate(by_images(members))
        if some
    }
    suites = list(SUITES)
    ordered = sorted(
        settings, key=lambda s: (suites.index(s.suite), not s.official, replace(s, subset=""), count_of(s.subset))
    )
    comparisons = _with_smaller(
        _titled([_comparison(setting, settings[setting], proofs, titles) for setting in ordered])
    )
    return [replace(one, kept=kept) for one in comparisons] if kept else comparisons


def _comparison(setting: Setting, records: list[Record], proofs: Proofs | None, titles: Titles) -> Comparison:
    present = {record["dataset"] for record in records}
    layout = _layout(setting, present)
    suite = BENCHMARKS.get(layout) or SUITES[setting.suite]
    suite += f", {setting.subset}" if setting.subset else ""
    rows, notes = build_rows(records, titles)
    name, comma, more = setting.backbone.partition(", ")
    if proofs:
        rows = [replace(row, broken=broken_rules(row, proofs)) for row in rows]
    notes += code_notes(rows)
    return Comparison(
        title=f"{suite}: {titles.backbone(name)}{comma}{more}, protocol {setting.protocol}, {setting.img_size} px, "
        f"{counted(setting.epochs, 'epoch')}",
        caption=caption_of(setting, rows),
        datasets=in_order(present | {name for name, task in TASKS.items() if task.suite == layout}),
        unofficial=set() if setting.official else present,
        rows=rows,
        notes=[*notes_on(setting, records, titles), *notes],
        setting=setting,
        layout=layout,
        titles=titles,
    )


def _layout(setting: Setting, present: set[str]) -> Layout:
    """The field's layout, with all of its columns, for official data and for most of the 19 tasks; a few packs get a
    column each."""
    whole = sum(task.suite == "vtab1k" for task in TASKS.values())
    if setting.suite == "vtab1k" and (setting.official or 2 * len(present) > whole):
        return "vtab1k"
    others: dict[str, Layout] = {"manyshot": "manyshot", "fgvc": "fgvc", "domainshift": "domainshift"}
    return others.get(setting.suite, "plain")


def _with_smaller(comparisons: list[Comparison]) -> list[Comparison]:
    """The same; those of all training images have those of a part of them."""
    parts: dict[Setting, list[Comparison]] = defaultdict(list)
    for one in comparisons:
        if one.setting.subset:
            parts[replace(one.setting, subset="", images=0)].append(one)
    return [
        one if one.setting.subset else replace(one, smaller=parts[replace(one.setting, images=0)])
        for one in comparisons
    ]


def _titled(comparisons: list[Comparison]) -> list[Comparison]:
    """The same; to titles that are not unique, what differs is added."""
    same: dict[str, list[Setting]] = defaultdict(list)
    for one in comparisons:
        same[one.title].append(one.setting)
    titled = []
    for one in comparisons:
        differing = [n for n in _ADDED_TO_TITLES if len({getattr(setting, n) for setting in same[one.title]}) > 1]
        title = ", ".join([one.title, *(_part(one.setting, name) for name in differing)])
        titled.append(replace(one, title=title))
    return titled


def _part(setting: Setting, name: str) -> str:
    values: dict[str, str] = {
        "mean": f"mean {triple(setting.mean)}",
        "std": f"std {triple(setting.std)}",
        "sha256": f"weights {setting.sha256[:12]}",
        "source": f"images from {setting.source}",
        "official": "official images" if setting.official else "not the official images",
        "images": f"other images {setting.images}" if setting.images else "first images",
    }
    return values.get(name) or str(getattr(setting, name))
