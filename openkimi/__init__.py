"""OpenKimi: a local gateway that answers from documents longer than the model's window.

Everything that is exported here is public and stable, for users and for authors of plugins.
"""

from __future__ import annotations

import openkimi.interrupting  # noqa: F401 - before all that takes its time

# isort: split

from importlib.metadata import version

from openkimi.app_context import AppContext
from openkimi.contracts import (
    CONTRACT_VERSION,
    Backend,
    Candidate,
    ContextSampler,
    Embedder,
    Feature,
    Generate,
    Processor,
    Retriever,
    Synthesis,
    Synthesizer,
    Vectors,
)
from openkimi.diagnosis import Finding
from openkimi.documents import (
    ANONYMOUS,
    Chunk,
    Document,
    DocumentInfo,
    DocumentState,
    Hit,
    Query,
    Sentence,
)
from openkimi.engine import KimiEngine
from openkimi.errors import (
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    ConfigError,
    ContextOverflow,
    DocumentNotFound,
    DocumentPreloaded,
    OpenKimiError,
    PluginError,
    RequestError,
    StorageError,
    StorageFull,
    UnreadableFile,
    UnsupportedFile,
    UnsupportedParameter,
    UpstreamError,
)
from openkimi.hookspecs import PUBLIC, hookimpl
from openkimi.messages import (
    Delta,
    FinishReason,
    GenerateRequest,
    ImagePart,
    Message,
    Part,
    ResponseFormat,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    TopLogprob,
    Usage,
)
from openkimi.progress import Progress, report_progress
from openkimi.providers import NoOptions, OpenContext, Provider
from openkimi.secrets import Secret
from openkimi.sections import parse_size
from openkimi.statistics import Statistics
from openkimi.stopping import StopFilter
from openkimi.support import Claim, Evidence, find_support
from openkimi.wrapping import BackendWrapper

__version__ = version("openkimi")

__all__ = [
    "ANONYMOUS",
    "CONTRACT_VERSION",
    "PUBLIC",
    "AppContext",
    "Backend",
    "BackendError",
    "BackendTimeout",
    "BackendUnavailable",
    "BackendWrapper",
    "Candidate",
    "Chunk",
    "Claim",
    "ConfigError",
    "ContextOverflow",
    "ContextSampler",
    "Delta",
    "Document",
    "DocumentInfo",
    "DocumentNotFound",
    "DocumentPreloaded",
    "DocumentState",
    "Embedder",
    "Evidence",
    "Feature",
    "Finding",
    "FinishReason",
    "Generate",
    "GenerateRequest",
    "Hit",
    "ImagePart",
    "KimiEngine",
    "Message",
    "NoOptions",
    "OpenContext",
    "OpenKimiError",
    "Part",
    "PluginError",
    "Processor",
    "Progress",
    "Provider",
    "Query",
    "RequestError",
    "ResponseFormat",
    "Retriever",
    "Secret",
    "Sentence",
    "Statistics",
    "StopFilter",
    "StorageError",
    "StorageFull",
    "Synthesis",
    "Synthesizer",
    "TextPart",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolChoice",
    "TopLogprob",
    "UnreadableFile",
    "UnsupportedFile",
    "UnsupportedParameter",
    "UpstreamError",
    "Usage",
    "Vectors",
    "__version__",
    "find_support",
    "hookimpl",
    "parse_size",
    "report_progress",
]
