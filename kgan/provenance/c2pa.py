"""C2PA: signs a marked PNG as its last change, and reads such signatures. Needs the extra `kgan[c2pa]`.

A signature covers the pixels and the marks, and names a signer. Whether to trust that signer is for the reader to say,
by naming a certificate authority; without one, nobody is trusted. Nothing here goes to the network: no time stamps, no
remote manifests, no revocation lists. Without a time stamp, a signature counts until its certificate expires.
"""

import io
import json
import os
import re
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kgan import images
from kgan.errors import UserError
from kgan.provenance.marks import COMPOSITE, GENERATED
from kgan.provenance.png import Png
from kgan.text import one_line

_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)
CHUNK = b"caBX"  # where a PNG holds its C2PA manifests
INSTALL = "pip install 'kgan[c2pa]'"
_ALGORITHMS = ("es256", "es384", "es512", "ed25519", "ps256")
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}


@dataclass(frozen=True)
class Signature:
    """What stands in a file's C2PA manifest: why it does not hold (nothing: it does), and who signed, in words."""

    faults: tuple[str, ...]
    words: str = ""


class Signer:
    """Signs PNG files with a certificate (PEM, the leaf first, then what it was issued by) and its private key (PEM).

    Raises UserError, when made, if the extra is not installed or one image cannot be signed.
    """

    def __init__(self, certificate: str | os.PathLike | None, key: str | os.PathLike | None, version: str):
        if not certificate or not key:
            raise UserError("--c2pa_cert and --c2pa_key go together: the certificate and its private key, as PEM files")
        self._c2pa = _library("--c2pa_cert")
        self._agent = {"name": "kgan", "version": version}
        self._lock = threading.Lock()  # one signer serves all threads that write
        chain, secret = _certificates(certificate, "--c2pa_cert"), _content(key, "--c2pa_key")
        self._context = self._c2pa.Context.from_dict(
            {"verify": {**_OFFLINE, "verify_after_sign": True}, "builder": {"thumbnail": {"enabled": False}}}
        )
        self._signer = self._make(chain.encode("ascii"), secret, key)
        try:
            self.sign(images.png_bytes(np.zeros((1, 1, 1), np.uint8)))
        except self._c2pa.C2paError as error:
            raise UserError(f"--c2pa_cert={certificate}: C2PA cannot sign with it: {one_line(error)}") from None

    def sign(self, content: bytes) -> bytes:
        """The PNG with a signed manifest that says that a model made it. Raises C2paError."""
        action = {"action": "c2pa.created", "digitalSourceType": GENERATED, "softwareAgent": self._agent}
        manifest = {
            "claim_generator_info": [self._agent],
            "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
        }
        signed = io.BytesIO()
        with self._lock:
            builder = self._c2pa.Builder(manifest, context=self._context)
            builder.sign(self._signer, "image/png", io.BytesIO(content), signed)
        return signed.getvalue()

    def _make(self, chain: bytes, secret: bytes, key: str | os.PathLike):
        for algorithm in _ALGORITHMS:
            try:
                return self._c2pa.Signer.from_info(self._c2pa.C2paSignerInfo(algorithm, chain, secret, None))
            except self._c2pa.C2paError:
                continue
        raise UserError(
            f"--c2pa_key={key}: not the private key of this certificate as plain PEM (PKCS#8: BEGIN PRIVATE KEY) "
            f"of a kind that C2PA signs with: {', '.join(_ALGORITHMS)}"
        )


class SignatureReader:
    """Reads the C2PA signature of a PNG. `trust` is a PEM file with the authorities that its user trusts.

    Raises UserError, when made, if `trust` is named and cannot be used.
    """

    def __init__(self, trust: str | os.PathLike | None = None):
        self._anchors = _certificates(trust, "--c2pa_trust") if trust else ""
        if trust:
            _library("--c2pa_trust")

    def __call__(self, png: Png) -> Signature | None:
        """None if the file has no C2PA manifest; never raises for what the file holds."""
        if not any(chunk.kind == CHUNK for chunk in png.chunks):
            return Signature((), "C2PA: no signature") if self._anchors else None
        try:
            c2pa = _library("")
        except UserError:
            return Signature((), f"C2PA: not checked ({INSTALL})")
        settings: dict[str, dict] = {"verify": {**_OFFLINE, "verify_trust": True}}
        if self._anchors:
            settings["trust"] = {"trust_anchors": self._anchors}
        context = c2pa.Context.from_dict(settings)
        try:
            store = json.loads(c2pa.Reader("image/png", io.BytesIO(png.content), context=context).json())
            return self._judged(store)
        except Exception:  # anything may stand in a stranger's manifest
            return Signature(("its C2PA manifest is damaged",))

    def _judged(self, store: dict) -> Signature:
        state, manifest = store["validation_state"], store["manifests"][store["active_manifest"]]
        if state not in ("Valid", "Trusted"):
            codes = {status["code"] for status in store.get("validation_status", [])} - {"signingCredential.untrusted"}
            if codes & {"signingCredential.expired", "claimSignature.outsideValidity"}:
                return Signature(("its C2PA signature is not valid: its certificate has expired",))
            return Signature((f"its C2PA signature is not valid ({one_line(', '.join(sorted(codes)))})",))
        signer = manifest.get("signature_info") or {}
        names = [one_line(signer[key], 80) for key in ("common_name", "issuer") if signer.get(key)]
        trusted = state == "Trusted" and self._anchors
        words = (
            f"C2PA: valid signature of {' of '.join(names) or 'a signer without a name'}, "
            f"{'whom you trust' if trusted else 'signer not trusted by anyone you named'}"
        )
        claimed = [kind for kind in _created(manifest) if kind not in (GENERATED, COMPOSITE)]
        return Signature(("its C2PA manifest says that it is not AI-generated",) * bool(claimed), words)


def _created(manifest: dict) -> list[str | None]:
    """The digital source types of the actions that say how the picture came to be."""
    return [
        action.get("digitalSourceType")
        for assertion in manifest.get("assertions", [])
        if assertion["label"].startswith("c2pa.actions")
        for action in assertion["data"]["actions"]
        if action["action"] == "c2pa.created"
    ]


def _library(flag: str):
    try:
        import c2pa
    except ImportError:
        raise UserError(f"{flag} needs C2PA's library: {INSTALL}") from None
    return c2pa


def _content(path: str | os.PathLike, flag: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(f"{flag}={path}: {getattr(error, 'strerror', None) or 'cannot be opened'}") from None


def _certificates(path: str | os.PathLike, flag: str) -> str:
    """The certificates of a PEM file, without what stands between them."""
    try:
        text = "\n".join(_CERTIFICATE.findall(_content(path, flag).decode("ascii", "ignore")))
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ValueError, ssl.SSLError):
        raise UserError(f"{flag}={path}: not a PEM file of certificates (BEGIN CERTIFICATE)") from None
    return text
