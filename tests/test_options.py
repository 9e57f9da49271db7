"""Options: every error names its place."""

from typing import Annotated

import msgspec
import pytest

from openkimi import ConfigError, Secret
from openkimi.options import convert_options


class Inner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    depth: int = 0


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    n_ctx: Annotated[int, msgspec.Meta(ge=256)] = 512
    names: list[str] = []
    many: tuple[Inner, ...] = ()
    inner: Inner = Inner()
    maybe: Annotated[Inner | None, msgspec.Meta(description="One in another.")] = None
    api_key: Secret | None = None


class Needy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    api_url: str


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"n_ctx": "4k"}, 'llm.n_ctx: expected int, got str ("4k")'),
        ({"n_ctx": 3}, "llm.n_ctx: expected int >= 256 (3)"),
        ({"names": ["a", 1]}, "llm.names[1]: expected str, got int (1)"),
        ({"nctx": 3}, "llm.nctx: unknown option; did you mean 'n_ctx'?"),
        ({"zzz": 3}, "llm.zzz: unknown option; known: api_key, inner, many, maybe, n_ctx, names"),
        ({"inner": {"dept": 1}}, "llm.inner.dept: unknown option; did you mean 'depth'?"),
        ({"many": [{"dept": 1}]}, "llm.many[0].dept: unknown option; did you mean 'depth'?"),
        ({"maybe": {"dept": 1}}, "llm.maybe.dept: unknown option; did you mean 'depth'?"),
    ],
)
def test_an_error_says_where_and_what(raw: dict[str, object], message: str) -> None:
    """The message has the option's path, what was expected and what was found."""
    with pytest.raises(ConfigError) as caught:
        convert_options(raw, Options, where="llm")

    assert caught.value.message == message


def test_a_missing_option_is_named() -> None:
    """A required option that is not given is named with its section."""
    with pytest.raises(ConfigError, match="llm.api_url: required"):
        convert_options({}, Needy, where="llm")


def test_a_wrong_secret_is_not_shown() -> None:
    """A key of the wrong type does not appear in the message."""
    with pytest.raises(ConfigError) as caught:
        convert_options({"api_key": 123456}, Options, where="llm")

    assert "123456" not in caught.value.message


def test_a_secret_hides_in_every_representation() -> None:
    """Neither the Struct's representation nor an f-string gives a key away."""
    options = convert_options({"api_key": "sk-tell-nobody"}, Options, where="llm")

    assert options.api_key is not None
    assert options.api_key.reveal() == "sk-tell-nobody"
    assert "sk-tell-nobody" not in f"{options} {options.api_key!r} {options.api_key}"
