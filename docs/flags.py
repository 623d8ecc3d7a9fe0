"""Writes docs/flags.md, the table of all training settings, from the fields of TrainConfig: `python docs/flags.py`."""

import dataclasses
import re
from pathlib import Path

from kgan import config, settings

PAGE = Path(__file__).with_suffix(".md")


def page() -> str:
    """The page as it should be; tests/test_docs.py compares it with the file."""
    lines = [
        "# Training settings",
        "",
        "`kgan train --NAME=VALUE`, a line of a flagfile, or `kgan.train(NAME=VALUE)`. This page is made from",
        "`kgan/config.py` by `make docs`.",
        "",
    ]
    for title, fields in _groups().items():
        lines += [f"## {title}", "", "| setting | type | default | what it does |", "|---|---|---|---|"]
        lines += [_row(field) for field in fields]
        lines.append("")
    return "\n".join(lines)


def _groups() -> dict[str, list[dataclasses.Field]]:
    """The fields under the comment lines that head them in the source."""
    source = Path(config.__file__).read_text("utf-8")
    body = source[source.index("class TrainConfig") : source.index("def __post_init__")]
    fields = {field.name: field for field in dataclasses.fields(config.TrainConfig)}
    groups: dict[str, list[dataclasses.Field]] = {}
    for title, name in re.findall(r"^    # (.+)$|^    (\w+): ", body, re.MULTILINE):
        if title:
            groups[title.capitalize()] = []
        else:
            groups[list(groups)[-1]].append(fields[name])
    return groups


def _row(field: dataclasses.Field) -> str:
    legal = field.metadata
    kind = ", ".join(f"`{choice}`" for choice in legal["choices"]) if legal["choices"] else _kind(field)
    value = str(field.default).lower() if field.type is bool else field.default
    default = "" if value is None else f"`{value}`"
    return f"| `{field.name}` | {kind} | {default} | {legal['help'].replace('|', chr(92) + '|')} |"


def _kind(field: dataclasses.Field) -> str:
    signs = {"lower": "≥", "above": ">", "upper": "≤", "below": "<"}
    bounds = [f"{sign} {field.metadata[name]}" for name, sign in signs.items() if field.metadata[name] is not None]
    return " ".join([settings.value_type(field).__name__, *bounds])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
