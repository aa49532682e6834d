"""Chance that can be repeated: the same seed and labels always draw the same number.

Drawn from the call's own identity rather than from one stream, so that the order in which concurrent calls
arrive does not change what any of them meets.
"""

from hashlib import blake2b


def draw(seed: int, *labels: object) -> float:
    """A number in [0, 1), evenly spread over different labels."""
    digest = blake2b(repr((seed, *labels)).encode(), digest_size=7).digest()
    return int.from_bytes(digest) / (1 << 56)
