"""Runs test suites that others wrote against a running gateway: ``just compat [openai] [langchain] …``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

from environment import Environment
from gateway import serving

HERE = Path(__file__).parent
NPM_PACKAGE = "openai@6.49.0"
KEY = "a-key-of-the-suites"
PYTEST = ("-m", "pytest", "-q", "-p", "expected_failures")
OURS = ("-c", "pytest.ini", "--confcutdir", ".")

RESOURCES = ("chat/test_completions", "test_completions", "test_embeddings", "test_models", "test_responses")
SERVED = "create or (Models and (list or retrieve))"

CALLS = [
    {"name": "magic_function", "arguments": {"input": 3}},
    {"name": "magic_function_no_args"},
    {"name": "greeting_generator", "arguments": {"answer_style": "Pirate"}},
    {
        "name": "unicode_customer",
        "arguments": {"customer_name": "你好 こんにちは", "description": "a company"},
    },
    {"name": "get_weather", "arguments": {"location": "San Francisco, CA"}},
]
"""What a model that understands would call in LangChain's suite, from the tools that a test offers."""
JOKE = '{"setup": "What do cats read?", "punchline": "The mewspaper."}'


def openai(venv: Environment) -> None:
    """Run the openai package's own tests of the resources that the gateway serves."""
    tests = [f"tests/api_resources/{resource}.py" for resource in RESOURCES]
    with serving() as url:
        venv.python(
            *(*PYTEST, "-o", "addopts=", *tests, "-k", SERVED),
            cwd=venv.sources("openai"),
            environ={"TEST_API_BASE_URL": f"{url}/v1"},
        )


def langchain(venv: Environment) -> None:
    """Run LangChain's integration tests of chat models and embeddings through langchain-openai."""
    with serving(tool_calls=CALLS) as url, serving(reply=JOKE) as joking:
        venv.python(
            *(*PYTEST, *OURS, "langchain_suite.py"),
            cwd=HERE,
            environ={"OPENKIMI_URL": f"{url}/v1", "OPENKIMI_JOKING_URL": f"{joking}/v1"},
        )


def schemathesis(venv: Environment) -> None:
    """Check the OpenAPI document, then the answers to what it allows and to what it does not."""
    config = tomllib.loads((HERE / "expected_failures.toml").read_text("utf-8"))
    with serving(KEY) as url:
        asked = urllib.request.Request(f"{url}/schema/openapi.json", headers={"X-Api-Key": KEY})
        document = venv.path / "openapi.json"
        with urllib.request.urlopen(asked) as answer:
            document.write_bytes(answer.read())
        venv.python("-m", "openapi_spec_validator", str(document))
        venv.python(
            *("-m", "schemathesis.cli", "run", str(document), "--url", url, "--checks", "all", "--seed", "1"),
            *("--header", f"Authorization: Bearer {KEY}"),
            *("--exclude-checks", ",".join(config["schemathesis"]), "--max-examples", "100"),
            cwd=venv.path,
        )


def llama_index(venv: Environment) -> None:
    """Try LlamaIndex's client of OpenAI-like servers."""
    with serving(tool_calls=CALLS) as url:
        venv.python(*PYTEST, *OURS, "llama_index_client.py", cwd=HERE, environ={"OPENKIMI_URL": f"{url}/v1"})


def node(venv: Environment) -> None:
    """Try the openai package of npm, where Node.js is there."""
    subprocess.run(["npm", "install", "--prefix", venv.path, "--no-save", NPM_PACKAGE], check=True)
    script = shutil.copy(HERE / "node_client.mjs", venv.path)
    with serving(KEY, tool_calls=CALLS) as url:
        environ = {**os.environ, "BASE_URL": f"{url}/v1", "API_KEY": KEY}
        subprocess.run(["node", script], check=True, env=environ)


SUITES = {
    "openai": openai,
    "langchain": langchain,
    "llama_index": llama_index,
    "schemathesis": schemathesis,
    "node": node,
}
EVERYWHERE = [name for name in SUITES if name != "node"]


def main(names: list[str]) -> int:
    """Run the named suites, or those that need nothing but Python, and tell which of them failed."""
    failed = []
    for name in names or EVERYWHERE:
        print(f"-- {name} --", flush=True)
        try:
            SUITES[name](Environment(name))
        except subprocess.CalledProcessError as error:
            print(f"-- {name}: failed with status {error.returncode} --", flush=True)
            failed.append(name)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
