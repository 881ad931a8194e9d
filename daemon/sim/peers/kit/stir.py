"""STIR/SHAKEN by PyJWT and cryptography: what our signatures are held against."""

import re

import jwt
from cryptography import x509


def read(identity, certificate):
    """(header, claims) of an Identity header (RFC 8224), its signature checked with the certificate in this file; also its parameters."""
    token, *parameters = identity.split(";")
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    claims = jwt.decode(token, key, algorithms=["ES256"], options={"verify_iat": False})
    return jwt.get_unverified_header(token), claims, dict(re.fullmatch(r"(\w+)=(.*)", parameter).groups() for parameter in parameters)
