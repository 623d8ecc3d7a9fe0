"""C2PA signatures over our marks: whole, broken, by someone trusted or not, and without the library."""

import io
import json
import random
import sys

import pytest
from hypothesis import strategies as st

from kgan.errors import UserError
from kgan.provenance.c2pa import SignatureReader, Signer
from kgan.provenance.check import Verdict, check
from kgan.provenance.marks import GENERATED
from tests.fuzzing import damaged, fuzz, only_user_errors
from tests.provenance.authorities import authority
from tests.provenance.marked_pngs import join, sample_png, split

library = pytest.importorskip("c2pa")
UNTRUSTED = "signer not trusted by anyone you named"


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("ours") / "ca")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("other") / "ca")


@pytest.fixture(scope="module")
def signed(ours) -> bytes:
    return Signer(ours.cert, ours.key, "0.1.0").sign(sample_png())


@pytest.fixture
def checked(tmp_path):
    """checked(content, trust) -> CheckResult"""

    def checked(content, trust=None):
        (tmp_path / "it.png").write_bytes(content)
        return check(tmp_path / "it.png", SignatureReader(trust))

    return checked


def manifest(content: bytes) -> dict:
    return library.Reader("image/png", io.BytesIO(content)).get_active_manifest()


def test_the_manifest_says_that_a_model_made_it(signed):
    (actions,) = [a for a in manifest(signed)["assertions"] if a["label"].startswith("c2pa.actions")]
    (action,) = actions["data"]["actions"]
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", GENERATED)
    assert "time" not in manifest(signed)["signature_info"]


def test_signing_adds_one_chunk_and_changes_none(signed):
    assert [chunk for chunk in split(signed) if chunk[0] != b"caBX"] == split(sample_png())
    assert sum(kind == b"caBX" for kind, _ in split(signed)) == 1


def test_only_a_named_authority_makes_a_signer_trusted(signed, checked, ours, other):
    alone, trusted, stranger = checked(signed), checked(signed, ours.ca), checked(signed, other.ca)
    assert {alone.verdict, trusted.verdict, stranger.verdict} == {Verdict.CONSISTENT}
    assert alone.note == stranger.note == f"C2PA: valid signature of A Signer of kgan tests, {UNTRUSTED}"
    assert trusted.note == "C2PA: valid signature of A Signer of kgan tests, whom you trust"
    commented = ours.ca.with_name("commented.pem")
    commented.write_text("\ufeff# Gr\u00f6\u00dfe\n" + ours.ca.read_text() + "\n# Ende\n", "utf-8")
    assert checked(signed, commented).note == trusted.note


def test_without_a_signature_nothing_is_said(checked, ours):
    assert checked(sample_png()).note == ""
    assert checked(sample_png(), ours.ca).note == "C2PA: no signature"


def test_a_signature_does_not_fit_another_image(signed, checked, ours):
    (seal,) = [chunk for chunk in split(signed) if chunk[0] == b"caBX"]
    moved = split(sample_png(index=4))
    finding = checked(join([moved[0], seal, *moved[1:]]), ours.ca)
    assert finding.verdict == Verdict.INCONSISTENT
    assert finding.reasons == ("its C2PA signature is not valid (assertion.dataHash.mismatch)",)
    assert "trust" not in finding.note


@pytest.mark.parametrize("change", [lambda seal: [seal, seal], lambda seal: [(b"caBX", b"")]])
def test_manifests_that_are_not_one_are_refused(signed, checked, change):
    first, *rest = [chunk for chunk in split(signed) if chunk[0] != b"caBX"]
    (seal,) = [chunk for chunk in split(signed) if chunk[0] == b"caBX"]
    assert checked(join([first, *change(seal), *rest])).verdict == Verdict.INCONSISTENT


def test_a_damaged_manifest_is_never_another_signer(signed, checked, ours):
    """Bits that are padding, or that stand in the certificates' cover, may change; what is said of the signer not."""
    chunks = split(signed)
    place = next(i for i, (kind, _) in enumerate(chunks) if kind == b"caBX")
    dice, verdicts = random.Random(0), []
    for _ in range(150):
        data = bytearray(chunks[place][1])
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        finding = checked(join([*chunks[:place], (b"caBX", bytes(data)), *chunks[place + 1 :]]), ours.ca)
        verdicts.append(finding.verdict)
        if finding.verdict == Verdict.CONSISTENT:
            assert finding.note.startswith("C2PA: valid signature of A Signer of kgan tests")
        assert "\n" not in finding.note + "".join(finding.reasons)
    assert verdicts.count(Verdict.INCONSISTENT) > 75


def test_a_valid_signature_that_says_a_camera_made_it_contradicts_the_marks(ours, checked, monkeypatch):
    signer = Signer(ours.cert, ours.key, "0.1.0")
    camera = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    monkeypatch.setattr("kgan.provenance.c2pa.GENERATED", camera)
    content = signer.sign(sample_png())
    monkeypatch.undo()
    assert camera in json.dumps(manifest(content))
    finding = checked(content, ours.ca)
    assert finding.verdict == Verdict.INCONSISTENT and "says that it is not AI-generated" in finding.reasons[0]


def test_other_kinds_of_keys_sign_too(tmp_path, checked):
    made = authority(tmp_path / "p384", curve="SECP384R1")
    finding = checked(Signer(made.cert, made.key, "0.1.0").sign(sample_png()), made.ca)
    assert (finding.verdict, finding.note[-14:]) == (Verdict.CONSISTENT, "whom you trust")


def test_certificates_that_will_not_do_are_said_before_anything_is_drawn(ours, other, tmp_path):
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    for cert, key, words in [
        (ours.cert, None, "go together"),
        (None, ours.key, "go together"),
        (tmp_path / "absent.pem", ours.key, "--c2pa_cert=.*absent.pem: No such file"),
        (garbage, ours.key, "--c2pa_cert=.*not a PEM file of certificates"),
        (ours.cert, garbage, "--c2pa_key=.*not the private key"),
        (ours.cert, other.key, "--c2pa_cert=.*C2PA cannot sign with it"),
        (ours.ca, ours.key, "--c2pa_cert=.*C2PA cannot sign with it"),
    ]:
        with pytest.raises(UserError, match=words) as error:
            Signer(cert, key, "0.1.0")
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="--c2pa_trust=.*not a PEM file of certificates"):
        SignatureReader(garbage)


def test_without_the_library(signed, checked, ours, monkeypatch):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(UserError, match=r"--c2pa_cert needs .*: pip install 'kgan\[c2pa\]'"):
        Signer(ours.cert, ours.key, "0.1.0")
    with pytest.raises(UserError, match=r"--c2pa_trust needs .*: pip install 'kgan\[c2pa\]'"):
        SignatureReader(ours.ca)
    finding = checked(signed)
    assert (finding.verdict, finding.note) == (Verdict.CONSISTENT, "C2PA: not checked (pip install 'kgan[c2pa]')")
    assert checked(sample_png()).note == ""


@fuzz(st.data())
def test_a_damaged_manifest_is_judged_all_the_same(signed, checked, ours, data):
    chunks = split(signed)
    place = next(number for number, (kind, _) in enumerate(chunks) if kind == b"caBX")
    manifest = data.draw(damaged(chunks[place][1]))
    found = checked(join([*chunks[:place], (b"caBX", manifest), *chunks[place + 1 :]]), ours.ca)
    assert all(reason.isprintable() for reason in (*found.reasons, found.note))
    assert found.verdict == Verdict.INCONSISTENT or "valid signature of A Signer of kgan tests" in found.note


@fuzz(st.data())
def test_damaged_certificates_are_read_or_refused(ours, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.pem"
    path.write_bytes(data.draw(damaged(ours.ca.read_bytes(), ours.cert.read_bytes(), ours.key.read_bytes())))
    with only_user_errors():
        SignatureReader(path)
