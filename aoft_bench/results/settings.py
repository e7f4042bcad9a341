"""Settings, and the records of each as rows that may be compared.

A setting is everything but the method that a number depends on: suite, protocol, backbone file, image size,
normalisation, interpolation, epochs, precision, and where the images come from. Records of different settings never
share a table, so they are never ranked together. Runs of one method that differ in options or recipe never share a
cell: they become rows of their own, labelled by what differs.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from aoft_bench.data.tasks import TASKS, find, in_order
from aoft_bench.records.schema import Record
from aoft_bench.results.image_sets import by_images, count_of, subset_of
from aoft_bench.results.kept import Kept
from aoft_bench.results.rows import Row, build_rows
from aoft_bench.results.rules import Proofs, broken_rules
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


@dataclass(frozen=True, order=True)
class Setting:
    """What records must share to be compared.

    source: `data.source` of the records; official: proven to be the official images and splits; images: 0, or the
    number of a further set of images of the same dataset, source and setting; subset: which part of the training
    images was drawn, in words, empty for all.
    """

    suite: str
    backbone: str
    img_size: int
    protocol: str
    split: str
    epochs: int
    precision: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str
    official: bool
    source: str
    images: int = 0
    subset: str = field(default="", repr=False)  # newer than the anchors of the page, which are made of the others

    def as_columns(self) -> dict[str, str]:
        """By name, for the columns of CSV files."""
        return {
            "suite": ", ".join(part for part in (self.suite, self.subset) if part),
            "backbone": self.backbone,
            "weights": self.sha256[:12],
            "protocol": self.protocol,
            "split": self.split,
            "epochs": str(self.epochs),
            "img_size": str(self.img_size),
            "interpolation": self.interpolation,
            "normalization": f"{triple(self.mean)}, {triple(self.std)}",
            "precision": self.precision,
            "images": self.source,
            "official": str(self.official).lower(),
        }


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
        by_setting[_setting_of(record)].append(record)
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


def _setting_of(record: Record) -> Setting:
    config, data = record["config"], record["data"]
    return Setting(
        suite=find(record["dataset"]).suite,
        backbone=_backbone_of(record),
        img_size=config["backbone"]["img_size"],
        protocol=record["protocol"]["name"],
        split=record["metrics"]["split"],
        epochs=config["recipe"]["epochs"],
        precision=record["precision"],
        interpolation=config["data"]["interpolation"],
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        sha256=record["weights"]["sha256"],
        official=data["official"],
        source=data["source"],
        subset=subset_of(data.get("drawn") or {}),
    )


def _backbone_of(record: Record) -> str:
    """The backbone's name, with what was done to its position embeddings if that was not the default."""
    resize = record["config"]["backbone"].get("pos_embed_resize")
    return f"{record['backbone']}, position embeddings by {resize}" if resize else str(record["backbone"])


def _comparison(setting: Setting, records: list[Record], proofs: Proofs | None, titles: Titles) -> Comparison:
    present = {record["dataset"] for record in records}
    layout = _layout(setting, present)
    suite = BENCHMARKS.get(layout) or SUITES[setting.suite]
    suite += f", {setting.subset}" if setting.subset else ""
    rows, notes = build_rows(records, titles)
    name, comma, more = setting.backbone.partition(", ")
    if proofs:
        rows = [replace(row, broken=broken_rules(row, proofs)) for row in rows]
    notes += _code_notes(rows)
    return Comparison(
        title=f"{suite}: {titles.backbone(name)}{comma}{more}, protocol {setting.protocol}, {setting.img_size} px, "
        f"{counted(setting.epochs, 'epoch')}",
        caption=_caption(setting, rows),
        datasets=in_order(present | {name for name, task in TASKS.items() if task.suite == layout}),
        unofficial=set() if setting.official else present,
        rows=rows,
        notes=[*_notes(setting, records, titles), *notes],
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


def _caption(setting: Setting, rows: list[Row]) -> str:
    return (
        f"Top-1 in % on {setting.split}, last epoch, {_over_seeds(rows)}; {counted(setting.epochs, 'epoch')}, "
        f"{setting.img_size} px {setting.interpolation}, mean {triple(setting.mean)}, std {triple(setting.std)}, "
        f"{setting.precision}; images: {setting.source}, "
        f"{'official' if setting.official else 'not official'}"
    )


def _over_seeds(rows: list[Row]) -> str:
    """Over which seeds the numbers of a table are."""
    seeds = {tuple(row.seeds(name)) for row in rows for name in row.cells}
    if len(seeds) == 1:
        (only,) = seeds
        return (
            f"seed {only[0]}" if len(only) == 1 else f"mean ± standard deviation over seeds {', '.join(map(str, only))}"
        )
    counts = sorted({len(some) for some in seeds})
    few = f"{counts[0]} to {counts[-1]} of the" if len(counts) > 1 else f"{counts[0]} of the"
    every = ", ".join(map(str, sorted({seed for some in seeds for seed in some})))
    return f"mean ± standard deviation over {few} seeds {every}, not the same in every cell"


def _notes(setting: Setting, records: list[Record], titles: Titles) -> list[str]:
    notes = []
    if not setting.official:
        why = _why_unofficial(records, titles)
        notes.append(f"* not the official images or splits ({why}): not comparable with published rows.")
    if setting.suite == "domainshift":
        notes.append("On ImageNet-A and -R a model chooses among their own 200 classes, as their authors do.")
    if setting.images:
        digits = {f"{record['dataset']} {record['data']['fingerprint'][:8]}" for record in records}
        notes.append(f"Other images than those of the table before it (fingerprints: {', '.join(sorted(digits))}).")
    copies = {
        f"{titles.dataset(record['dataset'])} {found:,} of {record['metrics']['total']:,}"
        for record in records
        if (found := record["data"].get("copies"))
    }
    if copies:
        counts = ", ".join(sorted(copies))
        notes.append(f"Images of {setting.split} that are training images too, pixel for pixel: {counts}.")
    if any(record["metrics"].get("best_test_epoch_top1") is not None for record in records):
        notes.append("[best test epoch] is chosen on the test split, as many papers do; it is not the result.")
    if setting.split != "test":
        notes.append(f"Scored on {setting.split}, for choosing hyper-parameters: these are not results.")
    return [*notes, f"Weights: {setting.backbone}, SHA-256 {setting.sha256[:12]}."]


def _why_unofficial(records: list[Record], titles: Titles) -> str:
    """What is not official of which datasets: first what is said of all, then what is said of some."""
    saying: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for part in record["data"]["official_note"].split("; "):
            saying[part].add(titles.dataset(record["dataset"]))
    together: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for part, datasets in saying.items():
        together[tuple(sorted(datasets))].append(part)
    every = tuple(sorted({titles.dataset(record["dataset"]) for record in records}))
    ordered = sorted(together.items(), key=lambda item: (item[0] != every, item[0]))
    return "; ".join(
        ", ".join(parts) if datasets == every else f"{', '.join(datasets)}: {', '.join(parts)}"
        for datasets, parts in ordered
    )


def _code_notes(rows: list[Row]) -> list[str]:
    """A note where the records of a table were made by several versions of the code, and which rows mix them."""
    records = [record for row in rows for record in row.records]
    # of older records only the commit is known; records that have both tell which digest of the code it is
    digests = {_commit(record): record["code"][:8] for record in records if record.get("code")}
    versions = [[_version(record, digests) for record in row.records] for row in rows]
    counts = Counter(version for some in versions for version in some)
    if len(counts) < 2:
        return []
    listed = ", ".join(f"{version} ({number:,})" for version, number in counts.most_common())
    mixed = [row.label for row, some in zip(rows, versions, strict=True) if len(set(some)) > 1]
    where = f"rows of several: {', '.join(mixed)}" if mixed else "each row is of one"
    return [f"The records were made by {len(counts)} versions of the code, {listed}; {where}."]


def _version(record: Record, digests: dict[str, str]) -> str:
    """The version of a record's code: its digest, or the commit where the digest is not known."""
    commit = _commit(record)
    return record["code"][:8] if record.get("code") else digests.get(commit, commit)


def _commit(record: Record) -> str:
    """The commit of a record's code, and whether files were changed since."""
    git = record.get("git") or {}
    if not git.get("commit"):
        return "unknown"
    return f"{git['commit'][:8]}{'' if git.get('dirty') is False else ' with changes'}"


def triple(values: Sequence[float]) -> str:
    """Three channel values, one where they are equal."""
    return "/".join(dict.fromkeys(f"{value:g}" for value in values))
