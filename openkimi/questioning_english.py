"""How English asks, and how it requests what no text states: patterns of its sentences."""

from __future__ import annotations

import re

_BE = r"(?:is|are|was|were|has|had|does|did|do|have|can|could|will|would|should|shall|may|might|must)"
_JOINING = (
    r"(?:and|so|then|but|also|or|now|ok|okay|well|please|kindly|just|hi|hello|hey|thanks|thank\s+you|great|first|"
    r"next|finally|sure|yes|no|maybe|perhaps)\b[\s,!]*"
)
_SUBORDINATE = (
    rf"(?:(?:when|where)(?:ever)?\b(?!['’]s|\s+(?:exactly\s+|else\s+)?{_BE}\b)"
    r"|(?:if|once|after|before|while|until|unless|since|because|although|though|as|given|whatever|whichever|"
    r"whoever|however|whether|in\s+(?:case|which\s+case)|provided|assuming|based\s+on|according\s+to)\b"
    r"|what\s+(?:i|you|we)\b)[^,]*,\s*"
)
_BEFORE = re.compile(rf"^(?:{_JOINING}|{_SUBORDINATE})+", re.IGNORECASE)
"""What stands before the main clause. "When was it, and where" has nothing there."""

_ASKS = re.compile(
    r"(?:(?:in|at|on|from|by|to|for|of|under|with|since|until)\s+)?"
    rf"(?:(?:when|where)(?:['’]s|\s+(?:exactly\s+|else\s+|and\s+\w+\s+)?{_BE})\b"
    r"|who(?:m|se)?\b(?!\s+(?:cares|knows|it\s+may))"
    r"|what\b(?!\s+(?:i|you|we|follows|comes|a|an|about)\b)"
    r"|which\b(?!\s+(?:is\s+why|reminds|means|brings)\b)"
    r"|why\b(?!\s+not\b)"
    r"|how\b(?!\s+(?:i|you|we|about|nice|great|lovely|interesting|wonderful)\b))"
    r"|(?:is|are|was|were|does|did|has|had)\s|(?:do|have)\s+(?:they|we|any|people|there)\b",
    re.IGNORECASE,
)

_WRITE = (
    r"(?:re)?write|compose|draft|translate|paraphrase|rephrase|reword|rework|summari[sz]e|shorten|proofread|"
    r"suggest|brainstorm|invent|imagine|pretend|come\s+up\s+with"
)
_WRITING = (
    r"(?:re)?writing|composing|drafting|translating|paraphrasing|rephrasing|rewording|summari[sz]ing|shortening|"
    r"suggesting|inventing|making|giving|trying|adding"
)
_MAKE = (
    rf"(?:{_WRITE}|propose|recommend|create|generate|make|expand|continue|proceed|go\s+on|improve|edit|polish|correct|"
    r"fix|turn|convert|change|replace|design|role-?play|act|guess|predict|speculate|quiz|ask|play|discuss|argue|"
    r"debate|critici[sz]e|evaluate|review|rate|simplify|complete|finish|fill|repeat|try|sing|help\s+(?:me|us|with))"
)
_WORK = (
    r"(?:titles?|names?|headlines?|headings?|captions?|slogans?|taglines?|poems?|haikus?|limericks?|songs?|lyrics|"
    r"rhymes?|jokes?|stor(?:y|ies)|tales?|essays?|e-?mails?|letters?|tweets?|posts?|summar(?:y|ies)|overviews?|"
    r"outlines?|synops[ie]s|translations?|paraphrases?|versions?|drafts?|ideas?|suggestions?|tips|feedback|"
    r"alternatives?|metaphors?|puns?|wording|endings?)"
)
_SOME = r"(?:an?|some|any|another|more|few|two|three|four|five|six|ten|\d+|better|your)"
_A_WORK = rf"{_SOME}\s+(?:[\w-]+\s+){{0,3}}?{_WORK}"
_FOUND = (
    r"(?:tell|say|show|find|confirm|check|explain|remember|recall|determine|identify|see|figure\s+out|look\s+up|know)"
    r"(?:\s+(?:me|us|out))?\s+(?:who|what|when|where|which|why|how|if|whether|the|about|its|his|her|their)\b"
)
_REQUESTS = re.compile(
    rf"{_MAKE}\b"
    r"|(?:do(?!\s+(?:they|we|people|any|there)\b)|don['’]t|let['’]s|let\s+(?:us|me|it|them)|have\s+(?:a|some|fun|it)|say\s+(?:it|that|so))\b"
    rf"|(?:give|tell|show|find|offer|provide|send|get|bring|list|name|i\s+(?:want|need|would\s+like)|i['’]d\s+like)"
    rf"\s.*?\b{_A_WORK}\b"
    rf"|(?:i\s+(?:want|need|would\s+like)|i['’]d\s+like|you\s+(?:should|must|can|may)|feel\s+free)\s+"
    rf"(?:you\s+)?(?:to\s+)?{_MAKE}\b"
    rf"|(?:can|could|would|will)(?:n['’]t)?\s+(?:you|u)\s+(?:(?:please|kindly|also|then|now|just|maybe)\s+)*+(?!{_FOUND})\w"
    rf"|(?:won['’]t|can['’]t)\s+you\b"
    rf"|(?:can|could|may|might|shall|should)\s+(?:i|we)\s.*?\b(?:{_WRITE}|try|{_A_WORK})\b"
    rf"|any\s+(?:[\w-]+\s+)?{_WORK}\b"
    rf"|(?:would|do)\s+you\s+mind\b|are\s+you\s+able\b"
    rf"|is\s+it\s+(?:possible|ok|okay)\b.*?\b(?:{_WRITE}|{_A_WORK})\b"
    rf"|(?:how|what)\s+about\s+(?:(?:you\s+)?(?:{_WRITING}|{_MAKE})|{_A_WORK})\b"
    rf"|why\s+(?:don['’]t\s+(?:you|we)|not)\s+{_MAKE}\b",
    re.IGNORECASE | re.DOTALL,
)
"""What a clause begins with that wants something made."""
_OPINION = re.compile(
    r"\b(?:do|would|should|could|can|might)\s+(?:you|i|we|one)\s+(?:\w+ly\s+)?(?:think|suggest|recommend|like|prefer|"
    r"feel|believe|rate|rank|title|phrase|translate|rephrase|reword|rewrite|paraphrase|shorten)\b"
    r"|\bwould\s+you\b|\b(?:who|how)\s+are\s+you\b|\bwhat\s+can\s+you\s+do\b|\bis\s+your\s+name\b|\bwhat['’]s\s+your\b"
    r"|,\s*(?:ok|okay|(?:will|can|could)\s+you)\W*$"
    r"|^\W*(?:(?:and|now|how\s+about|what\s+about)\s+)?in\s+(?:english|chinese|french|german|spanish|italian|japanese)\W*$"
    r"|\bin\s+your\s+(?:opinion|view|words)\b|\bin\s+your\s+own\b"
    r"|\byour\s+(?:opinion|thoughts?|views?|take|favou?rites?|guess|feedback|advice)\b"
    r"|\bhow\s+(?:do|does|would|can|could|should)\s+(?:you|i|we|one)\s+(?:say|put|spell|pronounce)\b"
    r"|\bhow\s+(?:can|could|should|would|might)\s+(?:(?:you|i|we|one)\s+improve\s+(?:this|it|my)|"
    r"(?:this|it|my\s+\w+)\s+be\s+(?:improved|rewritten|rephrased|shortened|said))\b"
    rf"|\b(?:good|better|catchy|catchier|nice|nicer|fitting|suitable|funny|creative|shorter|alternative)\s+"
    rf"(?:[\w-]+\s+){{0,2}}?(?:{_WORK}|way\s+(?:to|of)\s+(?:say|write|put|phrase|end|begin|start)\w*)\b",
    re.IGNORECASE,
)
"""What has the answer's own voice wherever it stands."""
_CLAUSE = re.compile(r"[,:;—–]\s*|\s+(?:and|then|but|or)\s+")


def asks(sentence: str) -> bool:
    """Tell whether a sentence is a question: by its sign, or by how its main clause begins."""
    return sentence.rstrip(" )]\"'”’").endswith("?") or _ASKS.match(_main(sentence)) is not None


def requests(sentence: str) -> bool:
    """Tell whether a sentence, or a clause of it, wants something made or thought up."""
    if _OPINION.search(sentence):
        return True
    clauses = (sentence, *_CLAUSE.split(sentence))
    return any(_REQUESTS.match(_main(clause)) for clause in clauses)


def _main(sentence: str) -> str:
    """Leave out what stands before the main clause."""
    return _BEFORE.sub("", sentence.lstrip(), count=1)
