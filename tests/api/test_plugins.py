"""GET /v1/plugins tells what was found, and what is wrong with it."""

from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from openkimi import CONTRACT_VERSION, KimiEngine, PluginError, Provider, hookimpl
from openkimi.testing import gateway


def written_for(contract: int) -> Any:
    def register_backends() -> list[Provider[Any]]:
        return [Provider("parrot", open=None, contract=contract)]  # type: ignore[arg-type]

    return SimpleNamespace(__name__="parrots", register_backends=hookimpl(register_backends))


async def listed(*plugins: Any) -> dict[str, Any]:
    async with gateway({}, plugins=plugins) as url, aiohttp.ClientSession(url) as http:
        async with http.get("/v1/plugins") as response:
            assert response.status == 200
            body = await response.json()
    assert body["object"] == "list"
    return {plugin["id"]: plugin for plugin in body["data"]}


async def test_plugins_are_listed_with_what_they_offer() -> None:
    """Each plugin is there with its distribution, its hooks and its kinds by role."""
    found = await listed()

    assert found["mpr"]["kinds"].keys() == {"sampler", "synthesizer"}
    assert found["mpr"]["distribution"] == "openkimi"
    assert (found["scripted"]["state"], found["scripted"]["reason"]) == ("loaded", None)
    assert found["openkimi.testing.fakes"]["hooks"] == ["register_embedders", "register_retrievers"]


@pytest.mark.parametrize(
    ("contract", "remedy"),
    [
        (CONTRACT_VERSION + 1, "install a newer openkimi"),
        (CONTRACT_VERSION - 1, "install a newer version of the plugin"),
    ],
)
async def test_a_plugin_for_another_contract_is_named_everywhere(contract: int, remedy: str) -> None:
    """The list, the log and the error for its kind say which contract a plugin wants, and the remedy."""
    with capture_logs() as lines:
        found = await listed(written_for(contract))
    with pytest.raises(PluginError) as raised:
        _ = KimiEngine(llm_config={"type": "parrot"}, plugins=[written_for(contract)]).config

    [line] = [line for line in lines if line["event"] == "plugin_failed"]
    for told in (found["parrots"]["reason"], line["reason"], raised.value.message):
        assert f"written for contract {contract}" in told
        assert remedy in told
    assert (found["parrots"]["state"], found["parrots"]["kinds"]) == ("failed", {})
    assert raised.value.message.startswith("llm.type: no plugin offers the backend 'parrot'")
