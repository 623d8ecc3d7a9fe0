"""`kgan verify`: 0 for what a run made, 1 for anything that claims more than is so, 2 where it cannot be told."""

import base64
import dataclasses
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

import kgan as package
from kgan.errors import UserError
from kgan.images import write_png
from kgan.latents import draws_recipe, slerp_recipe
from kgan.provenance import npz, png
from kgan.provenance.check import CheckResult, Verdict, check, check_png
from kgan.provenance.marks import COMPOSITE, GENERATED, Marks, encode_latent, pixels_sha256, pnginfo, sidecar
from kgan.provenance.npz import check_npz
from kgan.provenance.sidecars import check_animation, sidecar_path
from kgan.runs import environment
from tests.conftest import kgan, refused
from tests.fuzzing import fuzz
from tests.provenance.marked_pngs import join, png_bytes, split, with_text

VERIFIED, CLOSE, CONSISTENT = Verdict.VERIFIED, Verdict.CLOSE, Verdict.CONSISTENT
NO, UNKNOWN = Verdict.INCONSISTENT, Verdict.CANNOT_TELL


@pytest.fixture(scope="module")
def made(writer, tmp_path_factory):
    """Single images, a grid, a strip and an animation, of the averaged weights and of the others."""
    root = tmp_path_factory.mktemp("made")
    paths = []
    for ema in (True, False):
        paths += writer(root / f"ema{ema}", ema=ema).singles(104, grid=True, caption=ema)
        paths += writer(root / f"ema{ema}", ema=ema, truncation=0.5, seed=3).interpolation(3, caption=not ema)[:2]
    return paths


@pytest.fixture(scope="module")
def judge(trained_run):
    """judge(paths, run=...) -> [(verdict, words)]"""
    from kgan.sampling.regenerate import Regenerator

    def judge(paths, run=trained_run):
        checks = {".gif": check_animation, ".npz": check_npz}
        checked = ((str(path), checks.get(Path(path).suffix, check)(path)) for path in paths)
        return [tuple(judgement) for _, judgement in Regenerator(run).judge(checked)]

    return judge


def remarked(path, target, image=None, source_type=None, **changes):
    """A copy of a marked PNG whose marks are changed and consistent: what a forger would write."""
    check_result = check(path)
    image = check_result.image if image is None else image
    marks = dataclasses.replace(check_result.marks, **{"pixels_sha256": pixels_sha256(image), **changes})
    write_png(target, image, pnginfo(marks, source_type or check_result.source_type))
    return target


def test_what_the_run_made_is_verified(made, judge, trained_run):
    assert len(made) == 2 * 107
    assert set(judge(made)) == {(VERIFIED, "same pixels")}
    assert judge([trained_run / "samples" / "step-0000004.png"]) == [(VERIFIED, "same pixels")]
    ((verdict, words),) = judge([trained_run / "training.gif"])
    assert verdict == UNKNOWN and "many checkpoints" in words
    ((verdict, words),) = judge([trained_run / "samples" / "reals.png"])
    assert verdict == NO and "no kgan marks" in words


def test_one_pixel_one_level_is_noticed(made, judge, tmp_path):
    info = png_text(made[0])
    paths = []
    for place in [(0, 0), (13, 14), (27, 27)]:
        image = check(made[0]).image.copy()
        image[place] ^= 1
        paths.append(tmp_path / f"{place[0]}.png")
        write_png(paths[-1], image, info)
    assert {verdict for verdict, _ in judge(paths)} == {NO}


def test_a_change_of_one_level_is_never_verified(made, judge, tmp_path, monkeypatch):
    """Not even with marks made anew: equal pixels alone are verified."""
    monkeypatch.setattr(environment, "device", lambda: "a processor")
    image, marks = check(made[0]).image, check(made[0]).marks
    one, all_bits, more = image.copy(), image ^ np.uint8(1), image.copy()
    one[13, 14] ^= 1
    more[5, 5] ^= 2
    here, elsewhere = (marks.versions | {"device": name} for name in ("a processor", "a processor that nobody has"))
    cases = [
        (one, here, NO, "differs by at most one level in 1 of 784 pixel values from what its latent"),
        (all_bits, here, NO, "784 of 784"),
        (one, elsewhere, CLOSE, "1 of 784 pixel values: rounding elsewhere gives as much (made with device a proc"),
        (all_bits, elsewhere, NO, "more than rounding elsewhere gives"),
        (more, elsewhere, NO, "makes another image"),
        (image, elsewhere, VERIFIED, "same pixels"),
    ]
    forged = [
        remarked(made[0], tmp_path / f"{number}.png", picture, versions=versions)
        for number, (picture, versions, _, _) in enumerate(cases)
    ]
    assert {check(path).verdict for path in forged} == {CONSISTENT}
    for (_, _, verdict, word), (judged, words) in zip(cases, judge(forged), strict=True):
        assert judged == verdict and word in words


def forgery(random: random.Random, path, target):
    """Another image than the one in `path`, with marks that say that the run made it; the marks are consistent."""
    result = check(path)
    values = result.image.reshape(-1).astype(int)
    largest = random.choice([1, 1, 1, 2, 40])
    for place in random.sample(range(len(values)), random.choice([1, 1, 2, 3, 10, len(values)])):
        step = random.choice([-1, 1]) * random.randint(1, largest)
        values[place] += step if 0 <= values[place] + step <= 255 else -step
    versions = dict(result.marks.versions)
    if random.random() < 0.5:
        versions |= {random.choice(["device", "tensorflow", "keras", "numpy", "kgan"]): "0.0"}
    return remarked(path, target, values.astype(np.uint8).reshape(result.image.shape), versions=versions)


@pytest.mark.parametrize("count", [240, pytest.param(3000, marks=pytest.mark.slow)])
def test_no_forgery_with_another_pixel_is_verified(made, judge, tmp_path, count):
    pictures = [path for path in made if path.suffix == ".png"]
    singles = [path for path in pictures if "-0" in path.name]
    others = [path for path in pictures if path not in singles]
    randoms = random.Random(count)
    paths = []
    for number in range(count):
        original = randoms.choice(others if number % 20 == 0 else singles)
        paths.append(forgery(randoms, original, tmp_path / f"{number}.png"))
    verdicts = [verdict for verdict, _ in judge(paths)]
    assert len(verdicts) == count and set(verdicts) <= {NO, CLOSE}
    assert verdicts.count(NO) > count / 3 and verdicts.count(CLOSE) > count / 30


def png_text(path):
    """The text chunks of a PNG, to be put onto another image."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    with Image.open(path) as picture:
        for key, value in picture.text.items():
            info.add_itxt(key, value)
    return info


def test_any_one_bit_of_z_is_noticed(made):
    check_result = check(made[0])
    z = bytearray(base64.b64decode(check_result.marks.z))
    for bit in range(8 * len(z)):
        z[bit // 8] ^= 1 << bit % 8
        marks = dataclasses.replace(check_result.marks, z=base64.b64encode(z).decode())
        content = png_bytes(check_result.image, pnginfo(marks))
        assert check_png(png.parse(content, "x"), "x").verdict == NO, bit
        z[bit // 8] ^= 1 << bit % 8


def test_marks_of_another_image_are_noticed(made, judge, tmp_path):
    copied = tmp_path / "copied.png"
    write_png(copied, check(made[1]).image, png_text(made[0]))
    forged = remarked(made[0], tmp_path / "forged.png", check(made[1]).image)
    assert [verdict for verdict, _ in judge([copied, forged])] == [NO, NO]
    assert check(copied).verdict == NO and check(forged).verdict == CONSISTENT


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"run_id": "another"}, "another run made it: another"),
        ({"data_license": "MIT"}, "licence"),
        ({"data_sha256": "0" * 64}, "training data"),
        ({"checkpoint_sha256": "0" * 64}, "no longer has its checkpoint 000000000000"),
        ({"label": 1}, "makes another image"),
        ({"label": None}, "label"),
        ({"label": 2}, "label"),
        ({"label": [0]}, "label"),
        ({"ema": False}, "makes another image"),
        ({"index": None, "z": None}, "no single latent"),
        ({"index": None, "z": {"recipe": "draws", "first": 0, "count": 4}}, "its size"),
        ({"index": None, "z": {"recipe": "draws", "first": 0, "count": 1}, "label": 0}, "size"),
        ({"source_type": COMPOSITE}, "says that it has other parts"),
    ],
)
def test_forged_claims(made, judge, tmp_path, changes, word):
    forged = remarked(made[0], tmp_path / "forged.png", **changes)
    assert check(forged).verdict == CONSISTENT
    ((verdict, words),) = judge([forged])
    assert word in words
    assert verdict == (UNKNOWN if "checkpoint_sha256" in changes or changes.get("z", 0) is None else NO)


def test_a_grid_of_other_draws_is_noticed(made, judge, tmp_path):
    grid = next(path for path in made if "grid" in path.name)
    labels = check(grid).marks.label
    assert labels == [index % 2 for index in range(64)]
    changes = [{"seed": 9}, {"label": labels[::-1]}, {"label": labels[1:]}, {"truncation": 0.4}]
    forged = [remarked(grid, tmp_path / f"{i}.png", **change) for i, change in enumerate(changes)]
    assert {verdict for verdict, _ in judge(forged)} == {NO}


def extension(label: int, data: bytes) -> bytes:
    """A GIF extension block."""
    return bytes([0x21, label, len(data)]) + data + b"\0"


def test_an_animation_is_verified_as_a_whole(made, judge, tmp_path):
    """Timing, transparency, a comment and what follows the end belong to it, though the frames stay the same."""
    original = next(path for path in made if path.suffix == ".gif")
    content, marks = original.read_bytes(), check_animation(original).marks
    control = content.index(b"\x21\xf9\x04")
    slower, clear = bytearray(content), bytearray(content)
    slower[control + 4] += 1
    clear[control + 3] |= 1
    comment = content[:control] + extension(0xFE, b"hidden") + content[control:]
    forged = tmp_path / original.name
    for changed in (bytes(slower), bytes(clear), comment, content + b"\0", content + b"PK\3\4hidden"):
        for versions, verdict in ((marks.versions, NO), (marks.versions | {"pillow": "1.0"}, CLOSE)):
            forged.write_bytes(changed)
            remade = dataclasses.replace(marks, versions=versions)
            sidecar_path(forged).write_text(sidecar(remade, forged.name, changed))
            assert check_animation(forged).verdict == CONSISTENT
            ((judged, words),) = judge([forged])
            assert judged in (verdict, NO) and "made another" not in words
            assert "same frames" in words or changed == bytes(clear)
    forged.write_bytes(content)
    sidecar_path(forged).write_text(sidecar(marks, forged.name, content))
    assert judge([forged]) == [(VERIFIED, "same pixels")]


def test_an_animation_and_its_json_belong_together(made, judge, tmp_path):
    animations = [path for path in made if path.suffix == ".gif"]
    for animation in animations:
        shutil.copy(animation, tmp_path / f"{animation.parent.name}.gif")
    a, b = (tmp_path / f"{animation.parent.name}.gif" for animation in animations)
    assert check_animation(a).verdict == NO and "no kgan marks" in check_animation(a).reasons[0]
    shutil.copy(sidecar_path(animations[1]), sidecar_path(a))
    assert "not the one that was marked" in check_animation(a).reasons[0]
    text = sidecar_path(animations[1]).read_text()
    for damaged in ("", "{}", "[", text.replace('"truncation": 0.5', '"truncation": 0.6'), text + " "):
        sidecar_path(b).write_text(damaged)
        assert check_animation(b).verdict == NO, damaged
    sidecar_path(b).write_text(text)
    assert judge([b]) == [(VERIFIED, "same pixels")]
    assert check_animation(tmp_path / "absent.gif").verdict == UNKNOWN


def test_a_run_that_lost_its_checkpoint_or_is_another(made, judge, trained_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    (run / "checkpoints" / "step-0000004.npz").write_bytes(b"damaged")
    ((verdict, words),) = judge(made[:1], run)
    assert verdict == UNKNOWN and "no longer has its checkpoint" in words
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"id": "f" * 32}))
    assert judge(made[:1], run)[0][0] == NO
    (run / "run.json").unlink()
    with pytest.raises(UserError, match="does not say which run"):
        judge(made[:1], run)


def test_a_mutated_file_is_verified_only_if_its_pixels_and_marks_are_unchanged(made, judge, tmp_path):
    randoms, verdicts = random.Random(5), set()
    original = made[0].read_bytes()
    pixels = check(made[0]).image.tobytes()
    for round_number in range(6):
        paths = []
        for number in range(50):
            content = bytearray(original)
            for _ in range(randoms.choice([1, 1, 2, 8])):
                content[randoms.randrange(len(content))] = randoms.randrange(256)
            if number % 3 == 0:  # with checksums put right, to get past them
                chunks = split(original)
                place = randoms.randrange(len(chunks) - 1)
                data = bytearray(chunks[place][1])
                data[randoms.randrange(len(data))] ^= 1 << randoms.randrange(8)
                chunks[place] = (chunks[place][0], bytes(data))
                content = join(chunks)
            paths.append(tmp_path / f"{round_number}-{number}.png")
            paths[-1].write_bytes(content)
        for path, (verdict, words) in zip(paths, judge(paths), strict=True):
            assert "\n" not in words
            verdicts.add(verdict)
            if verdict == VERIFIED:
                assert check(path).image.tobytes() == pixels and check(path).marks == check(made[0]).marks
    assert verdicts >= {NO, UNKNOWN}


def rewritten(path, target, **changes):
    """A copy of an .npz with other arrays or marks, by whoever knows how kgan writes them."""
    with np.load(path) as arrays:
        samples, labels, text = arrays["samples"], arrays["labels"], str(arrays["marks"])
    marks = npz.read_marks(path)
    samples, labels = changes.pop("samples", samples), changes.pop("labels", labels)
    assert "TC260" not in text
    marks = dataclasses.replace(marks, **changes)
    with target.open("wb") as stream:
        npz.write(
            stream, samples.shape, [samples], labels, lambda sha256: dataclasses.replace(marks, pixels_sha256=sha256)
        )
    return target


def test_arrays_are_verified_like_files(writer, judge, tmp_path):
    one_class = writer(tmp_path / "b", label=1, producer="Acme").npz(3)
    (path,) = writer(tmp_path / "a").npz(130)
    assert judge([path, *one_class]) == [(VERIFIED, "same pixels")] * 2
    assert rewritten(path, tmp_path / "same.npz").read_bytes() == path.read_bytes()
    with np.load(path) as arrays:
        samples, labels = arrays["samples"], arrays["labels"]
    changed = samples.copy()
    changed[77, 5, 5] ^= 1
    forged = [
        rewritten(path, tmp_path / "1.npz", samples=changed),
        rewritten(path, tmp_path / "2.npz", labels=labels[::-1].copy()),
        rewritten(path, tmp_path / "3.npz", samples=samples[:4], labels=labels[:4]),
        rewritten(path, tmp_path / "4.npz", z=slerp_recipe([0, 1], 130)),
        rewritten(path, tmp_path / "5.npz", seed=1),
        rewritten(path, tmp_path / "6.npz", label=1),
    ]
    assert {check_npz(path).verdict for path in forged} == {CONSISTENT}
    assert [verdict for verdict, _ in judge(forged)] == [NO] * len(forged)
    content = path.read_bytes()
    other = tmp_path / "other.npz"
    for damaged, verdict in (
        (content + b"x", NO),
        (content[:500], UNKNOWN),
        (content[:9000] + b"x" + content[9001:], UNKNOWN),
    ):
        other.write_bytes(damaged)
        assert judge([other])[0][0] == verdict, check_npz(other)
    np.savez(other, samples=samples, labels=labels)
    assert judge([other]) == [(NO, "it has no kgan marks")]


def test_a_folder_is_verified_with_all_below_it(writer, trained_run, tmp_path):
    writer(tmp_path / "a").singles(2)
    writer(tmp_path / "a" / "b", seed=1).interpolation(2)
    writer(tmp_path / "a" / "c").npz(2)
    result = package.verify(tmp_path, run=trained_run)
    names = [path.removeprefix(f"{tmp_path}/a/") for path in (file.path for file in result.files)]
    assert names == sorted(names) and len(names) == 6 and result.exit_code == 0
    assert {file.verdict for file in result.files} == {VERIFIED}
    (tmp_path / "empty").mkdir()
    assert "there are no images in this folder" in refused("verify", tmp_path / "empty")


def test_of_a_run_folder_only_what_a_network_drew_is_looked_at(trained_run, tmp_path):
    run = tmp_path / "runs" / "run"
    shutil.copytree(trained_run, run)
    for folder in (run, run / "against-works"):
        folder.mkdir(exist_ok=True)
        (folder / "audit-ratios.png").write_bytes((run / "curves.png").read_bytes())
    (tmp_path / "link").symlink_to(run)
    package.sample(run, num=2, npz=True)
    package.sample(run, num=2, grid=False)
    generated = [f"generated/step-0000004/seed00000000{end}" for end in ("-000000.png", "-000001.png", ".npz")]
    others = ["comparison.png", "samples/step-0000004.png", "training.gif"]
    for folder, name in ((run, run), (run.parent, run), (run, tmp_path / "link")):
        result = package.verify(folder, run=name)
        assert [os.path.relpath(file.path, run) for file in result.files] == sorted(generated + others)
        assert {file.verdict for file in result.files} == {VERIFIED, UNKNOWN} and result.exit_code == 2
    (run / "checkpoints" / "a.png").write_bytes(b"")
    (run / "generated" / "curves.png").write_bytes((run / "curves.png").read_bytes())
    (run / "generated" / "checkpoints").mkdir()
    shutil.copy(run / "checkpoints" / "step-0000004.npz", run / "generated" / "checkpoints")
    seen = {os.path.relpath(file.path, run) for file in package.verify(run, run=run).files if file.verdict == NO}
    assert seen == {"generated/curves.png", "generated/checkpoints/step-0000004.npz"}
    assert package.verify([run / "curves.png"], run=run).exit_code == 1


def test_a_picture_without_marks_is_not_passed_over(made, tmp_path):
    shutil.copy(made[0], tmp_path / "a.png")
    Image.new("L", (28, 28)).save(tmp_path / "b.jpg")
    result = package.verify(tmp_path)
    assert [file.verdict for file in result.files] == ["consistent", UNKNOWN] and result.exit_code == 2


@pytest.mark.parametrize("flag", ["run", "c2pa_trust"])
def test_a_flag_given_empty_is_not_taken_for_one_left_out(made, flag):
    """A shell's variable that is not set."""
    assert f"--{flag}= is empty: " in refused("verify", made[0], f"--{flag}=")


def test_exit_codes_and_words_of_the_command(made, trained_run, tmp_path):
    bomb, cut, dtd = tmp_path / "bomb.png", tmp_path / "cut.png", tmp_path / "dtd.png"
    Image.new("1", (10_000, 10_000)).save(bomb)
    cut.write_bytes(made[0].read_bytes()[:700])
    evil = b'<!DOCTYPE x [<!ENTITY a "b">]><x/>'
    dtd.write_bytes(with_text(made[0].read_bytes(), "XML:com.adobe.xmp", evil))
    alone = kgan("verify", made[0])
    assert (alone.returncode, alone.stderr) == (0, "")
    assert "consistent with itself" in alone.stdout and "marks can be forged" in alone.stdout
    unreadable = kgan("verify", bomb, cut, tmp_path / "absent.png")
    assert (unreadable.returncode, unreadable.stderr) == (2, "") and "100 megapixels" in unreadable.stdout
    assert "3 images: 3 cannot tell" in unreadable.stdout and "truncated PNG" in unreadable.stdout
    mixed = kgan("verify", made[0], cut, dtd, f"--run={trained_run}")
    assert (mixed.returncode, mixed.stderr) == (1, "")
    assert "same pixels" in mixed.stdout and "document type" in mixed.stdout
    assert "3 images: 1 verified, 1 not what it claims, 1 cannot tell" in mixed.stdout
    assert "nowhere: not a run folder" in refused("verify", made[0], "--run=nowhere", cwd=tmp_path)
    assert "name the images" in refused("verify")
    assert "no\N{REPLACEMENT CHARACTER}[31mwhere: not a run" in refused("verify", made[0], "--run=no\x1b[31mwhere")


SMALL = st.integers(0, 40)
LATENTS = st.one_of(
    st.sampled_from([0, 1, 99, 100, 101]).map(lambda length: encode_latent(np.zeros(length + 1, np.float32))),
    st.builds(draws_recipe, SMALL),
    st.builds(slerp_recipe, st.lists(SMALL, max_size=3), SMALL),
    st.none(),
)
CLAIMS = {
    "run_id": st.just("another"),
    "checkpoint_sha256": st.just("0" * 64),
    "data_sha256": st.just("0" * 64),
    "data_license": st.just("MIT"),
    "ema": st.booleans(),
    "versions": st.just({"kgan": "9"}),
    "seed": st.none() | SMALL,
    "index": st.none() | SMALL | st.just(2**64 - 1),
    "label": st.none() | st.integers(0, 3) | st.lists(st.integers(0, 2), max_size=40),
    "truncation": st.none() | st.just(0.5),
    "z": LATENTS,
}
SHAPES = st.sampled_from([(28, 28, 1), (28, 28, 3), (1, 1, 1), (200, 200, 1), (3, 28, 28, 1), (40, 28, 28, 1)])


@fuzz(st.dictionaries(st.sampled_from(sorted(CLAIMS)), st.none(), max_size=4), st.data())
def test_claims_of_any_content_are_judged_and_never_verified(made, judge, trained_run, chosen, data):
    from kgan.sampling.regenerate import Regenerator

    original = check(made[0])
    changes = {name: data.draw(CLAIMS[name]) for name in chosen}
    shape = data.draw(st.none() | SHAPES)
    image = None if shape is None else np.zeros(shape, np.uint8)
    labels = np.zeros(shape[0], np.int64) if shape and len(shape) == 4 else None
    try:
        marks = Marks(**{**dataclasses.asdict(original.marks), **changes})
    except (ValueError, UserError):
        return
    path = next(path for path in made if path.suffix == ".gif")
    content = path.read_bytes() if image is None else None
    claim = CheckResult(Verdict.CONSISTENT, (), marks, GENERATED, image, labels=labels, content=content)
    ((_, judgement),) = Regenerator(trained_run).judge([(str(path), claim)])
    assert judgement.verdict != VERIFIED and judgement.reason.isprintable()


def test_a_folder_that_may_not_be_read_is_not_passed_over(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refusing(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UserError, match="closed: cannot look into this folder"):
        package.verify(tmp_path)
