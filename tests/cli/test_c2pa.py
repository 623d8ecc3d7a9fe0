"""`kgan sample --c2pa_cert` and what `kgan verify` says of it, with an authority made for the test."""

import os

import pytest

from kgan.errors import UserError
from kgan.provenance.c2pa import SignatureReader, Signer
from kgan.provenance.check import Verdict, check
from tests.conftest import kgan, refused
from tests.provenance.authorities import authority
from tests.provenance.marked_pngs import join, split

NOBODY = "C2PA: valid signature of A Signer of kgan tests, signer not trusted by anyone you named"


def test_signed_images_are_what_the_run_made(writer, trained_run, tmp_path):
    pytest.importorskip("c2pa")
    from kgan.sampling.regenerate import Regenerator

    made = authority(tmp_path / "ca")
    signing = writer(tmp_path / "signed")
    signing.signer = Signer(made.cert, made.key, "0.1.0")
    files = [*signing.singles(12, grid=True, caption=True), signing.interpolation(3, caption=True)[0]]
    read = SignatureReader()
    results = [result for _, result in Regenerator(trained_run).judge((str(path), check(path, read)) for path in files)]
    assert set(results) == {(Verdict.VERIFIED, f"same pixels; {NOBODY}")}
    assert not list((tmp_path / "signed").glob(".*"))
    with pytest.raises(UserError, match="is there already with a signature"):
        writer(tmp_path / "signed").singles(2)
    one = files[0]

    done = kgan("verify", one, f"--c2pa_trust={made.ca}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "consistent with itself; C2PA: valid signature of A Signer of kgan tests, whom you trust" in done.stdout
    chunks = split(one.read_bytes())
    one.write_bytes(join([*chunks[:-1], (b"tEXt", b"Comment\0added later"), chunks[-1]]))
    done = kgan("verify", one)
    assert done.returncode == 1
    assert "its C2PA signature is not valid (assertion.dataHash.mismatch)" in done.stdout


def test_flags_that_cannot_be_met_are_one_line(trained_run, tmp_path):
    (tmp_path / "c2pa.py").write_text("raise ImportError\n")
    without = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    words = refused("sample", trained_run, "--c2pa_cert=cert.pem", "--c2pa_key=key.pem", env=without)
    assert "--c2pa_cert needs C2PA's library: pip install 'kgan[c2pa]'" in words
    assert "go together" in refused("sample", trained_run, "--c2pa_cert=cert.pem")
    assert "leave it out, or --npz and" in refused("sample", trained_run, "--npz", "--c2pa_cert=a", "--c2pa_key=b")
    assert not (trained_run / "generated").exists()
