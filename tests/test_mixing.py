"""Many clients at once on a real model, some of whom leave: nobody gets another one's answer, or none."""

import aiohttp
import pytest

from openkimi import KimiEngine
from openkimi.api.app import create_app
from openkimi.testing import serving

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("benchmarks")]


async def test_no_request_is_lost_or_mixed_up(tmp_path):
    """Of forty random requests, eight at a time, two of five are left: each answer is the one given alone."""
    import mixing

    engine = KimiEngine(
        llm_config={"type": "llama-cpp", "model_path": "smollm2-135m-instruct", "context_length": 2048},
        rag_config={"type": "lancedb", "path": str(tmp_path / "lancedb")},
    )
    asked = mixing.kinds(12)
    async with serving(create_app(engine)) as url, aiohttp.ClientSession(url) as http:
        expected = await mixing.alone(http, asked)
        outcome = await mixing.mix(http, expected, asked, requests=40, connections=8)

    assert outcome.complaints == []
    assert outcome.verdicts.total() == 40
    assert outcome.verdicts["left"] > 8
    assert outcome.afterwards == 0


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("The moon is round.", "right"), ("The moon is old.", "differs"), ("Bread is baked", "mixed up")],
)
def test_an_answer_of_another_kind_is_told_from_one_that_differs(text, verdict):
    """An answer that is not the expected one counts as mixed up when it is more like another's."""
    import mixing

    assert mixing.judge(text, 0, ["The moon is round.", "Bread is baked."]) == verdict
