"""Pixels against those that a latent gives here: what equal, nearly equal and other pixels can mean."""

from collections.abc import Mapping

import numpy as np

from kgan import images
from kgan.provenance.check import Verdict
from kgan.provenance.marks import Marks, pixels_sha256
from kgan.runs import environment
from kgan.sampling.claims import Judgement

SAME = "same pixels"
_PIXEL_DECIDING = ("device", "tensorflow", "keras", "numpy", "kgan")
MAX_ROUNDED_SHARE, MAX_ROUNDED_FEW = 0.001, 3
"""Rounding elsewhere may move this share of an image's values by one level, and three more.

Measured on 500 images each of five networks (mlp and dcgan at 28x28, dcgan and sndcgan at 32x32, dcgan at 64x64; three
of them trained in bfloat16; all sample in float32) against the same images drawn with 1 and 8 threads, without oneDNN,
with oneDNN kept to SSE4.1 and to AVX2, and compiled by XLA: no value moved by more than one level, the largest share of
all values was 0.000018, and the most in one image 3. The bound leaves room for processors and GPUs not measured; a bit
hidden in every value would change half of them.
"""
_MAX_PALETTE_DIFFERENCE = 0.25
"""Levels, on average: far more than a difference of rounding gives in a GIF's colours.

No more can be said of them: where one value in 50,000 of CIFAR-10 images moved by a level, the palette moved values of
the GIF by up to 17, and where one in 1,000 did, by up to 35 (24 frames, 6 draws each).
"""


def elsewhere(versions: Mapping[str, str], record: Mapping) -> str:
    """The device and versions that marks name where they are not those here, in words; "" if all are the same.

    Marks that name no device have the one of run.json, if that does. A GPU picks its kernels by timing them, and so
    is never quite the same.
    """
    here = environment.versions() | {"device": environment.device()}
    device = record.get("device")
    claimed = {"device": device.get("processor") if isinstance(device, dict) else None, **versions}
    differing = [name for name in _PIXEL_DECIDING if claimed.get(name) != here[name]]
    if not differing and here["device"].startswith("GPU"):
        return "kernels that a GPU picks anew each time"
    return ", ".join(f"{name} {claimed.get(name) or 'not recorded'}" for name in differing)


def compare(regenerated: np.ndarray, image: np.ndarray, other: str) -> Judgement:
    """The verdict on uint8 pixels; `other` is what `elsewhere` says of their marks.

    Only equal pixels are verified. Rounding cannot explain a difference where device and versions are the same, nor
    one of more than a level. Up to MAX_ROUNDED_SHARE of the values and MAX_ROUNDED_FEW more, a bound that is above what
    was measured, nobody can tell it from as many hidden bits.
    """
    if regenerated.shape != image.shape:
        return Judgement(Verdict.INCONSISTENT, "its size is not the one that its latents make")
    difference = np.abs(regenerated.astype(np.int16) - image)
    count, size, largest = int(np.count_nonzero(difference)), difference.size, int(difference.max(initial=0))
    made = f" (made with {other})" if other else ""
    if not count:
        return Judgement(Verdict.VERIFIED, SAME)
    if largest > 1:
        words = f"its latent makes another image with this checkpoint, up to {largest} levels away{made}"
        return Judgement(Verdict.INCONSISTENT, words)
    differs = f"differs by at most one level in {count:,} of {size:,} pixel values"
    if not other:
        words = f"{differs} from what its latent makes on this device with these versions, as its marks name them"
        return Judgement(Verdict.INCONSISTENT, words)
    if count > MAX_ROUNDED_FEW + MAX_ROUNDED_SHARE * size:
        return Judgement(Verdict.INCONSISTENT, f"{differs}, which is more than rounding elsewhere gives{made}")
    hidden = "a hidden bit" if count == 1 else f"up to {count:,} hidden bits"
    words = f"{differs}: rounding elsewhere gives as much{made}, and so would {hidden}"
    return Judgement(Verdict.CLOSE, words)


def judge_animation(content: bytes, frames: np.ndarray, marks: Marks, record: Mapping) -> Judgement:
    """The verdict on a GIF's bytes, given the frames (n, h, w, c) uint8, without captions, that its latents make.

    It is verified as a whole, by being byte for byte the file that kgan writes of these frames, so that timing,
    transparency, comments and whatever follows the trailer are verified too. Pillow's encoder is free to change
    between versions; of a file that another one wrote only the decoded frames can be compared.
    """
    shown = images.read_gif(content, frames.shape[-1], 2 * frames.nbytes)
    if shown is None:
        return Judgement(Verdict.CANNOT_TELL, "the frames cannot be decoded")
    if frames.shape[1:3] != shown.shape[1:3]:
        frames = np.stack([images.captioned(frame) for frame in frames])
    expected = images.gif(frames)
    other = elsewhere(marks.versions, record)
    regenerated = images.read_gif(expected, frames.shape[-1], 2 * frames.nbytes)
    assert regenerated is not None
    judgement = compare(regenerated, shown, other)
    if judgement.verdict == Verdict.VERIFIED:
        return _judge_file(content == expected, pixels_sha256(frames) == marks.pixels_sha256, marks, other)
    if other and frames.shape[-1] == 3 and _mean_difference(regenerated, shown) <= _MAX_PALETTE_DIFFERENCE:
        words = f"nearly the same colours: a palette made elsewhere ({other}) cannot be compared exactly"
        return Judgement(Verdict.CANNOT_TELL, words)
    return judgement


def _judge_file(same_file: bool, same_frames: bool, marks: Marks, other: str) -> Judgement:
    """The verdict on a GIF whose decoded frames are the right ones."""
    if not same_frames and not other:
        words = "its frames are those that its latents make, but not the ones that were marked"
        return Judgement(Verdict.INCONSISTENT, words)
    if same_file and same_frames:
        return Judgement(Verdict.VERIFIED, SAME)
    if same_file:
        return Judgement(Verdict.CLOSE, f"same file, but other frames were marked before they got a palette ({other})")
    here = environment.versions()["pillow"]
    if marks.versions.get("pillow") == here:
        words = "same frames, but timing, transparency, comments or other data in the file are not what kgan writes"
        return Judgement(Verdict.INCONSISTENT, words)
    wrote = marks.versions.get("pillow", "of an unknown version")
    words = f"same frames, in a file that Pillow {here} would not write: Pillow {wrote} may, or more is hidden in it"
    return Judgement(Verdict.CLOSE, words)


def _mean_difference(first: np.ndarray, second: np.ndarray) -> float:
    if first.shape != second.shape:
        return float("inf")
    return float(np.abs(first.astype(np.int16) - second).mean())
