"""LangChain's integration tests, through langchain-openai."""

import os
from typing import Any

from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

KEY = "none"


class OpenKimi(ChatModelIntegrationTests):
    """What is said of the model in each kind of test."""

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": "scripted",
            "base_url": os.environ["OPENKIMI_URL"],
            "api_key": KEY,
            "stream_usage": True,
        }

    @property
    def model_override_value(self) -> str:
        return "another-name"


class TestChat(OpenKimi):
    """Over chat completions; structured output by schema."""


class TestChatCallingFunctions(OpenKimi):
    """Structured output by a function call."""

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "function_calling"}


class TestResponses(OpenKimi):
    """Over the Responses API."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "use_responses_api": True}


class TestJsonMode(OpenKimi):
    """A model that answers in JSON of its own accord."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "base_url": os.environ["OPENKIMI_JOKING_URL"]}

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def supports_json_mode(self) -> bool:
        return True


class TestEmbeddings(EmbeddingsIntegrationTests):
    """Texts are sent as they are: counting tokens would fetch a vocabulary from the internet."""

    @property
    def embeddings_class(self) -> type[OpenAIEmbeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"base_url": os.environ["OPENKIMI_URL"], "api_key": KEY, "check_embedding_ctx_length": False}
