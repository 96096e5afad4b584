"""How many different values there were, from the smallest of their hashes. Pure.

The k smallest different hashes of a set do not depend on the order in which it was seen, so two lists merge exactly: the k smallest of
both. Where fewer than k were seen, they are counted; else the estimate is (k - 1) / (the k-th smallest as a share of all hashes), whose
relative standard error is 1 / sqrt(k - 2): Bar-Yossef, Jayram, Kumar, Sivakumar, Trevisan, "Counting distinct elements in a data stream",
RANDOM 2002; Beyer, Haas, Reinwald, Sismanis, Gemulla, "On synopses for distinct-value estimation under multiset operations", SIGMOD 2007.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from fairlead.core.interface import Array

KEPT = 256
STANDARD_ERROR = 1.0 / float(np.sqrt(KEPT - 2.0))


def hashes_of_numbers(values: Array) -> Array:
    """Return SplitMix64's finalizer of each number's bits; 0.0 and -0.0 are one number."""
    bits = (np.asarray(values, dtype=np.float64) + 0.0).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: Array = bits ^ (bits >> np.uint64(31))
    return found


def hashes_of_texts(texts: Iterable[str]) -> Array:
    """Return 64 bits of each text's BLAKE2b."""
    return np.frombuffer(
        b"".join(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest() for text in texts), np.dtype("<u8")
    ).astype(np.uint64)


def kept(*lists: Array) -> Array:
    """Return the smallest different hashes of several lists, in order. A list that is longer than KEPT holds no hash twice."""
    joined = np.concatenate([hashes if len(hashes) <= KEPT else np.partition(hashes, KEPT - 1)[:KEPT] for hashes in lists])
    ordered = np.sort(joined.astype(np.uint64, copy=False))
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])][:KEPT] if len(ordered) else ordered


def estimate(hashes: Array) -> float:
    """Return about how many different values there were; exactly, where there were fewer than KEPT."""
    if len(hashes) < KEPT:
        return float(len(hashes))
    return (KEPT - 1) / ((float(hashes[KEPT - 1]) + 1.0) / 2.0**64)
