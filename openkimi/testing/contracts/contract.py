"""What the suites of all kinds have in common: how a component is opened, and how a promise is tried."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import msgspec
import pytest

from openkimi.contracts import CONTRACT_VERSION, Embedder
from openkimi.errors import ConfigError
from openkimi.options import convert_options
from openkimi.providers import Provider
from openkimi.testing.opening import open_component

P = ParamSpec("P")


def promise(
    test: Callable[Concatenate[Any, Any, P], Awaitable[None]],
) -> Callable[..., None]:
    """Make an ordinary test of a coroutine function that gets the open component as its first argument.

    It runs in an event loop that no plugin of pytest knows, and fails when it takes longer than ``patience``.
    """

    @functools.wraps(test)
    def tried(self: Any, *args: P.args, **kwargs: P.kwargs) -> None:
        async def opened() -> None:
            async with asyncio.timeout(self.patience) as waiting:
                try:
                    async with self._opened() as component:
                        await test(self, component, *args, **kwargs)
                except asyncio.CancelledError:
                    if waiting.expired():
                        pytest.fail(f"it takes longer than patience = {self.patience:g} seconds")
                    raise

        self.runner.run(opened())

    suite, _, *others = inspect.signature(test).parameters.values()
    tried.__signature__ = inspect.Signature([suite, *others])  # type: ignore[attr-defined]
    return tried


class Shared:
    """A component that stays open from test to test; a task of its own enters and leaves its context."""

    def __init__(self, manager: AbstractAsyncContextManager[Any]) -> None:
        self._release = asyncio.Event()
        self._opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(manager))

    async def component(self) -> Any:
        """Return it when it is open."""
        await asyncio.wait([self._task, self._opened], return_when=asyncio.FIRST_COMPLETED)
        return self._opened.result() if self._opened.done() else self._task.result()

    async def close(self) -> None:
        """Close it."""
        self._release.set()
        await asyncio.wait([self._task])

    async def _live(self, manager: AbstractAsyncContextManager[Any]) -> None:
        async with manager as component:
            self._opened.set_result(component)
            await self._release.wait()


class Contract:
    """The promises that hold for every kind. Set ``provider``, and ``options`` where it needs some.

    Each test opens the component anew; ``shared`` True opens it once for all of them, where that takes long.
    ``folder`` is an empty folder, another for each test. ``patience`` is how many seconds a test may take,
    ``soon`` how many a cancelled call, and ``longest_pause`` how many the event loop may stand still.
    Override :meth:`open` where opening a provider is not enough, such as to start a server for it first.
    """

    provider: Provider[Any]
    contract: type[Any] = object
    embedder: Embedder | None = None
    folder: Path
    shared = False
    patience = 60.0
    soon = 5.0
    longest_pause = 1.0

    runner: asyncio.Runner
    kept: Shared | None = None

    @property
    def options(self) -> Mapping[str, Any]:
        """What the config says beside the kind; a class attribute will do."""
        return {}

    def open(self) -> AbstractAsyncContextManager[Any]:
        """Open the component that is tried."""
        return open_component(self.provider, embedder=self.embedder, **self.options)

    @pytest.fixture(autouse=True)
    def _has_a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    @classmethod
    def setup_class(cls) -> None:
        """Make the event loop of the tests."""
        cls.kept = None
        cls.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    @classmethod
    def teardown_class(cls) -> None:
        """Close what the tests shared, and the loop."""
        with cls.runner:
            if cls.kept is not None:
                cls.runner.run(cls.kept.close())

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Any]:
        if not self.shared:
            async with self.open() as component:
                yield component
            return
        kept = type(self).kept
        if kept is None:
            kept = type(self).kept = Shared(self.open())
        yield await kept.component()

    @promise
    async def test_it_opens(self, component: Any) -> None:
        """What the provider opens implements the contract."""
        assert isinstance(component, self.contract)

    @promise
    async def test_it_opens_more_than_once(self, component: Any) -> None:
        """A second one can be opened beside the first, and again when both are closed."""
        async with self.open() as second:
            assert isinstance(second, self.contract)

    def test_it_says_which_contract_it_was_written_for(self) -> None:
        """A plugin declares the version of the contracts, so that another one is refused with a message."""
        assert self.provider.contract == CONTRACT_VERSION

    def test_its_name_can_be_written_in_a_config(self) -> None:
        """The kind and its aliases are words without white space around them."""
        for name in (self.provider.kind, *self.provider.aliases):
            assert name == name.strip() != ""

    def test_a_wrong_option_is_named(self) -> None:
        """An option that the kind does not have is refused by its name."""
        with pytest.raises(ConfigError, match="no_such_option"):
            convert_options({**self.options, "no_such_option": 1}, self.provider.config, where="section")

    def test_every_option_is_described(self) -> None:
        """An option's description stands in the JSON Schema that editors read, also within lists."""
        [schema], parts = msgspec.json.schema_components(
            [self.provider.config], schema_hook=lambda _: {"type": "string"}
        )
        own = parts[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        bare = [name for name, option in own.get("properties", {}).items() if "description" not in option]

        assert not bare, "write Annotated[type, msgspec.Meta(description=...)]"

    def test_options_compare_by_value(self) -> None:
        """The same options are equal, so that a component is opened once however many ask for it."""
        one, other = (convert_options(self.options, self.provider.config, where="section") for _ in range(2))

        assert one == other
        assert self.provider.config.__struct_config__.frozen, "write class ...(msgspec.Struct, frozen=True)"
