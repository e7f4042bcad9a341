"""What stands above and below a table: its caption, and notes on its images and on the code that made its records."""

from collections import Counter, defaultdict

from aoft_bench.records.schema import Record
from aoft_bench.results.rows import Row
from aoft_bench.results.setting import Setting, triple
from aoft_bench.results.titles import Titles
from aoft_bench.utils.text import counted


def caption_of(setting: Setting, rows: list[Row]) -> str:
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


def notes_on(setting: Setting, records: list[Record], titles: Titles) -> list[str]:
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


def code_notes(rows: list[Row]) -> list[str]:
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
