"""A string that does not show itself in logs, errors or dumps."""

from __future__ import annotations


class Secret:
    """Holds a key or a password; only :meth:`reveal` gives it away."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def of(cls, value: object) -> Secret:
        """Take a value of the config.

        Raises:
            ValueError: it is no string.
        """
        if isinstance(value, str):
            return cls(value)
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('…')"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))
