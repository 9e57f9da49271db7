"""What users set for the retriever ``lancedb``."""

from __future__ import annotations

from typing import Annotated

import msgspec

from openkimi import ConfigError, Secret, parse_size


class LanceDBOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where documents are stored and how the two sides of a search are joined."""

    path: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            description="The directory of the store, relative to the working directory, or an address of "
            "object storage such as s3://bucket/openkimi.",
        ),
    ] = "data/lancedb"
    persist: Annotated[
        bool,
        msgspec.Meta(
            description="Keep documents after the gateway stops; false: a private temporary directory, "
            "removed at the end, whatever the path."
        ),
    ] = True
    max_size: Annotated[
        int | str | None,
        msgspec.Meta(
            description="The most that documents may take, as 4GiB or a number of bytes: of those that came "
            "along with requests the least recently used are dropped, those given to be stored never; null: "
            "no limit."
        ),
    ] = "4GiB"
    storage_options: Annotated[
        dict[str, Secret],
        msgspec.Meta(
            description="Options of the object storage, as LanceDB names them: aws_access_key_id, "
            "aws_secret_access_key, aws_endpoint, aws_region, allow_http and others."
        ),
    ] = {}
    rrf_k: Annotated[
        int,
        msgspec.Meta(
            ge=1,
            le=1000,
            description="The constant of reciprocal rank fusion: the smaller, the more first places count.",
        ),
    ] = 10
    vector_wait: Annotated[
        float,
        msgspec.Meta(
            ge=0,
            le=600,
            description="Seconds that a question whose words tell little waits for the vectors of a document "
            "of at most 512 passages; longer documents are found by their words meanwhile.",
        ),
    ] = 10.0

    @property
    def most_bytes(self) -> int | None:
        """The limit in bytes."""
        return None if self.max_size is None else parse_size(self.max_size, where="rag.max_size")

    @property
    def is_remote(self) -> bool:
        """Whether the path is an address of object storage."""
        return "://" in self.path


def check_options(options: LanceDBOptions) -> None:
    """Refuse what this version cannot do.

    Raises:
        ConfigError: names the option and what to write instead.
    """
    _ = options.most_bytes
    if options.storage_options and not options.is_remote:
        raise ConfigError(
            "rag.storage_options: only for object storage; set rag.path to an address such as "
            "s3://bucket/openkimi or leave them out"
        )
