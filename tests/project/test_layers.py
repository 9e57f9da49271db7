"""Who may import whom: the core no plugin, a plugin only what openkimi exports."""

import ast
from pathlib import Path

import pytest

import openkimi

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "openkimi").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins").rglob("*.py"))
LIBRARIES = {"openkimi_gguf"}
LAYERS = {
    "openkimi.api": set(),
    "openkimi.engine": {"openkimi.api"},
    "openkimi.pipeline": {"openkimi.api", "openkimi.engine"},
    "openkimi.contracts": {"openkimi.api", "openkimi.engine", "openkimi.pipeline", "openkimi.plugins"},
    "openkimi.messages": {"openkimi.api", "openkimi.engine", "openkimi.pipeline", "openkimi.contracts"},
}


def imports(path: Path) -> list[tuple[str, str]]:
    """List what a file imports, as modules with the names taken from them."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_imports_no_plugin(path: Path) -> None:
    """No module of the core names a plugin, nor the libraries that only plugins need."""
    modules = [module for module, _ in imports(path)]

    assert not [module for module in modules if module.startswith(("openkimi_", "plugins"))]
    assert not [
        module for module in modules if module.partition(".")[0] in {"lancedb", "llama_cpp", "aiohttp"}
    ]


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_plugin_uses_only_what_is_exported(path: Path) -> None:
    """First-party plugins import from openkimi what a stranger could, and of each other a library at most."""
    own = path.relative_to(ROOT / "plugins").parts[0]

    for module, name in imports(path):
        if module.partition(".")[0] == "openkimi":
            assert module == "openkimi", f"{module} is not public"
            assert name in openkimi.__all__, f"openkimi does not export {name}"
        if module.startswith("openkimi_"):
            assert module.partition(".")[0] in {own, *LIBRARIES}, f"{module} is another plugin"


@pytest.mark.parametrize(("lower", "uppers"), LAYERS.items(), ids=LAYERS)
def test_imports_point_downwards(lower: str, uppers: set[str]) -> None:
    """The API knows the pipeline, the pipeline the contracts, and never the other way."""
    paths = [path for path in CORE if ".".join(path.relative_to(ROOT).with_suffix("").parts) == lower]

    for path in paths:
        for module, _ in imports(path):
            assert not module.startswith(tuple(uppers) or ("nothing",)), f"{path}: {module}"


def test_only_the_api_knows_http() -> None:
    """Litestar and uvicorn are imported by openkimi.api, and by the test kit that serves."""
    for path in CORE:
        if "api" not in path.parts and "testing" not in path.parts:
            modules = {module.partition(".")[0] for module, _ in imports(path)}
            assert not modules & {"litestar", "uvicorn"}, path
