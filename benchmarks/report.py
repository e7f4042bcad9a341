"""The tables of a benchmark, as Markdown."""

from typing import Any

_UNITS = {
    "ratio": "× floor",
    "fastest_ratio": "× floor, fastest rounds",
    "milliseconds": "ms",
    "peak_bytes": "peak memory",
    "images_per_second": "images/s",
    "share_of_step": "share of a step",
    "tflops": "TFLOP/s",
    "times_as_fast": "times as fast",
}
_HIDDEN = ("spread", "graph")


def markdown(found: dict[str, Any]) -> str:
    """All sections of what `python -m benchmarks` measured."""
    machine, setting = found["hardware"], found["setting"]
    where = machine["gpu"] or f"{machine['cpu']}, {setting['threads']} threads"
    title = (
        f"{setting['network']}, {setting['size']} px, batch {setting['batch']}, {setting['precision']}; {where}; "
        f"torch {found['versions']['torch']}, peft {found['versions']['peft']}"
    )
    parts = [f"# Benchmark\n\n{title}."]
    for name, section in found["sections"].items():
        for kind, rows in section.items() if isinstance(section, dict) else [("", section)]:
            parts.append(f"## {name}{': ' + kind if kind else ''}\n\n{table(rows)}")
    return "\n\n".join(parts) + "\n"


def table(rows: Any) -> str:
    """Rows of one section; a dictionary is a table of its names and values."""
    if isinstance(rows, dict):
        rows = [{"what": name, "value": value} for name, value in rows.items()]
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name not in _HIDDEN]
    lines = [
        "| " + " | ".join(_UNITS.get(name, name.replace("_", " ")) for name in names) + " |",
        "|"
        + "|".join(" --- " if name in ("case", "what", "operation", "failed") else " ---: " for name in names)
        + "|",
    ]
    lines += ["| " + " | ".join(_cell(row, name) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _cell(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return "-"
    if name == "case":
        return f"{value}{', one graph' if row.get('graph') else ''}"
    if name == "fastest_ratio":
        return f"{value:.3f}"
    if name == "ratio":
        return f"{value:.3f} ± {row['spread']:.3f}"
    if name.endswith("bytes"):
        return f"{value / 1e6:,.0f} MB"
    if name in ("share", "share_of_step"):
        return f"{100 * value:.1f} %"
    if isinstance(value, float):
        return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")
