"""The page itself: facts of runs put into the templates, with everything that is not ours escaped."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import kgan
from kgan.config import flag_value
from kgan.reports.curves import curves, last_line, ratios
from kgan.reports.facts import Run
from kgan.reports.listing import RunSummary
from kgan.reports.overview import differing_settings, overview
from kgan.reports.scores import comparable, headline, score_rows
from kgan.text import one_line, rounded

_TEMPLATES = Path(__file__).parent / "templates"
_MAX_TEXT = 2000


def render(runs: Sequence[Run], listed: Sequence[RunSummary] = ()) -> str:
    """The HTML of a report of one or several runs; it needs no other file and reaches for none.

    `listed` are those of a folder, of which `runs` are shown in detail.
    """
    style, script = ((_TEMPLATES / name).read_text("utf-8") for name in ("style.css", "animation.js"))
    return _environment().get_template("page.html").render(
        runs=runs,
        overview=overview(listed) if listed else None,
        differing=differing_settings(runs),
        headlines=[headline(run) for run in runs],
        score_rows=score_rows(runs),
        comparable=comparable(runs),
        charts=curves(runs),
        same_reals=len(runs) > 1 and len({run.reals and run.reals.uri for run in runs}) == 1,
        steps=sorted({frame.step for run in runs for frame in run.frames}),
        version=kgan.__version__,
        style=Markup(style),
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
    )  # fmt: skip


def shown(value: object) -> str:
    """A fact as text for people."""
    if value is None or value == "" or value == {}:
        return "not recorded"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, dict):
        return "; ".join(f"{key}: {shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or "none"
    return str(value)


def percent(value: object) -> str:
    """A share as a percentage."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{rounded(100 * value)}%" if is_number else shown(value)  # type: ignore[operator]


def setting(value: object) -> str:
    """A setting as its flag would have it; None is what the help of the flag says."""
    return "unset" if value is None else flag_value(value)


def command(words: Iterable[str]) -> Markup:
    """A command that wraps between its words; one too long for a line wraps inside."""
    spans = (f"<span>{escape(one_line(word, _MAX_TEXT))}</span>" for word in words)
    return Markup(f"<code>{' '.join(spans)}</code>")


def key(name: object) -> Markup:
    """A name that may wrap after an underscore, and nowhere else inside a word."""
    return Markup(str(escape(one_line(name, _MAX_TEXT))).replace("_", "_<wbr>"))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else one_line(value, _MAX_TEXT),
    )
    environment.filters |= {
        "shown": shown,
        "setting": setting,
        "percent": percent,
        "command": command,
        "key": key,
        "numbers": lambda steps: Markup(" ".join(f"{step:d}" for step in steps)),  # all of them, however many
        "last_line": last_line,
        "ratios": ratios,
    }
    return environment


def _csp_hash(text: str) -> str:
    """What a content security policy names an inline style or script by, so that no other one can run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
