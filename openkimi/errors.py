"""What can go wrong, as one tree that callers and plugin authors catch.

    OpenKimiError
    ├── ConfigError              the configuration; says where and what to do
    │   └── PluginError          a plugin that is missing, broken or clashes
    ├── OpeningError             a plugin's component could not be opened, for a reason of its own
    ├── RequestError             the caller's request; ``param`` names the field
    │   ├── UnsupportedParameter a parameter that the chosen backend cannot serve
    │   ├── ContextOverflow      what may not be shortened is larger than the window
    │   ├── DocumentNotFound     a document that this tenant does not have
    │   ├── DocumentPreloaded    a document of all tenants, which none of them may delete
    │   ├── UnreadableFile       a file that is damaged, encrypted, empty or too large to convert
    │   └── UnsupportedFile      a file of a format that is not read here
    ├── BackendError             the model or the server behind it failed
    │   ├── BackendUnavailable   not reachable, or still busy; worth a retry
    │   ├── BackendTimeout       it took longer than allowed
    │   └── UpstreamError        it answered with an HTTP error of its own
    └── StorageError             the document memory failed
        └── StorageFull          it has no room for a document that is to be kept

No class here knows HTTP: :mod:`openkimi.api.errors` maps them to statuses.
"""

from __future__ import annotations


class OpenKimiError(Exception):
    """The base of every error that OpenKimi raises on purpose.

    ``message`` is one line fit for a user: what, where and what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def for_log(self) -> str:
        """What a log may hold above level debug: nothing that could quote a caller's text or key."""
        return self.message


class ConfigError(OpenKimiError):
    """The configuration is wrong."""


class PluginError(ConfigError):
    """A plugin is missing, broken, or offers what another one offers already."""


class OpeningError(OpenKimiError):
    """A component raised what is none of these while it was opened, or while the engine opened with it.

    The message has what it said, which may be fit for the operator only: callers do not see it.
    """


class RequestError(OpenKimiError):
    """The request cannot be served as it is; changing it helps.

    ``param`` is the request field at fault in OpenAI's dotted notation, ``code`` a short machine word.
    """

    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        if code is not None:
            self.code = code


class UnsupportedParameter(RequestError):
    """The chosen backend cannot serve a parameter that would change the answer."""

    code = "unsupported_parameter"


class ContextOverflow(RequestError):
    """What has to stay in the prompt does not fit the model's context window."""

    code = "context_length_exceeded"


class DocumentNotFound(RequestError):
    """This tenant has no document of that id."""

    code = "document_not_found"


class DocumentPreloaded(RequestError):
    """The config preloads the document for every tenant, and only the config can take it away."""

    code = "document_preloaded"


class UnreadableFile(RequestError):
    """A file has a format that is read here, and no text can be had from it."""

    code = "unreadable_file"


class UnsupportedFile(RequestError):
    """A file has a format that is not read here, or not without an extra."""

    code = "unsupported_file"


class BackendError(OpenKimiError):
    """The model, or the server behind it, failed to answer."""


class BackendUnavailable(BackendError):
    """The backend cannot take the request now; ``retry_after`` (seconds) says when to come back."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BackendTimeout(BackendError):
    """The backend took longer than it is allowed to."""


class UpstreamError(BackendError):
    """A server behind the gateway refused the request; ``status`` is its HTTP status."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.retry_after = retry_after

    @property
    def for_log(self) -> str:
        """The status alone: a server's own words may quote what it was sent."""
        return f"the server behind it answered with status {self.status}"


class StorageError(OpenKimiError):
    """The document memory could not be read or written."""


class StorageFull(StorageError):
    """What is kept in the document memory leaves no room for another document that is to be kept."""

    code = "storage_full"
