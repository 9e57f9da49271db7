"""Tells a question that follows up on what was said from one that stands by itself, and how to search."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from openkimi.form import asks_for_another_form
from openkimi.intent import LOOKUP, intent_of
from openkimi.messages import Message

_QUESTION_CHARACTERS = 500
_EARLIER_CHARACTERS = 300
_ANSWER_CHARACTERS = 200
_MOST_EARLIER = 3
_FRAGMENT_WORDS = 4
_FRAGMENT_SIGNS = 8
_MOST_BEFORE_REFERENCE = 2
_REFERENCE_WITHIN = 8


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked ``last``, as a ``question`` with what it follows up on, and the ``searches`` for it.

    A question that stands by itself is its own and only search. One that follows up is searched with the
    questions before it, and with the answer before it; each search is worth the same. Who only wants an
    answer in another form asks last what that answered.
    """

    question: str
    last: str
    searches: tuple[str, ...]


def asked_in(messages: Sequence[Message]) -> Asked:
    """Find out what the last user message asks, in the light of those before."""
    turns = [at for at, message in enumerate(messages) if message.role == "user"]
    if not turns:
        text = messages[-1].text.strip() if messages else ""
        return Asked(question=text, last=text, searches=(text,))
    asked = [messages[at].text.strip() for at in turns]
    question = asked[-1]
    if len(asked) == 1 or not follows_up(question):
        return Asked(question=question, last=question, searches=(question,))
    last = _last(asked)
    earlier = _earlier(asked[:-1], again=last != question)
    joined = "\n".join((*earlier, question))
    answer = _answer(messages[turns[-2] : turns[-1]])
    if not answer or (not earlier and _is_of_the_text(question)):
        return Asked(question=joined, last=last, searches=(joined,))
    return Asked(question=joined, last=last, searches=(joined, f"{answer}\n{question}"))


def follows_up(question: str) -> bool:
    """Tell whether a question means little without what was said before it."""
    question = question[-_QUESTION_CHARACTERS:].strip()
    if _CJK.search(question):
        reference = _REFERENCE_ZH.search(question)
        return bool(
            _OPENING_ZH.match(question)
            or _changes_form(question)
            or (reference and reference.start() < _REFERENCE_WITHIN)
            or (question.rstrip("?？。").endswith("呢") and len(question) <= _FRAGMENT_SIGNS)
            or not _has_content(question)
        )
    return bool(
        _OPENING.match(question)
        or _changes_form(question)
        or _refers_back(question)
        or _is_fragment(question)
        or not _has_content(question)
    )


def asks_anything(text: str) -> bool:
    """Tell whether a text asks or orders anything: by its sign, its words, or its first word."""
    text = text[-_QUESTION_CHARACTERS:].strip()
    first = _WORD.search(text.lower())
    return bool(
        _ASKS.search(text)
        or (first and first.start() == 0 and first[0] in _ASKING)
        or intent_of(text) is not LOOKUP
    )


def _refers_back(question: str) -> bool:
    """Tell whether a pronoun stands for something that the question itself has not named before it."""
    if reference := _REFERENCE.search(question):
        return len(_content_words(question[: reference.start()])) <= _MOST_BEFORE_REFERENCE
    if possessive := _POSSESSIVE.search(question):
        named = _NAME.search(question, 1, possessive.start())
        return not named and len(_content_words(question[: possessive.start()])) <= 1
    return False


def _changes_form(question: str) -> bool:
    """Tell whether all that a follow-up changes is the form of the answer."""
    return asks_for_another_form(question) and intent_of(question) is LOOKUP


def _last(asked: Sequence[str]) -> str:
    """Return the last question that asks for more than another form of the answer to one before it."""
    return next((question for question in reversed(asked) if not _changes_form(question)), asked[-1])


def _earlier(asked: Sequence[str], *, again: bool) -> list[str]:
    """Return the questions that a follow-up goes back to, down to one that stands by itself.

    A request for the whole is among them only where it is asked ``again``: it names nothing to search for,
    and neither does a request for another form.
    """
    found: list[str] = []
    for question in reversed(asked[-_MOST_EARLIER:]):
        end = question[-_EARLIER_CHARACTERS:]
        if not again and intent_of(end).kind == "summary":
            break
        if again or not _changes_form(question):
            found.insert(0, end)
        if not follows_up(question):
            break
    return found


def _is_of_the_text(question: str) -> bool:
    """Tell whether a question after a summary names its topic, and leans on nothing but the text."""
    found = _REFERENCE_ZH.search(question) if _CJK.search(question) else _REFERENCE.search(question)
    return bool(found and _THE_TEXT.fullmatch(found[0])) and _has_content(question)


def _answer(messages: Sequence[Message]) -> str:
    answers = [message.text.strip() for message in messages if message.role == "assistant"]
    return answers[-1][:_ANSWER_CHARACTERS] if answers else ""


def _has_content(question: str) -> bool:
    """Tell whether a question names anything to search for."""
    return bool(_FUNCTION_ZH.sub("", question) if _CJK.search(question) else _content_words(question))


def _content_words(question: str) -> list[str]:
    return [word for word in _WORD.findall(question.lower()) if word not in _FUNCTION]


def _is_fragment(question: str) -> bool:
    words = _WORD.findall(question.lower())
    return 0 < len(words) <= _FRAGMENT_WORDS and not any(word in _ASKING for word in words)


_ASKS = re.compile(
    r"[?？]|\b(?:you|your|answer|question|please|tell\s+me)\b|[请你您]|什么|谁|哪|怎|多少|几[个次年]|吗|为何|如何|回答|问题|列出|找出",
    re.IGNORECASE,
)
_CJK = re.compile("[\u3400-\u9fff]")
_WORD = re.compile(r"[\w+./'’-]*\w[\w+'’-]*")
_NAME = re.compile(r"\b[A-Z]\w*|\b\w+[./_-]\w+|[\"'“`]")
_OPENING = re.compile(
    r"(?:(?:ok|okay|yes|no|thanks|great|well|hm+)\b[\s,.!]*)?"
    r"(?:and|but|so|or|then|also|plus)\b|(?:what|how)\s+about\b|(?:what|who|where|anything|anyone)\s+else\b"
    r"|(?:why|how|since\s+when|until\s+when|how\s+so|how\s+come|why\s+not|in\s+what\s+way|which\s+ones?)\s*[?.!]*$"
    r"|(?:tell\s+me\s+more|say\s+more|go\s+on|continue|more\s+details?|elaborate|for\s+example|such\s+as)\b",
    re.IGNORECASE,
)
_REFERENCE = re.compile(
    r"\b(?:it|they|them|he|him|she|theirs|hers)\b(?!\s+(?:possible|true|necessary|decided|become\s+possible)\b)"
    r"|\b(?:this|these|those)\b(?=\s*(?:[?.,!]|$|is\b|are\b|was\b|were\b|do\b|does\b|did\b|can\b|ones?\b|two\b))"
    r"|\bthat\s*(?:[?.!]|$)"
    r"|\b(?:is|was|about|of|for|with|by|after|before|besides|than|like|does|did|do|can|could|would|will)\s+that\b"
    r"|\bthe\s+(?:former|latter)\b"
    r"|\bthe\s+(?:first|second|third|fourth|fifth|last|other|next|previous|same)(?:\s+(?:one|ones|two))?\s*[?.!]*$"
    r"|\b(?:which|that|other|another|the)\s+ones?\b|\bboth\s*[?.!]*$|\bthere\s*[?.!]*$",
    re.IGNORECASE,
)
_THE_TEXT = re.compile("it|they|this|these|它|该|这", re.IGNORECASE)
_POSSESSIVE = re.compile(r"\b(?:its|their|his|her)\b", re.IGNORECASE)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ASKING = _words(
    "who whom whose what when where which why how is are was were am be do does did has have had can could "
    "will would shall should may might must list name find need make take use get show tell give explain "
    "describe compare summarise summarize translate write count hello hi hey thanks thank"
)
_FUNCTION = _ASKING | _words(
    "a an the this that these those it its they them their he him his she her i me my we us our you your and "
    "or but so then also of in on at to for from by with about as if than there here not no yes one ones "
    "first second third last other another same more most much many often long exactly else please ok okay "
    "again really too very just only both each any some all happened happen mean means called"
)
_OPENING_ZH = re.compile(
    "(?:好的?|嗯|谢谢|对)?[，,。 ]*"
    "(?:那|还有|另外|而(?!立)|然后|接着|继续|再(?:说|详|具|举|来)|具体|详细|比如|例如|除此之外|除了这)"
    "|(?:为什么|为何|怎么会|怎么说|何时|哪年|什么时候|多少|谁|哪里|在哪)(?:呢|啊)?[?？。]*$"
)
_REFERENCE_ZH = re.compile(
    "它|(?<![其吉])他(?![人国乡])|她"
    "|(?:这|那)(?:个|些|两|三|几|种|样|里|时|位|次|条|项|家)(?!词|故事|演讲|文|书|报告|字)"
    "|这(?=[是会能有要叫为在可应])|(?<!尤)其(?![他它中实余次])|(?<![应本活])该(?![怎如不用])"
    "|此(?![外前后时])|前者|后者|上述|上面(?:的|提)"
    "|第[一二三四五六七八九十两\\d]+[个种位条项](?:[呢?？]|是|叫|有|在|$)|(?:另|下|上|最后)一[个种位项条]"
)
_FUNCTION_ZH = re.compile(
    "请问?|什么时候|为什么|什么|怎么样?|如何|为何|哪[里儿些个年天位种]?|谁|多少|几|何时"
    "|是|的|了|吗|呢|啊|吧|有|在|和|与|这|那|它|他|她|们|第[一二三四五六七八九十]|[个种位些]|然后|还|再|也|就|都|会|能|可以"
    "|具体|详细|说说|说|讲|一下|下|更|例子|比如|例如|举|继续|原因|时候"
    r"|[\s\W]"
)
