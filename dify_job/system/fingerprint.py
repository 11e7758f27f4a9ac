"""Short digests of values."""

import hashlib


def fingerprint(text: str) -> str:
    """Return 16 hexadecimal digits for a text; the same from release to release."""
    return digest(text.encode())


def digest(content: bytes) -> str:
    """Return the same for bytes."""
    return hashlib.sha256(content).hexdigest()[:16]
