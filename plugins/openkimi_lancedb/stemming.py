"""Strips the commonest English endings, so that *partitions*, *partitioned* and *partitioning* meet."""

from __future__ import annotations

_VOWELS = frozenset("aeiouy")


def stem(word: str) -> str:
    """Stem a lower-case English word lightly; numbers and other scripts stay as they are.

    Plurals go as in Harman's S-stemmer ("How effective is suffixing?", JASIS 1991), *-ing* and *-ed* as in
    step 1b of Porter's algorithm (1980), then a last *-e*: a word and its stem need not look alike, only
    its forms must meet.
    """
    if len(word) < 4 or not (word.isascii() and word.isalpha()):
        return word
    word = _without_inflection(_singular(word))
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def _singular(word: str) -> str:
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y" if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss", "is")):
        return word[:-1]
    return word


def _without_inflection(word: str) -> str:
    if word.endswith("ied") and len(word) > 4:
        return word[:-3] + "y"
    for ending in ("ing", "ed"):
        root = word.removesuffix(ending)
        if root != word and len(root) > 2 and not word.endswith("eed") and _VOWELS.intersection(root):
            return _undoubled(root)
    return word


def _undoubled(root: str) -> str:
    doubled = root[-1] == root[-2] and root[-1] not in _VOWELS and root[-1] not in "lsz"
    return root[:-1] if doubled else root
