"""The marks of a generated image: what they say, how they are written into a PNG, and how they are read back.

A marked PNG carries two iTXt chunks. `XML:com.adobe.xmp` is for everyone: XMP with the IPTC digital source type and,
where asked for, China's implicit label. `kgan` is for `kgan verify`: JSON that names run, checkpoint and latent.

Both stand before the pixel data, where Pillow's `PngInfo.add_itxt` puts them. Making the marks is the last step of
making the file, but a reader that stops at the pixels (Pillow until `load`) must see them too, and exiftool warns of
text after IDAT. They are not compressed: XMP in PNG must not be (XMP part 3, 1.1.5).

Marks are a label, not a seal: whoever can write a file can write its marks. Metadata alone satisfies no law.
"""

import base64
import hashlib
import json
import re
import uuid
from dataclasses import asdict, dataclass, field, fields

import numpy as np
from PIL.PngImagePlugin import PngInfo

from kgan.errors import UserError
from kgan.latents import MIN_TRUNCATION, check_recipe
from kgan.provenance.png import BadMetadata, Png, text_of
from kgan.provenance.xmp import packet, properties

XMP_KEYWORD = "XML:com.adobe.xmp"
KGAN_KEYWORD = "kgan"
# where ImageMagick and older tools keep XMP: readers that look there would see another packet
_XMP_ALIASES = ("Raw profile type xmp", "Raw profile type APP1")

# IPTC NewsCodes, digital source type: made by a model alone; or with parts that a model made
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
COMPOSITE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHORT_ASCII = re.compile(r"[ -~]{0,200}")
# of China's implicit label, in the order in which they are written
_LABEL_KEYS = (
    *("Label", "ContentProducer", "ProduceID", "ReservedCode1"),
    *("ContentPropagator", "PropagateID", "ReservedCode2"),
)


@dataclass(frozen=True)
class Origin:
    """What all images of one checkpoint have in common. `versions` has at least "kgan"; an unknown licence is "".

    `ancestors` are the runs that the weights came from by way of --init_from, the nearest first, each with its run_id,
    checkpoint_sha256, data_sha256 and data_license.
    """

    run_id: str
    checkpoint_sha256: str
    data_sha256: str
    data_license: str
    ema: bool
    versions: dict[str, str]
    ancestors: list[dict[str, str]] = field(default_factory=list, kw_only=True)


@dataclass(frozen=True)
class Marks(Origin):
    """The content of the `kgan` chunk.

    z is the base64 of a little-endian float32 latent, draw number `index` of the seed; or a recipe (`kgan.latents`)
    where `index` names no single draw; or None for a picture that no latent of this kind made (an audit's pairs). For
    a picture of a generator that is not kgan's, or a mixed one, run id and hashes may be "". A grid may list its
    labels.

    Raises ValueError when a value is not of its kind, and UserError for a recipe that is malformed: nothing that looks
    like a path or a stranger's text gets in.
    """

    seed: int | None
    index: int | None
    label: int | list[int] | None
    truncation: float | None
    z: str | dict | None
    pixels_sha256: str

    def __post_init__(self):
        wrong = [item.name for item in fields(self) if not _CHECKS[item.name](getattr(self, item.name))]
        if self.index is not None and not wrong:
            unnamed = [name for name in ("run_id", "checkpoint_sha256", "data_sha256") if not getattr(self, name)]
            wrong = unnamed + [name for name in ("seed", "z") if getattr(self, name) is None]
        if isinstance(self.z, dict) and self.seed is None:
            wrong.append("seed")
        if isinstance(self.z, str if self.index is None else dict):
            wrong.append("index")
        if wrong:
            raise ValueError(f"bad value of {', '.join(wrong)}")

    def to_dict(self) -> dict:
        """Plain JSON values. Without ancestors there is no such key, as in images from before there were any."""
        content = asdict(self)
        if not self.ancestors:
            del content["ancestors"]
        return content

    def to_json(self) -> str:
        """One line of ASCII JSON with sorted keys: the same marks are always the same bytes."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Marks":
        """Reads what `to_json` wrote. Raises BadMetadata for anything else, even if it means the same."""
        try:
            content = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
            marks = cls(**content)
        except (ValueError, TypeError, RecursionError, UserError) as error:
            reason = str(error) if isinstance(error, ValueError) and "bad value" in str(error) else "malformed"
            raise BadMetadata(f"the kgan chunk is not what kgan writes ({reason})") from None
        if marks.to_json() != text:
            raise BadMetadata("the kgan chunk is not what kgan writes (rewritten)")
        return marks

    def latent(self) -> np.ndarray:
        """The latent itself, (latent_dim,) float32, when z is not a recipe."""
        assert isinstance(self.z, str)
        return np.frombuffer(base64.b64decode(self.z), "<f4").astype(np.float32)


def describe(
    origin: Origin,
    image: np.ndarray,
    *,
    seed: int | None = None,
    index: int | None = None,
    label: int | list[int] | None = None,
    truncation: float | None = None,
    z: np.ndarray | dict | None = None,
) -> Marks:
    """The marks of one uint8 image (or of the (n, h, w, c) frames of a GIF), for `pnginfo` or `sidecar`."""
    return Marks(
        **asdict(origin),
        seed=None if seed is None else int(seed),
        index=None if index is None else int(index),
        label=np.asarray(label).tolist() if label is not None else None,
        truncation=None if truncation is None else float(truncation),
        z=z if z is None or isinstance(z, dict) else encode_latent(z),
        pixels_sha256=pixels_sha256(image),
    )


def encode_latent(z: np.ndarray) -> str:
    """The base64 of a (latent_dim,) latent's little-endian float32 bytes."""
    if z.ndim != 1 or z.dtype != np.float32:
        raise ValueError(f"z must be one float32 vector, not {z.dtype} of shape {z.shape}")
    return base64.b64encode(z.astype("<f4").tobytes()).decode("ascii")


def pixels_sha256(image: np.ndarray) -> str:
    """sha256 over the shape, as "28x28x1" and a newline, and the bytes of a uint8 array in row-major order."""
    if image.dtype != np.uint8:
        raise ValueError(f"pixels must be uint8, not {image.dtype}")
    digest = pixels_digest(image.shape)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def pixels_digest(shape: tuple[int, ...]) -> "hashlib._Hash":
    """What `pixels_sha256` begins with: the sha256 over the shape, which the pixels, in any pieces, are to follow."""
    return hashlib.sha256("x".join(map(str, shape)).encode("ascii") + b"\n")


def pnginfo(marks: Marks, source_type: str = GENERATED, producer: str = "") -> PngInfo:
    """The marks as Pillow wants them, for `kgan.images.write_png`. `producer` adds China's implicit label.

    Raises UserError if the producer's name cannot stand in the label.
    """
    info = PngInfo()
    info.add_itxt(XMP_KEYWORD, packet(xmp_fields(marks, source_type, producer)))
    info.add_itxt(KGAN_KEYWORD, marks.to_json())
    return info


def sidecar(marks: Marks, file_name: str, content: bytes, source_type: str = GENERATED, producer: str = "") -> str:
    """JSON to be written beside a file that holds no marks of its own (a GIF), whose bytes are `content`.

    `file_sha256` is of those bytes; the pixel hash in the marks is of the frames before GIF's palette.
    """
    record = {
        "file": file_name,
        "file_sha256": hashlib.sha256(content).hexdigest(),
        "xmp": xmp_fields(marks, source_type, producer),
        "kgan": marks.to_dict(),
    }
    return json.dumps(record, indent=1) + "\n"


def xmp_fields(marks: Marks, source_type: str = GENERATED, producer: str = "") -> dict[str, str]:
    """The XMP properties that say what these marks say, by prefixed name."""
    if source_type not in (GENERATED, COMPOSITE):
        raise ValueError(f"unknown digital source type {source_type!r}")
    found = {"Iptc4xmpExt:DigitalSourceType": source_type}
    if marks.run_id:
        found["Iptc4xmpExt:AISystemUsed"] = f"kgan {marks.run_id}"
    if marks.checkpoint_sha256:
        found["Iptc4xmpExt:AISystemVersionUsed"] = marks.checkpoint_sha256
    if producer:
        found["TC260:AIGC"] = implicit_label(marks, producer)
    found["xmp:CreatorTool"] = f"kgan {marks.versions['kgan']}"
    # names this version of the file (ISO 16684-1, 8.6) by a digest: losing a field or changing the source type shows
    found["xmpMM:InstanceID"] = f"xmp.iid:{_digest_uuid('instance', source_type, producer, marks.to_json())}"
    return found


def implicit_label(marks: Marks, producer: str) -> str:
    """The implicit label of GB 45438-2025, Annex E, as first written by the producer: ASCII JSON without spaces."""
    if not producer.isprintable() or not 0 < len(producer.strip()) == len(producer) <= 200:
        raise UserError("--producer must be 1 to 200 printable characters, without spaces at its ends")
    produce_id = _digest_uuid("produce", producer, marks.to_json())
    label = dict(zip(_LABEL_KEYS, ("1", producer, produce_id, "", producer, produce_id, ""), strict=True))
    # a space inside a name is written as its escape, so that the text has none
    return json.dumps(label, separators=(",", ":")).replace(" ", "\\u0020")


def read_implicit_label(text: str) -> dict[str, str]:
    """The seven strings of an implicit label. Raises BadMetadata."""
    try:
        label = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except (ValueError, RecursionError):
        label = None
    is_label = isinstance(label, dict) and set(label) == set(_LABEL_KEYS)
    if not is_label or not all(isinstance(value, str) for value in label.values()):
        raise BadMetadata("TC260:AIGC is not the JSON of seven strings that GB 45438-2025 describes")
    if not text.isascii() or " " in text:
        raise BadMetadata("TC260:AIGC is not ASCII without spaces")
    return label


def read_marks(png: Png) -> tuple[Marks | None, dict[str, str | tuple[str, ...]] | None]:
    """The kgan marks and the XMP properties of a PNG, None where there are none. Raises BadMetadata."""
    text = text_of(png, KGAN_KEYWORD)
    xmp = text_of(png, XMP_KEYWORD, aliases=_XMP_ALIASES)
    return None if text is None else Marks.from_json(text), None if xmp is None else properties(xmp)


def read_record(record: dict) -> tuple[Marks, str]:
    """The marks in the JSON of a file that is no PNG, and the content producer's name in its implicit label, "" without
    one. Raises an exception of any kind for a record that is not what kgan writes."""
    xmp = record["xmp"]
    label = read_implicit_label(xmp["TC260:AIGC"]) if "TC260:AIGC" in xmp else {}
    return Marks(**record["kgan"]), label.get("ContentProducer", "")


def _digest_uuid(*parts: str) -> str:
    """A UUID of version 8 from sha256 (RFC 9562, 5.8): the same parts always give the same name."""
    joined = json.dumps(parts).encode("ascii")
    number = int.from_bytes(hashlib.sha256(joined).digest()[:16], "big")
    number = number & ~(0xF << 76) | 8 << 76  # the version
    number = number & ~(0x3 << 62) | 2 << 62  # the variant
    return str(uuid.UUID(int=number))


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key is given twice")
    return content


def _no_constants(name: str):
    raise ValueError(f"{name} is no JSON")


def _is_hash(value) -> bool:
    return isinstance(value, str) and (value == "" or bool(_SHA256.fullmatch(value)))


def _is_short_ascii(value) -> bool:
    return isinstance(value, str) and bool(_SHORT_ASCII.fullmatch(value))


def _is_whole(value) -> bool:
    return type(value) is int and 0 <= value < 2**64


def _is_latent(value) -> bool:
    if value is None:
        return True
    if isinstance(value, dict):
        check_recipe(value)
        return True
    try:
        content = base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        return False
    canonical = base64.b64encode(content).decode("ascii") == value  # unused bits of the last letter are zero
    return canonical and len(content) > 0 and len(content) % 4 == 0


def _are_ancestors(value) -> bool:
    return isinstance(value, list) and all(
        isinstance(ancestor, dict)
        and set(ancestor) == {"run_id", "checkpoint_sha256", "data_sha256", "data_license"}
        and all(_CHECKS[key](text) for key, text in ancestor.items())
        and bool(ancestor["run_id"] and ancestor["checkpoint_sha256"])
        for ancestor in value
    )


def _are_versions(value) -> bool:
    return (
        isinstance(value, dict)
        and 1 <= len(value) <= 32
        and all(_is_short_ascii(text) for pair in value.items() for text in pair)
        and bool(value.get("kgan"))
    )


_CHECKS = {
    "run_id": lambda value: isinstance(value, str) and (value == "" or bool(_RUN_ID.fullmatch(value))),
    "checkpoint_sha256": _is_hash,
    "data_sha256": _is_hash,
    "data_license": _is_short_ascii,
    "ema": lambda value: type(value) is bool,
    "versions": _are_versions,
    "ancestors": _are_ancestors,
    "seed": lambda value: value is None or _is_whole(value),
    "index": lambda value: value is None or _is_whole(value),
    "label": lambda value: (
        value is None or _is_whole(value) or (isinstance(value, list) and all(_is_whole(item) for item in value))
    ),
    "truncation": lambda value: value is None or (type(value) is float and MIN_TRUNCATION <= value < float("inf")),
    "z": _is_latent,
    "pixels_sha256": lambda value: isinstance(value, str) and bool(_SHA256.fullmatch(value)),
}
