"""Certificate authorities made for the tests, and signers with the certificates that C2PA asks for."""

import datetime
from pathlib import Path
from types import SimpleNamespace


def authority(folder: Path, signer: str = "A Signer", curve: str = "SECP256R1") -> SimpleNamespace:
    """Writes ca.pem, cert.pem (leaf and CA) and key.pem, and returns their paths as .ca, .cert and .key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        parts = {NameOID.ORGANIZATION_NAME: "kgan tests", NameOID.COMMON_NAME: common}
        return x509.Name([x509.NameAttribute(*part) for part in parts.items()])

    now = datetime.datetime.now(datetime.UTC)
    root, leaf = (ec.generate_private_key(getattr(ec, curve)()) for _ in range(2))

    def certificate(subject: str, key, is_ca: bool) -> bytes:
        no = {"content_commitment": False, "key_encipherment": False, "data_encipherment": False}
        no |= {"key_agreement": False, "encipher_only": False, "decipher_only": False}
        usage = x509.KeyUsage(digital_signature=not is_ca, key_cert_sign=is_ca, crl_sign=is_ca, **no)
        builder = (
            x509.CertificateBuilder(name("A test CA"), name(subject), key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
            .add_extension(usage, critical=True)
        )
        if not is_ca:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, critical=False)
        return builder.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    folder.mkdir(parents=True)
    made = SimpleNamespace(ca=folder / "ca.pem", cert=folder / "cert.pem", key=folder / "key.pem")
    made.ca.write_bytes(certificate("A test CA", root, True))
    made.cert.write_bytes(certificate(signer, leaf, False) + made.ca.read_bytes())
    pkcs8 = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    made.key.write_bytes(leaf.private_bytes(*pkcs8))
    return made
