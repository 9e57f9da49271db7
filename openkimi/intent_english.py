"""How English asks for the whole of a text: patterns of its questions."""

from __future__ import annotations

import re

_WORD = re.compile(r"[\w'’-]+")
_LONGEST_TITLE = 6


def asks_for_summary(sentence: str) -> bool:
    """Tell whether a sentence asks for the gist, and of nothing less than the whole text."""
    if _ABOUT.fullmatch(sentence) or _EACH_ABOUT.fullmatch(sentence):
        return True
    gist = _GIST.match(sentence)
    return gist is not None and _is_whole(sentence[gist.end() :])


def _is_whole(rest: str) -> bool:
    """Tell whether what a summary is of is the text itself: told by its kind, by its title, or not at all."""
    words = _WORD.findall(rest.lower())
    unknown = [word for word in words if word not in _WHOLE and not word.isdecimal()]
    return not unknown or (
        len(unknown) <= _LONGEST_TITLE
        and any(word in _TEXTS for word in words)
        and not any(word in _PARTS for word in words)
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TEXTS = _words(
    "text document book article paper report speech address message story novel manual handbook guide essay "
    "file contract thesis content contents material transcript conversation play poem memo letter agreement "
    "lecture documentation whitepaper brochure policy tale bill act pdf doc"
)
_MANY = (
    r"(?:texts|documents|docs|pdfs|books|articles|papers|reports|speeches|stories|novels|manuals|handbooks|"
    r"guides|essays|contracts|agreements|transcripts|attachments|theses|whitepapers|lectures)"
)
"""Several texts. Files, letters and policies are more often what a text is about."""
_WHOLE = _TEXTS | _words(
    "texts documents docs pdfs books articles papers reports speeches stories novels manuals handbooks "
    "guides essays contracts agreements transcripts attachments theses whitepapers lectures files attachment "
    "email e-mail post webpage website both each those uploaded pasted sent i my separately "
    "the this that these it its of in into to for me us all whole entire full complete above below following "
    "attached given provided here please briefly brief short quickly now a an and with at most about around "
    "approximately no more than within using as by one two three four five six seven eight nine ten hundred "
    "few some word words sentence sentences paragraph paragraphs bullet bullets point points line lines "
    "list form english chinese german french spanish plain simple language nutshell main key central most "
    "important idea ideas theme themes topic topics argument arguments message messages takeaways findings "
    "gist essence essentials down everything what is says say said you your own"
)
_PARTS = _words(
    "about on regarding concerning section chapter part paragraph page for how why what which who where when "
    "between if whether under against during by"
)

_PLEASE = (
    r"(?:please\s+|kindly\s+)?(?:(?:can|could|would|will)\s+you\s+(?:please\s+|kindly\s+)?)?"
    r"(?:i\s+(?:need|want|would\s+like)\s+|i'd\s+like\s+|let\s+me\s+have\s+)?"
    r"(?:(?:briefly|quickly|shortly|concisely)\s+)?"
)
_MAIN = r"(?:(?:main|key|central|most\s+important|principal|major|core|overall|general|big)\s+)"
_SHORT = (
    r"(?:(?:short|brief|concise|quick|executive|general|high-level|one-page|detailed|rough|good|"
    r"\w+-(?:sentence|word|paragraph))\s+)*"
)
_POINTS = (
    r"(?:points?|ideas?|themes?|topics?|arguments?|messages?|takeaways?|findings|conclusions|subjects?|gist)"
)
_GIST = re.compile(
    rf"{_PLEASE}(?:"
    r"summari[sz]e|sum\s+up|recap|condense|outline|tl;?dr|boil\s+(?=.+\sdown\b)|"
    rf"(?:give|provide|write|make|create|produce|offer|show|send|draft)?\s*(?:me|us)?\s*(?:with\s+)?(?:an?|the|"
    rf"your)\s+{_SHORT}(?:summary|overview|outline|synopsis|abstract|gist|digest|recap|pr[ée]cis)\b|"
    rf"(?:tell|give)\s+(?:me|us)\s+the\s+{_MAIN}?{_POINTS}|"
    rf"(?:what|which)\s+(?:are|is)\s+the\s+{_MAIN}{_POINTS}|"
    rf"what(?:'s|’s|\s+is)\s+the\s+gist|"
    rf"(?:describe|explain|state|name|list|identify)\s+the\s+{_MAIN}{_POINTS}|"
    r"summary(?:\s+please)?$"
    r")(?![\w'’-])",
    re.IGNORECASE,
)
_TEXT = rf"(?:{'|'.join(sorted(_TEXTS))})"
_THE_TEXT = (
    rf"(?:it|this|that|the\s+above|(?:this|that|the)\s+(?:(?:whole|entire|above|attached)\s+)*{_TEXT})"
)
_ABOUT = re.compile(
    rf"{_PLEASE}(?:(?:tell\s+me|explain|describe|say)\s+)?(?:"
    rf"what(?:'s|’s)\s+{_THE_TEXT}\s+(?:all\s+|mainly\s+|mostly\s+|basically\s+)?about|"
    rf"what\s+is\s+{_THE_TEXT}\s+(?:all\s+|mainly\s+|mostly\s+|basically\s+)?about|"
    rf"what\s+{_THE_TEXT}\s+is\s+(?:all\s+)?about|"
    rf"what\s+(?:(?:topics|subjects|themes|issues)\s+)?(?:does|do)\s+{_THE_TEXT}\s+(?:mainly\s+|mostly\s+)?"
    r"(?:deal\s+with|cover|discuss|talk\s+about|treat|contain|say|tell(?:\s+us)?)|"
    rf"what\s+happens\s+in\s+{_THE_TEXT}|"
    r"what\s+(?:does|is)\s+(?:the\s+)?(?:author|writer|speaker|narrator|he|she)\s+(?:wants?|trying|try)\s+to\s+say"
    r")(?:\s*,?\s*(?:in\s+(?:a\s+nutshell|short|brief|general|a\s+few\s+words|one\s+sentence)|please|overall|on\s+the\s+whole))*",
    re.IGNORECASE,
)

_THE_MANY = (
    rf"(?:(?:(?:all|both|each)\s+(?:of\s+)?)?(?:the|these|those|my)\s+"
    r"(?:(?:two|three|four|five|attached|above|uploaded|pasted|given|whole)\s+)*"
    rf"(?:{_MANY}|(?<=attached\s)files|(?<=uploaded\s)files)|both\s+{_MANY})"
    r"(?:\s+(?:above|here|i\s+(?:sent|uploaded|attached)))?"
)
_EITHER_TEXT = (
    r"(?:(?:the|this|that)\s+(?:first|second|third|last|other|previous|former|latter)|this)"
    rf"\s+{_TEXT}"
)
_ADDED = (
    r"(?:\s*,?\s*(?:in\s+(?:a\s+nutshell|short|brief|detail|general|a\s+table|a\s+few\s+words|content)|please|"
    r"overall|briefly|(?:with|to|from)\s+(?:each\s+other|one\s+another)|for\s+me))*"
)
_EACH = rf"(?:(?:each|every)\s+(?:{_TEXT}|of\s+(?:the|these|those)\s+(?:\w+\s+)?{_MANY})|the\s+attachment)"
_EACH_ABOUT = re.compile(
    rf"{_PLEASE}(?:(?:tell\s+me|explain|describe|say)\s+)?(?:"
    rf"what(?:['’]s|\s+(?:is|are))\s+(?:{_EACH}|{_THE_MANY}|these)\s+(?:all\s+|mainly\s+|mostly\s+)?about|"
    rf"what\s+(?:{_EACH}|{_THE_MANY})\s+(?:is|are)\s+(?:all\s+)?about|"
    rf"what\s+(?:(?:topics|subjects|themes|issues)\s+)?(?:does|do)\s+(?:{_EACH}|{_THE_MANY})\s+"
    rf"(?:deal\s+with|cover|discuss|talk\s+about|treat|contain|say)){_ADDED}",
    re.IGNORECASE,
)
SEVERAL = re.compile(
    rf"\b(?:{_MANY}|both|files|pdfs|each|every|other|(?:first|second|third|previous|former|latter)\s+{_TEXT})\b",
    re.IGNORECASE,
)
_UNLIKE = r"(?:differences?|similarit(?:y|ies)|distinctions?|contrasts?|relation(?:ship)?|connections?)"
COMPARED = re.compile(
    rf"{_PLEASE}(?:(?:tell\s+me|explain|describe|show\s+me)\s+)?(?:"
    rf"(?:compare|contrast|compare\s+and\s+contrast)\s+(?:{_THE_MANY}|"
    rf"{_EITHER_TEXT}\s+(?:and|with|to|against)\s+(?:{_EITHER_TEXT}|the\s+(?:first|second|other|previous)(?:\s+one)?))|"
    rf"what\s+do\s+{_THE_MANY}\s+have\s+in\s+common|what\s+{_THE_MANY}\s+have\s+in\s+common|"
    rf"(?:what(?:['’]s|\s+(?:is|are))\s+)?the\s+(?:main\s+|key\s+|biggest\s+)?{_UNLIKE}(?:\s+and\s+{_UNLIKE})?\s+between\s+"
    rf"{_THE_MANY}|"
    rf"(?:how|in\s+what\s+ways?)\s+(?:do\s+{_THE_MANY}\s+(?:differ|compare|relate)|"
    rf"are\s+{_THE_MANY}\s+(?:different|similar|alike|related))|"
    rf"how\s+{_THE_MANY}\s+(?:differ|compare)|what\s+(?:distinguishes|sets)\s+{_THE_MANY}(?:\s+apart)?"
    rf"){_ADDED}",
    re.IGNORECASE,
)
"""Asks to compare the texts themselves, which takes all of each rather than what fits two names."""

_ALL = r"(?:all|every|each|any\s+and\s+all)"
_NAMED = (
    r"(?:mentioned|named|listed|cited|discussed|described|referred\s+to|covered|introduced|talked\s+about|"
    r"recommended|quoted|referenced)"
)
_NAMES = (
    r"(?:mention|name|list|cite|discuss|describe|refer\s+to|cover|introduce|talk\s+about|recommend|quote|"
    r"reference)"
)
_SPEAKER = (
    rf"(?:he|she|they|(?:the|this|its)\s+(?:author|speaker|writer|narrator|president|{_TEXT})|it)(?:\s+\w+)?"
)
_OCCUR = r"(?:occurs?|appears?|comes?\s+up|shows?\s+up|(?:get|gets|is|are|was|were)\s+(?:\w+\s+)?" + (
    _NAMED[:-1] + r"|used\s+in\s+the\s+text))"
)
_PLURAL = r"(?:\w*[^\W\d_s]s|people|men|women|children|data|criteria|media|phenomena|persons)"
ENUMERATIONS = (
    re.compile(
        rf"^{_PLEASE}(?:list|enumerate|make\s+a\s+list\s+of|give\s+(?:me\s+)?a\s+(?:complete\s+|full\s+)?list\s+of"
        rf"|(?:a\s+)?(?:complete\s+|full\s+)?list\s+of)\s+(?:me\s+)?"
        rf"(?=(?:{_ALL}|the|any)\b|(?:\w+\s+){{0,3}}{_PLURAL}\b)"
        rf"(?:{_ALL}\s+)?(?:of\s+)?(?:the\s+)?(?P<subject>.+)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^{_PLEASE}(?:name|find|show|collect|extract|gather|tell|give|identify|count|locate|search\s+for|quote|"
        rf"write\s+down|note|pick\s+out|point\s+out)\s+(?:me\s+|us\s+|out\s+)?(?:the\s+names\s+of\s+)?{_ALL}\s+"
        r"(?:of\s+)?(?:the\s+)?(?P<subject>.+)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^{_PLEASE}(?:count\s+|tell\s+me\s+|say\s+)?(?:how\s+many\s+times|how\s+often|how\s+frequently)\s+"
        rf"(?:(?:is|are|was|were)\s+(?P<subject>.+?)\s+{_NAMED}\b|"
        r"(?:is|are|was|were)\s+the\s+(?:word|term|phrase|name)\s+(?P<word>.+?)\s+used\b|"
        rf"(?:do|does|did)\s+{_SPEAKER}\s+{_NAMES}\s+(?P<named>.+)|"
        r"(?:do|does|did)\s+.+?\s+(?:say|write|use)\s+(?P<quoted>[\"'“‘].+)|"
        rf"(?:do|does|did)\s+(?P<occurring>.+?)\s+(?:occur|appear|come\s+up|show\s+up|get\s+{_NAMED})\b|"
        rf"(?P<counted>.+?)\s+{_OCCUR}\b)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^(?:which|what)\s+(?P<subject>(?:\w+\s+){{0,4}}{_PLURAL})\s+(?:are|were|get|have\s+been)\s+"
        rf"(?:\w+\s+)?{_NAMED}\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^(?:which|what)\s+(?P<subject>(?:\w+\s+){{0,4}}{_PLURAL})\s+(?:does|do|did)\s+{_SPEAKER}\s+{_NAMES}\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^(?:how\s+many|how\s+many\s+different)\s+(?P<subject>(?:\w+\s+){{0,4}}{_PLURAL})\s+"
        rf"(?:are|were)\s+{_NAMED}(?:\s+(?:here|in\s+{_THE_TEXT}))?$",
        re.IGNORECASE,
    ),
    re.compile(r"^(?:what|who)\s+(?:are|were)\s+all\s+(?:of\s+)?(?:the\s+)?(?P<subject>.+)", re.IGNORECASE),
)
_SIDE = r"(?:.{1,80}?)"
_DIFFER = (
    r"(?:differences?|similarit(?:y|ies)(?:\s+and\s+differences?)?|differences?\s+and\s+similarities|"
    r"distinctions?|contrasts?|comparison)"
)
_BETTER = (
    r"(?:better|faster|slower|cheaper|safer|easier|larger|smaller|older|newer|higher|lower|"
    r"more\s+\w+|less\s+\w+)"
)
COMPARISONS = (
    re.compile(
        rf"^{_PLEASE}(?:compare|contrast|compare\s+and\s+contrast)\s+(?:the\s+)?(?P<one>{_SIDE})\s+"
        r"(?:and|with|to|against|vs\.?|versus)\s+(?P<other>.+)$",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b{_DIFFER}\s+between\s+(?P<one>{_SIDE})\s+(?:and|vs\.?)\s+(?P<other>.+)$",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^{_PLEASE}(?:(?:tell\s+me|explain|describe|show)\s+)?"
        r"(?:in\s+what\s+ways?\s+|how\s+(?!much|many|long|far|often|old)|what\s+makes\s+)"
        r"(?:exactly\s+)?(?:(?:do|does|did|is|are|was|were)\s+)?"
        rf"(?P<one>{_SIDE})\s+(?:differs?|(?:is\s+|are\s+)?different)\s+(?:from|to|than)\s+(?P<other>.+)$",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^(?:in\s+what\s+ways?|how)\s+(?:do|does|did|are)\s+(?P<one>{_SIDE})\s+and\s+"
        r"(?P<other>.{1,80}?)\s+(?:differ|compare|different)\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^what\s+(?:do|does|did)\s+(?P<one>{_SIDE})\s+and\s+(?P<other>.{{1,80}}?)\s+have\s+in\s+common\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^how\s+(?:do|does|did)\s+(?P<one>{_SIDE})\s+compare\s+(?:to|with|against)\s+(?P<other>.+)$",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^what\s+(?:distinguishes|differentiates|sets)\s+(?P<one>{_SIDE})\s+(?:apart\s+)?from\s+(?P<other>.+)$",
        re.IGNORECASE,
    ),
    re.compile(rf"^(?P<one>{_SIDE})\s+(?:vs\.?|versus)\s+(?P<other>[^:,?]+)", re.IGNORECASE),
    re.compile(
        r"\b(?:advantages?|disadvantages?|benefits?|drawbacks?|pros\s+and\s+cons|merits?)\s+of\s+"
        rf"(?P<one>{_SIDE})\s+(?:over|compared\s+(?:to|with)|versus|vs\.?|against|relative\s+to)\s+(?P<other>.+)$",
        re.IGNORECASE,
    ),
    re.compile(
        rf"^(?:which|what|who)\s+(?:\w+\s+)?(?:is|are|was|runs|works)\s+(?:the\s+)?{_BETTER}\b[^,:]*[,:]\s*"
        r"(?P<one>.{1,80}?)\s+or\s+(?P<other>.+)$",
        re.IGNORECASE,
    ),
)
FRAME = re.compile(
    rf"\b(?:that|which|who)\s+(?:is|are|was|were|get|gets)\s+(?:\w+\s+)?{_NAMED}\b"
    rf"|\b{_NAMED}\s+(?:in|by|here)\b|\bin\s+(?:this|the)\s+{_TEXT}\b|\bfrom\s+(?:this|the)\s+{_TEXT}\b"
    rf"|\b(?:mentions?|references?|occurrences?|instances?|passages?|places?)\s+(?:of|to|about|where|in\s+which)\b"
    rf"|\b{_NAMED}$|\bthe\s+(?:word|term|name|phrase)\b|\b(?:this|the)\s+{_TEXT}$",
    re.IGNORECASE,
)
