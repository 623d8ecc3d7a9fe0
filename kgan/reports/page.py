"""The page itself: facts of runs put into the templates, with everything that is not ours escaped."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import kgan
from kgan.reports.facts import Run
from kgan.text import one_line
from kgan.training.plan import RESOLVED

_TEMPLATES = Path(__file__).parent / "templates"
_MAX_TEXT = 2000


def render(runs: Sequence[Run]) -> str:
    """The HTML of a report of one or several runs; it needs no other file and reaches for none."""
    style, script = ((_TEMPLATES / name).read_text("utf-8") for name in ("style.css", "animation.js"))
    return _environment().get_template("page.html").render(
        runs=runs,
        differing=differing_settings(runs),
        score_titles=list(dict.fromkeys(score.title for run in runs for score in run.scores)),
        version=kgan.__version__,
        style=Markup(style),
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
    )  # fmt: skip


def differing_settings(runs: Sequence[Run]) -> dict[str, list]:
    """The settings that are not the same in all runs, less those that only the data decided: name -> their values."""
    decided = [name for name in RESOLVED if not any(name in run.changed for run in runs)]
    values = {name: [run.settings.get(name) for run in runs] for name in runs[0].settings if name not in decided}
    return {name: found for name, found in values.items() if any(value != found[0] for value in found)}


def shown(value: object) -> str:
    """A fact as text for people."""
    if value is None or value == "" or value == {}:
        return "not recorded"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "; ".join(f"{key}: {shown(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value)) or "none"
    return str(value)


def percent(value: object) -> str:
    """A share as a percentage."""
    return f"{100 * value:.3g}%" if isinstance(value, int | float) else shown(value)


def setting(value: object) -> str:
    """A setting as its flag would have it; None is what the help of the flag says."""
    return "unset" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else one_line(value, _MAX_TEXT),
    )
    environment.filters |= {"shown": shown, "setting": setting, "percent": percent}
    return environment


def _csp_hash(text: str) -> str:
    """What a content security policy names an inline style or script by, so that no other one can run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"
