"""What makes two requests identical."""

from __future__ import annotations

import hashlib
from collections.abc import Set as AbstractSet

import msgspec

from openkimi import GenerateRequest, ImagePart

_encoder = msgspec.msgpack.Encoder()


def key_of(request: GenerateRequest, features: AbstractSet[str]) -> bytes | None:
    """Return a request's key: whose it is, and all that its answer depends on.

    None where the same request may well have another answer: chance has a say in it, an image is fetched from
    an address, or nobody knows whose it is.
    """
    if request.tenant is None or not _is_certain(request, features) or _has_address(request):
        return None
    plain = msgspec.structs.replace(request, stream=True, user=None, model="", share=None)
    try:
        return hashlib.blake2b(_encoder.encode(plain), digest_size=32).digest()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold
        return None


def _is_certain(request: GenerateRequest, features: AbstractSet[str]) -> bool:
    return request.temperature == 0 or (request.seed is not None and "seed" in features)


def _has_address(request: GenerateRequest) -> bool:
    mixed = [message.content for message in request.messages if not isinstance(message.content, str)]
    images = [part for parts in mixed for part in parts if isinstance(part, ImagePart)]
    return any(not image.url.startswith("data:") for image in images)
