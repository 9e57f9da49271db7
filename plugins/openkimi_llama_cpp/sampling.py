"""Chooses the next token as a request asks: bias, penalties, grammar, temperature, nucleus, seed."""

from __future__ import annotations

import ctypes
import math
import random
from typing import Any

import numpy as np

from openkimi import BackendError, GenerateRequest
from openkimi_gguf.form import Form
from openkimi_llama_cpp.options import LlamaCppOptions
from openkimi_llama_cpp.vocabulary import Logits, Vocabulary

# llama.cpp reads this seed as "any"; every other 32-bit number is a seed.
_ANY_SEED = 0xFFFFFFFF
# The tokens that penalties look back on.
_WHOLE_ANSWER = 1 << 17
FEW = 512

Candidates = np.ndarray[Any, Any]
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Sampler:
    """Samplers of llama.cpp for one answer; close it to free them."""

    def __init__(
        self,
        library: Any,
        vocabulary: Vocabulary,
        request: GenerateRequest,
        options: LlamaCppOptions,
        form: Form,
    ) -> None:
        """Build the samplers; a lazy grammar holds nothing until :meth:`begin`.

        Raises:
            RequestError: llama.cpp does not accept the grammar.
        """
        self._library = library
        self._size = vocabulary.size
        self._blank = np.zeros(vocabulary.size, _CANDIDATE)
        self._blank["id"] = np.arange(vocabulary.size)
        self._vocabulary = vocabulary
        self._form = form
        spoken = vocabulary.ids(form.dialect.specials) if form.dialect else frozenset[int]()
        silent = [token for token in vocabulary.controls - spoken if not vocabulary.ends(token)]
        self._silent = np.array(silent, np.int64)
        self._grammar = self._waiting = None
        if form.lazy:
            self._waiting = self._parse()
        elif form.grammar is not None:
            self._grammar = self._parse()
        self._adjust, self._choose = self._chain(), self._chain()
        self._plain = not (request.logit_bias or request.presence_penalty or request.frequency_penalty)
        self._least = _least_likely(request, options)
        self._add_adjustments(request)
        self._add_choice(request, options)

    def next(self, logits: Logits) -> int:
        """Choose a token by the logits of the next one, of shape ``(vocabulary,)``; they are not changed.

        Raises:
            BackendError: no token is left that the grammar allows.
        """
        if self._plain and self._grammar is None:
            return self._chosen(self._likely(logits))
        candidates = self._blank.copy()
        candidates["logit"] = logits
        self._apply(self._adjust, candidates)
        if self._grammar is None:
            token = self._chosen(candidates)
        else:
            # A grammar reads control tokens as text, which they are not.
            candidates["logit"][self._silent] = -np.inf
            token = self._chosen(candidates.copy())
            if not self._allowed(candidates["id"] == token, candidates).size:
                token = self._chosen(self._best_allowed(candidates))
            self._library.llama_sampler_accept(self._grammar, token)
        self._library.llama_sampler_accept(self._adjust, token)
        return token

    def begin(self, text: str) -> bool:
        """Let a lazy grammar hold the answer from ``text`` on, written already; False if it does not fit.

        Any other grammar is content with any text.
        """
        if self._waiting is None:
            return True
        for token in self._vocabulary.tokenize(text):
            if not self._fits(token):
                self._library.llama_sampler_free(self._waiting)
                self._waiting = self._parse()
                return False
            # It ends the process over a token that does not fit.
            self._library.llama_sampler_accept(self._waiting, token)
        self._grammar, self._waiting = self._waiting, None
        return True

    def close(self) -> None:
        """Free the samplers."""
        for sampler in (self._adjust, self._choose, self._grammar, self._waiting):
            if sampler is not None:
                self._library.llama_sampler_free(sampler)
        self._adjust = self._choose = self._grammar = self._waiting = None

    def _chain(self) -> Any:
        library = self._library
        return library.llama_sampler_chain_init(library.llama_sampler_chain_default_params())

    def _parse(self) -> Any:
        grammar = (self._form.grammar or "").encode()
        sampler = self._library.llama_sampler_init_grammar(self._vocabulary.handle, grammar, b"root")
        if not sampler:
            raise self._form.unusable("it is too large, or goes round in circles")
        return sampler

    def _likely(self, logits: Logits) -> Candidates:
        """Take the tokens that could be chosen at all: handling every token of a vocabulary is slow."""
        ids = np.flatnonzero(logits >= logits.max() - self._least)
        candidates = np.zeros(ids.size, _CANDIDATE)
        candidates["id"], candidates["logit"] = ids, logits[ids]
        return candidates

    def _fits(self, token: int) -> bool:
        candidate = self._blank[token : token + 1].copy()
        self._apply(self._waiting, candidate)
        return bool(np.isfinite(candidate["logit"][0]))

    def _add_adjustments(self, request: GenerateRequest) -> None:
        library, add = self._library, self._library.llama_sampler_chain_add
        if request.logit_bias:
            pairs = [(token, bias) for token, bias in request.logit_bias.items() if 0 <= token < self._size]
            biases = (library.llama_logit_bias * len(pairs))(*pairs)
            add(self._adjust, library.llama_sampler_init_logit_bias(self._size, len(pairs), biases))
        if request.presence_penalty or request.frequency_penalty:
            add(
                self._adjust,
                library.llama_sampler_init_penalties(
                    self._size, _WHOLE_ANSWER, 1.0, request.frequency_penalty, request.presence_penalty
                ),
            )

    def _add_choice(self, request: GenerateRequest, options: LlamaCppOptions) -> None:
        library, add = self._library, self._library.llama_sampler_chain_add
        if request.temperature <= 0:
            add(self._choose, library.llama_sampler_init_greedy())
            return
        add(self._choose, library.llama_sampler_init_top_k(options.top_k))
        add(self._choose, library.llama_sampler_init_min_p(options.min_p, 1))
        add(self._choose, library.llama_sampler_init_temp(request.temperature))
        add(self._choose, library.llama_sampler_init_top_p(request.top_p, 1))
        seed = random.getrandbits(32) if request.seed is None else request.seed
        add(self._choose, library.llama_sampler_init_dist(seed % _ANY_SEED))

    def _best_allowed(self, candidates: Candidates) -> Candidates:
        """Find what the grammar allows, among the likeliest tokens if it can be: asking of all is slow."""
        few = min(FEW, self._size)
        likeliest = np.argpartition(candidates["logit"], -few)[-few:]
        for selection in (likeliest, slice(None)):
            allowed = self._allowed(selection, candidates)
            if allowed.size:
                return allowed
        raise BackendError("the format, or the tools, leave the model no token to go on with")

    def _allowed(self, selection: Any, candidates: Candidates) -> Candidates:
        selected = candidates[selection].copy()
        self._apply(self._grammar, selected)
        allowed: Candidates = selected[np.isfinite(selected["logit"])]
        return allowed

    def _chosen(self, candidates: Candidates) -> int:
        array = self._apply(self._choose, candidates)
        return int(array.data[array.selected].id)

    def _apply(self, sampler: Any, candidates: Candidates) -> Any:
        library = self._library
        data = candidates.ctypes.data_as(library.llama_token_data_p)
        array = library.llama_token_data_array(data=data, size=len(candidates), selected=-1, sorted=False)
        library.llama_sampler_apply(sampler, ctypes.byref(array))
        return array


def _least_likely(request: GenerateRequest, options: LlamaCppOptions) -> float:
    """Tell how far below the best logit no token is chosen any more, with a margin for rounding."""
    if request.temperature <= 0:
        return 0.0
    return 0.01 - math.log(options.min_p) if options.min_p else math.inf
