"""STIR/SHAKEN by PyJWT and cryptography: what our signatures are held against."""

import re
import time

import jwt
from cryptography import x509


def read(identity, certificate):
    """(header, claims) of an Identity header (RFC 8224), its signature checked with the certificate in this file; also its parameters."""
    token, *parameters = identity.split(";")
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    claims = jwt.decode(token, key, algorithms=["ES256"], options={"verify_iat": False})
    return jwt.get_unverified_header(token), claims, dict(re.fullmatch(r"(\w+)=(.*)", parameter).groups() for parameter in parameters)


def sign(key, x5u, orig, dest, attest="A", age_s=0):
    """An Identity header (RFC 8224) with a SHAKEN PASSporT (RFC 8588), signed with the key in this file."""
    claims = {"attest": attest, "dest": {"tn": [dest]}, "iat": int(time.time()) - age_s, "orig": {"tn": orig},
              "origid": "00000000-0000-4000-8000-000000000001"}
    headers = {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": x5u}
    token = jwt.encode(claims, key.read_bytes(), algorithm="ES256", headers=headers)
    return f'{token};info=<{x5u}>;alg=ES256;ppt="shaken"'
