"""Is a marked PNG consistent with itself? The half of `kgan.verify` that needs no run.

A consistent file has its marks, their two copies agree, the pixels hash to what the marks say, and z is the draw of its
seed and index. That proves nothing about who made it: marks can be forged, by anyone who computes them anew.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from kgan.errors import UserError
from kgan.latents import latents
from kgan.provenance import png as png_files
from kgan.provenance.c2pa import Signature
from kgan.provenance.marks import (
    COMPOSITE,
    GENERATED,
    Marks,
    pixels_sha256,
    read_implicit_label,
    read_marks,
    xmp_fields,
)
from kgan.provenance.png import TEXT_CHUNKS, BadMetadata, Png
from kgan.provenance.xmp import named
from kgan.text import one_line

# Other chunks change how a picture looks with the same pixels (transparency, colour spaces, orientation, a second
# frame). caBX holds a C2PA manifest.
HARMLESS_CHUNKS = {"IHDR", "IDAT", "IEND", "iTXt", "tEXt", "zTXt", "tIME", "caBX"}


class Verdict(StrEnum):
    """What can be said of a file. `check` alone never says more than that it is consistent with itself."""

    VERIFIED = "verified"  # a run makes the very same pixels from its latent
    CONSISTENT = "consistent"
    CLOSE = "close"  # as near to what a run makes as rounding on another machine would be
    INCONSISTENT = "not what it claims"
    CANNOT_TELL = "cannot tell"

    @property
    def exit_code(self) -> int:
        """`kgan verify`'s: 0 verified (or, without a run, consistent), 1 not what it claims, 2 the others."""
        return {Verdict.VERIFIED: 0, Verdict.CONSISTENT: 0, Verdict.INCONSISTENT: 1}.get(self, 2)


@dataclass(frozen=True)
class CheckResult:
    """The verdict on a file and its reasons; marks, source type and pixels (h, w, c) uint8 where they can be read.

    Of an .npz the pixels are (n, h, w, c), and it has labels (n,); of a GIF there is the `content` of the file, and no
    pixels. `note` stands beside the verdict, whatever that is.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    marks: Marks | None = None
    source_type: str | None = None
    image: np.ndarray | None = None
    note: str = ""
    labels: np.ndarray | None = None
    content: bytes | None = None


def check(path: str | os.PathLike, signature: Callable[[png_files.Png], Signature | None] | None = None) -> CheckResult:
    """Checks one file; never raises for what the file holds. `signature` reads its C2PA signature."""
    try:
        png = png_files.read(path)
        result = check_png(png, one_line(path))
    except UserError as error:
        return CheckResult(Verdict.CANNOT_TELL, (one_line(error, 400),))
    if not signature or not (signed := signature(png)):
        return result
    verdict = Verdict.INCONSISTENT if signed.faults else result.verdict
    return replace(result, verdict=verdict, reasons=result.reasons + signed.faults, note=signed.words)


def check_png(png: Png, name: str) -> CheckResult:
    """Checks a PNG that has been read. Raises UserError if its pixels turn out to be damaged."""
    try:
        marks, xmp = read_marks(png)
    except BadMetadata as error:
        return CheckResult(Verdict.INCONSISTENT, (str(error),))
    if marks is None:
        return CheckResult(Verdict.INCONSISTENT, ("it has no kgan marks",))
    reasons = [*_foreign_chunks(png), *_orientations(png, xmp), *_disagreements(marks, xmp), *_wrong_latent(marks)]
    image = None
    if png_files.plain_layout(png):
        image = png_files.pixels(png, name)
        if pixels_sha256(image) != marks.pixels_sha256:
            reasons.append("the pixels are not the ones that were marked")
    else:
        reasons.append("the pixels are stored in a form that kgan does not write")
    verdict = Verdict.INCONSISTENT if reasons else Verdict.CONSISTENT
    source_type = xmp.get(named("Iptc4xmpExt:DigitalSourceType")) if xmp else None
    return CheckResult(verdict, tuple(reasons), marks, source_type if isinstance(source_type, str) else None, image)


def _foreign_chunks(png: Png) -> list[str]:
    foreign = sorted(png.kinds - HARMLESS_CHUNKS)
    return [f"it has chunks that kgan does not write and that can change how it looks: {', '.join(foreign)}"] * bool(
        foreign
    )


def _orientations(png: Png, xmp: dict | None) -> list[str]:
    """Where, but for an eXIf chunk, which is foreign, viewers look for how to turn a picture, or for its colours."""
    texts = (bytes(chunk.data[:80]).partition(b"\0")[0] for chunk in png.chunks if chunk.kind in TEXT_CHUNKS)
    profiles = any(text.replace(b" ", b"").lower().startswith(b"rawprofiletype") for text in texts)
    turned = any(name.endswith("}Orientation") for name in xmp or ())
    return ["it has metadata that kgan does not write and that can turn or recolour it"] * (profiles or turned)


def _disagreements(marks: Marks, xmp: dict | None) -> list[str]:
    """Where the XMP differs from the one that these marks would be written with; other programs' properties are left
    alone."""
    if xmp is None:
        return ["its XMP is missing"]
    source_type = xmp.get(named("Iptc4xmpExt:DigitalSourceType"))
    if source_type not in (GENERATED, COMPOSITE):
        return ["its XMP does not say that the picture is AI-generated"]
    try:
        label = _label(xmp)
        expected = xmp_fields(marks, source_type, label.get("ContentProducer", ""))
    except UserError:  # BadMetadata is one
        return ["its TC260:AIGC label is not what kgan writes"]
    reasons = [
        f"its XMP and its kgan chunk disagree on {name}"
        for name, value in expected.items()
        if name != "TC260:AIGC" and xmp.get(named(name)) != value
    ]
    for name in ("Iptc4xmpExt:AISystemUsed", "Iptc4xmpExt:AISystemVersionUsed"):
        if name not in expected and named(name) in xmp:
            reasons.append(f"its XMP has {name}, its kgan chunk does not")
    first = read_implicit_label(expected["TC260:AIGC"]) if label else {}
    # whoever passes the picture on may put in their own name and code: ContentPropagator, PropagateID, ReservedCode2
    if any(label[key] != first[key] for key in ("Label", "ContentProducer", "ProduceID", "ReservedCode1") if label):
        reasons.append("its TC260:AIGC label and its kgan chunk disagree")
    return reasons


def _label(xmp: dict) -> dict[str, str]:
    """The implicit label; empty if there is none. Raises BadMetadata."""
    if named("TC260:AIGC") not in xmp:
        return {}
    text = xmp[named("TC260:AIGC")]
    label = read_implicit_label(text if isinstance(text, str) else "")
    if not label["ContentProducer"]:
        raise BadMetadata("TC260:AIGC names no producer")
    return label


def _wrong_latent(marks: Marks) -> list[str]:
    """Whether z differs from the draw, bit for bit. A recipe was checked on reading; it holds no numbers to compare."""
    if not isinstance(marks.z, str):
        return []
    assert marks.index is not None and marks.seed is not None  # a latent's marks have them
    z = marks.latent()
    try:
        drawn = latents(marks.seed, [marks.index], len(z), marks.truncation)[0]
    except UserError as error:
        return [str(error)]
    return [] if drawn.tobytes() == z.tobytes() else ["z is not the draw of its seed and index"]
