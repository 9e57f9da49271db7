"""Who may connect: addresses, host names, web pages, and what proxies say."""

from typing import Any

import pytest

from openkimi import ConfigError
from openkimi.access import plain_address
from openkimi.config import build_config

HELLO = {"messages": [{"role": "user", "content": "Hello?"}]}
KEY = "sk-alice-0123456789abcdef"
PAGE = "https://app.example.com"


async def get(server: Any, path: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with server.http.get(path, headers=named) as response:
        body = await response.json() if response.content_type == "application/json" else await response.text()
        return response.status, body, {name.lower(): value for name, value in response.headers.items()}


# Addresses


@pytest.mark.parametrize("path", ["/v1/models", "/health", "/nowhere", "/schema"])
async def test_an_address_that_is_not_allowed_gets_nothing(gateway: Any, path: str) -> None:
    """Every path answers 403 in OpenAI's shape, those too that do not exist."""
    async with gateway({"allowed_ips": ["10.0.0.0/8", "::1"]}) as server:
        status, body, headers = await get(server, path)

    assert status == 403
    assert body["error"]["type"] == "permission_error"
    assert body["error"]["code"] == "address_not_allowed"
    assert headers["x-request-id"]


@pytest.mark.parametrize("allowed", ["127.0.0.1", "127.0.0.0/8", "0.0.0.0/0"])
async def test_an_allowed_address_comes_in(gateway: Any, allowed: str) -> None:
    """Addresses and networks can be listed."""
    async with gateway({"allowed_ips": ["fd00::/8", allowed]}, reply="Yes.") as server:
        assert (await server.chat(HELLO))[0] == 200


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("unknown", None),
        ("", None),
    ],
)
def test_an_address_has_one_form(text: str, plain: str | None) -> None:
    """A listener on :: sees IPv4 addresses in IPv6's clothes."""
    assert str(plain_address(text)) == str(plain)


# Proxies


@pytest.mark.parametrize(
    ("trusted", "forwarded", "status"),
    [
        (["127.0.0.1"], "10.1.2.3", 200),
        (["127.0.0.1"], "10.1.2.3:1234", 200),
        (["127.0.0.1"], "::ffff:10.1.2.3", 200),
        (["127.0.0.1"], "192.0.2.1", 403),
        (["127.0.0.1"], "10.1.2.3, 192.0.2.1", 403),
        (["127.0.0.0/8", "192.0.2.0/24"], "10.1.2.3, 192.0.2.1", 200),
        (["127.0.0.1"], "nonsense", 403),
        ([], "10.1.2.3", 403),
        (["10.9.9.9"], "10.1.2.3", 403),
    ],
)
async def test_only_a_trusted_proxy_is_believed(
    gateway: Any, trusted: list[str], forwarded: str, status: int
) -> None:
    """X-Forwarded-For counts from the last address that no trusted proxy has, and not at all from others."""
    async with gateway({"allowed_ips": ["10.0.0.0/8"], "trusted_proxies": trusted}) as server:
        got, _, _ = await get(server, "/health", X_Forwarded_For=forwarded)

    assert got == status


async def test_forwarded_addresses_on_several_lines_are_one_list(gateway: Any) -> None:
    """A proxy may add a line of its own: its client counts, not the inner proxy on the last line."""
    lines = [("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "10.9.9.9")]
    trusted = ["127.0.0.1", "10.9.9.9"]

    async with gateway({"allowed_ips": ["10.0.0.0/8"], "trusted_proxies": trusted}) as server:
        async with server.http.get("/health", headers=lines) as response:
            status = response.status

    assert status == 403


# Host names


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("api.example.com", 200),
        ("API.example.com:8000", 200),
        ("a.b.internal", 200),
        ("internal", 400),
        ("evil.example.com", 400),
        ("api.example.com.evil.net", 400),
        ("[::1]:8000", 200),
        ("[::2]", 400),
        ("127.0.0.1", 400),
    ],
)
async def test_only_listed_host_names_are_answered(gateway: Any, host: str, status: int) -> None:
    """A page that points its own name at this address (DNS rebinding) is refused, with or without a port."""
    async with gateway({"allowed_hosts": ["api.example.com", "*.internal", "::1"]}) as server:
        got, body, headers = await get(server, "/v1/models", Host=host)

    assert got == status
    assert headers["x-request-id"]
    if status == 400:
        assert body["error"]["code"] == "host_not_allowed"


async def test_probes_call_by_any_name(gateway: Any) -> None:
    """An orchestrator asks /health by an address that nobody could have listed."""
    async with gateway({"allowed_hosts": ["api.example.com"]}) as server:
        assert (await get(server, "/health"))[0] == 200


# Web pages


async def test_a_preflight_needs_no_key(gateway: Any) -> None:
    """A browser asks first, without the key, and is told that the key's header may be sent."""
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
    }
    async with gateway({"api_keys": [KEY], "cors_origins": [PAGE]}) as server:
        async with server.http.options("/v1/chat/completions", headers=asked) as response:
            status, headers = response.status, response.headers

    assert status == 204
    assert headers["Access-Control-Allow-Origin"] == PAGE
    assert "POST" in headers["Access-Control-Allow-Methods"]
    allowed = headers["Access-Control-Allow-Headers"].lower()
    assert all(name in allowed for name in ("authorization", "content-type", "x-stainless-os"))


async def test_pages_read_errors_and_streams(gateway: Any) -> None:
    """The headers that let a page read an answer stand on errors of every kind and on streams."""
    config = {"api_keys": [KEY], "cors_origins": [PAGE], "rate_limit": {"requests_per_minute": 2}}
    got = {}
    async with gateway(config, reply="Yes.") as server:
        for path in ("/v1/chat/completions", "/nowhere", "/v1/models"):
            async with server.http.get(path, headers={"Origin": PAGE}) as response:
                got[response.status] = response.headers
        for _ in range(3):
            async with server.http.post(
                "/v1/chat/completions",
                json={**HELLO, "stream": True},
                headers={"Origin": PAGE, "Authorization": f"Bearer {KEY}"},
            ) as response:
                await response.read()
                got[response.status] = response.headers

    assert set(got) == {200, 401, 404, 405, 429}
    for headers in got.values():
        assert headers["Access-Control-Allow-Origin"] == PAGE
        assert "x-request-id" in headers["Access-Control-Expose-Headers"]
        assert "x-ratelimit-remaining-tokens" in headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (["*"], "https://anything.example", "*"),
        ([PAGE], "https://evil.example", None),
        ([PAGE], "https://app.example.com.evil.example", None),
        ([PAGE], "https://appXexample.com", None),
        ([], PAGE, None),
    ],
)
async def test_other_pages_are_not_let_in(
    gateway: Any, origins: list[str], origin: str, allowed: str | None
) -> None:
    """Only a listed origin gets the header; without any listed nothing of CORS is sent."""
    async with gateway({"cors_origins": origins}) as server:
        _, _, headers = await get(server, "/health", Origin=origin)

    assert headers.get("access-control-allow-origin") == allowed


# Every answer


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/nowhere", "/schema/openapi.json"])
async def test_every_answer_has_a_request_id(gateway: Any, path: str) -> None:
    """The caller's own id comes back once, also where there is no route."""
    async with gateway() as server:
        async with server.http.get(path, headers={"X-Request-Id": "mine-1"}) as response:
            assert response.headers.getall("X-Request-Id") == ["mine-1"]


# What is wrong is said at the start


@pytest.mark.parametrize(
    ("server", "message"),
    [
        ({"allowed_ips": ["10.0.0.0/33"]}, "server.allowed_ips[0]: expected an address or a network"),
        ({"allowed_ips": ["::1", "localhost"]}, "server.allowed_ips[1]: expected an address or a network"),
        ({"allowed_ips": ["10.0.0.1/8"]}, "has host bits set"),
        ({"trusted_proxies": ["*"]}, "server.trusted_proxies[0]: expected an address or a network"),
        ({"allowed_hosts": ["http://a.b"]}, "server.allowed_hosts: expected host names without a port"),
        ({"allowed_hosts": ["a.b:80"]}, "server.allowed_hosts: expected host names without a port"),
        ({"cors_origins": ["app.example.com"]}, "server.cors_origins: expected origins like https://"),
        ({"cors_origins": ["https://a.b/"]}, "server.cors_origins: expected origins like https://"),
        ({"rate_limit": {"tokens_per_minute": "many"}}, "server.rate_limit.tokens_per_minute: expected int"),
        ({"rate_limit": {"per_hour": 5}}, "server.rate_limit.per_hour: unknown option"),
        ({"tls": {"certificate": "a.pem"}}, "server.tls.key: required, but not given"),
    ],
)
def test_a_wrong_value_is_named(server: dict[str, Any], message: str) -> None:
    """The error names the place, and what is expected there."""
    with pytest.raises(ConfigError) as caught:
        build_config({"server": server})

    assert message in caught.value.message
