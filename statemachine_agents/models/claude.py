"""Ask Claude through the official SDK.

Rules.  1. Request n is a prefix of request n+1: nothing here is placed into `messages`;
`tools`, `system` and `tool_choice` never change within an agent.  2. What was received is what
is returned, so that it can be sent back verbatim.  3. Whatever stops an answer is a `ModelError`;
a stream that breaks after it began is a reply with `cut`.
Not here: prompts (`turn.prompt`), what a model supports (`capabilities`), putting a stream together
(`streamed`), naming errors (`faults`).

The SDK costs about a second to import, so it is imported by the first request, in a thread.

Source: docs/claude-api, sections 0 to 5.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Literal

import attrs

from statemachine_agents.errors import ModelError
from statemachine_agents.models.capabilities import DEFAULT_MODEL, capabilities, note_role
from statemachine_agents.models.faults import model_error, no_answer
from statemachine_agents.models.streamed import Gathering, reply_of
from statemachine_agents.turn.ports import Layout, ModelReply, ModelRequest

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

__all__ = ["LONGEST_UNSTREAMED", "Claude"]

LONGEST_UNSTREAMED = 21_333
"""Largest `max_tokens` asked for without streaming: beyond it an answer may take over ten minutes,
and networks drop a connection that is silent for so long (the SDK refuses it for that reason)."""

_CONNECT_SECONDS = 5.0


@attrs.define(eq=False)
class Claude:
    """A `Model` that asks Claude.

    Args:
        model: id to ask when an agent names none.
        api_key: None lets the SDK look for ANTHROPIC_API_KEY and its other sources.
        base_url: None lets the SDK decide (ANTHROPIC_BASE_URL, else the public API).
        max_retries: of the SDK, for 408, 409, 429, 5xx and connections that fail.
        timeout: seconds for one attempt to answer; connecting has five.
        stream: ask for a stream always, not only when somebody listens to the text.
        client: an `AsyncAnthropic` (or Bedrock, Vertex, ...) to use as it is, whatever the
            arguments above say but `timeout`. It stays the caller's: `aclose` does not close it,
            and it is good for one event loop.
        conversation_ids: give the run id to the SDK's OpenTelemetry spans as their conversation id.
        cache_ttl: lifetime of the cached tools and system text, `5m` (when None) or `1h`: worth its
            price when runs wait for people longer than five minutes.

    Example:
        >>> Claude("claude-opus-5-5", api_key="secret")
        Claude(model='claude-opus-5-5', max_retries=2, timeout=600.0, stream=False)
    """

    model: str = DEFAULT_MODEL
    _api_key: str | None = attrs.field(default=None, kw_only=True, repr=False)
    _base_url: str | None = attrs.field(default=None, kw_only=True, repr=False)
    max_retries: int = attrs.field(default=2, kw_only=True)
    timeout: float = attrs.field(default=600.0, kw_only=True)
    stream: bool = attrs.field(default=False, kw_only=True)
    _client: AsyncAnthropic | None = attrs.field(default=None, kw_only=True, repr=False)
    conversation_ids: bool = attrs.field(default=True, kw_only=True, repr=False)
    cache_ttl: Literal["5m", "1h"] | None = attrs.field(
        default=None, kw_only=True, repr=False, validator=attrs.validators.in_((None, "5m", "1h"))
    )
    # Connections belong to the event loop they were opened in, and `run_sync` makes one each time.
    _clients: dict[asyncio.AbstractEventLoop, AsyncAnthropic] = attrs.field(
        init=False, factory=dict, repr=False
    )

    def layout(self, model: str | None) -> Layout:
        """Return how the model (None: this one's default) wants its prompt laid out."""
        name = model or self.model
        return Layout(name, note_role(name), capabilities(name).context_tokens)

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> ModelReply:
        """Ask once (the SDK's retries included).

        Args:
            request: sent as it is; its lists are not changed.
            on_text: gets the text piece by piece; makes the reply a streamed one.

        Raises:
            ModelError: no answer, or an error in the middle of one; `facts["kind"]` says which.
        """
        model = request.model or self.model
        if "anthropic" not in sys.modules:
            await asyncio.to_thread(importlib.import_module, "anthropic")
        await self._drop_ended()
        streamed = self.stream or on_text is not None or request.max_tokens > LONGEST_UNSTREAMED
        wanted = self._wanted(request, model)
        client: Any = None
        try:
            client = self._traced(self._client_here(), request.run)
            answer = await client.messages.create(
                **wanted, stream=streamed, timeout=self._patience()
            )
        except Exception as error:
            raise self._error(error, model, client) from error
        if streamed:
            return await self._gathered(answer, model, client, on_text)
        return self._whole(answer, model)

    async def aclose(self) -> None:
        """Close the connections of this event loop and of loops that have ended.

        The next request opens new ones, so this is also what to call at the end of each loop.
        """
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()
        await self._drop_ended()

    async def _drop_ended(self) -> None:
        for loop in [loop for loop in list(self._clients) if loop.is_closed()]:
            client = self._clients.pop(loop, None)
            # Connections of a loop that has ended can no longer say goodbye; they are dropped.
            with contextlib.suppress(RuntimeError):
                if client is not None:
                    await client.close()

    def _wanted(self, request: ModelRequest, model: str) -> dict[str, Any]:
        wanted: dict[str, Any] = {
            "model": model,
            "max_tokens": request.max_tokens,
            "messages": request.messages,
            # The automatic mark on the last block: it moves with the request, outside of it.
            "cache_control": {"type": "ephemeral"},
        }
        if request.tools:
            wanted["tools"] = request.tools
            # Constant: changing it drops the cache, forcing it is refused by current models.
            wanted["tool_choice"] = {"type": "auto"}
        if request.system:
            mark: dict[str, str] = {"type": "ephemeral"}
            if self.cache_ttl is not None:
                mark["ttl"] = self.cache_ttl
            last = {**request.system[-1], "cache_control": mark}
            wanted["system"] = [*request.system[:-1], last]
        # Effort came with adaptive thinking; models before it refuse the field.
        if request.effort is not None and "adaptive" in capabilities(model).thinking:
            wanted["output_config"] = {"effort": request.effort}
        return wanted

    def _patience(self) -> Any:
        import httpx2

        return httpx2.Timeout(self.timeout, connect=min(_CONNECT_SECONDS, self.timeout))

    def _client_here(self) -> Any:
        if self._client is not None:
            return self._client
        import anthropic

        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = anthropic.AsyncAnthropic(
                api_key=self._api_key, base_url=self._base_url, max_retries=self.max_retries
            )
            self._clients[loop] = client
        return client

    def _traced(self, client: Any, run: str) -> Any:
        """Name the run on the client's spans, where spans go anywhere at all."""
        options = getattr(client, "open_telemetry", None)  # not in every SDK we allow
        if not (self.conversation_ids and run and options) or "conversation_id" in options:
            return client
        if "tracer_provider" not in options:
            from opentelemetry import trace

            # Only a real provider keeps spans; without one a copy of the client is for nothing.
            if isinstance(
                trace.get_tracer_provider(), trace.ProxyTracerProvider | trace.NoOpTracerProvider
            ):
                return client
        return client.with_options(open_telemetry={**options, "conversation_id": run})

    def _error(self, error: Exception, model: str, client: Any) -> ModelError:
        secrets = (
            self._api_key,
            getattr(client, "api_key", None),
            getattr(client, "auth_token", None),
        )
        return model_error(error, model=model, secrets=secrets)

    def _whole(self, answer: Any, model: str) -> ModelReply:
        # A proxy that answers 200 with a page of HTML makes the SDK return that page as text.
        dump = getattr(answer, "model_dump", None)
        message = dump(mode="json", exclude_unset=True, warnings=False) if dump else None
        if not isinstance(message, dict) or not isinstance(message.get("content"), list):
            raise no_answer(model, "server", "what came is no message; check the base URL")
        return reply_of(message)

    async def _gathered(
        self, answer: Any, model: str, client: Any, on_text: Callable[[str], None] | None
    ) -> ModelReply:
        gathering = Gathering()
        broken: Exception | None = None
        async with answer:
            events: AsyncIterator[Any] = aiter(answer)
            while True:
                # Only the wire's own errors are caught: those of `on_text` are its caller's.
                try:
                    event = await anext(events)
                    said = gathering.add(_plain(event))
                except StopAsyncIteration:
                    break
                except Exception as error:  # noqa: BLE001 - the SDK lets foreign ones through
                    broken = error
                    break
                if said and on_text is not None:
                    on_text(said)
        if broken is not None and _said_by_api(broken):
            raise self._error(broken, model, client) from broken
        if gathering.begun:
            return gathering.reply()
        if broken is not None:
            raise self._error(broken, model, client) from broken
        raise no_answer(model, "transport", "the stream ended before anything arrived")


def _plain(event: Any) -> dict[str, Any]:
    dump = event.model_dump(mode="json", exclude_unset=True, warnings=False)
    return dump if isinstance(dump, dict) else {}


def _said_by_api(error: Exception) -> bool:
    import anthropic

    return isinstance(error, anthropic.APIStatusError)
