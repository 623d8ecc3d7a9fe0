"""Text to show: untrusted text made safe, in one line of an error or in Markdown; numbers and tables as text."""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

_MAX_PROSE = 2000  # characters
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~&$:@/=^\"'])")


def one_line(text: object, limit: int = 200) -> str:
    """The text without control, formatting (bidi), surrogate or unassigned characters, on one line, at most `limit`
    long; every space is a plain one."""
    kept = "".join(
        char if char.isprintable() else " " if unicodedata.category(char) == "Zs" else "\N{REPLACEMENT CHARACTER}"
        for char in str(text)[: limit + 1]
    )
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def markdown(text: object) -> str:
    """The text as CommonMark prose that shows it literally: no markup, no HTML, no link, one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(one_line(text, _MAX_PROSE).split()))


def rounded(value: float) -> str:
    """A measured number to three significant digits, with thousands separators: 0.700, 4.25, 12,300, 1.20e-5."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    value = float(f"{value:.2e}")
    if abs(value) >= 1e9 or abs(value) < 1e-4:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{digits}e{int(exponent)}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows of words below a header, in columns that are as wide as their longest entry."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
