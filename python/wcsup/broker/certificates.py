"""Certificates of an authority of wcsup's own, for brokers and clients of one machine (X.509, RFC 5280).

The package `cryptography` makes them: `openssl` is not on every machine, and Java's keytool gives no private key out in
PEM, which librdkafka and Python need.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from wcsup.process.files import write_private

DAYS = 3650.0
"""How long a certificate is valid: nobody renews one on a machine for trials."""
_BEFORE = timedelta(days=1)
"""Certificates are valid from a day before, for clocks that are behind."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates. Whoever trusts its certificate trusts them."""

    certificate: Path
    """The file for `ssl.ca.location`."""
    _key: ec.EllipticCurvePrivateKey
    _own: x509.Certificate

    @classmethod
    def at(cls, home: Path, name: str = "ca") -> Self:
        """Return the authority whose files are `NAME.pem` and `NAME.key` in `home`; make it if it is not there."""
        certificate, key_file = home / f"{name}.pem", home / f"{name}.key"
        if certificate.exists():
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{key_file} is not the key of an authority of wcsup")
            return cls(certificate, key, x509.load_pem_x509_certificate(certificate.read_bytes()))
        key = ec.generate_private_key(ec.SECP256R1())
        identity = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        own = (
            _unsigned(_named(f"wcsup {name}"), _named(f"wcsup {name}"), key, DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(identity, critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(key_file, _pem(key))
        certificate.write_bytes(own.public_bytes(serialization.Encoding.PEM))
        return cls(certificate, key, own)

    def issue(self, file: Path, name: str, hosts: Sequence[str] = (), *, days: float = DAYS) -> None:
        """Write a new private key and its certificate to `file`, in PEM, readable by its owner alone.

        `name` is the common name, which Kafka takes for the user's name. With `hosts` (names and addresses) it is a
        broker's certificate, too. Of negative `days` comes a certificate that has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
        identity = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        unsigned = (
            _unsigned(_named(name), self._own.subject, key, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(identity, critical=False)
        )
        if hosts:
            unsigned = unsigned.add_extension(x509.SubjectAlternativeName(list(map(_host, hosts))), critical=False)
        signed = unsigned.sign(self._key, hashes.SHA256())
        write_private(file, _pem(key) + signed.public_bytes(serialization.Encoding.PEM).decode())


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: float
) -> x509.CertificateBuilder:
    until = datetime.now(UTC) + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(datetime.now(UTC), until) - _BEFORE)
        .not_valid_after(until)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(pem, pkcs8, serialization.NoEncryption()).decode()
