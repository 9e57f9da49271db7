"""Recognises answers that say that the text does not tell, in English and Chinese."""

from __future__ import annotations

import re

_LONGEST = 400
"""Characters beyond which an answer says something else too."""

_TEXT = (
    r"(?:(?:the|this|that|these|those|any\s+of\s+the|your)\s+)?"
    r"(?:(?:provided|given|available|above|supplied|retrieved|relevant)\s+)*"
    r"(?:texts?|passages?|excerpts?|documents?|contexts?|articles?|information|book|source|paragraphs?|"
    r"sections?|materials?|content|data)(?:\s+(?:provided|given|above|you\s+(?:gave|provided)))?"
)
_TELL = (
    r"(?:mention|say|state|specify|provide|give|contain|include|indicate|tell|answer|discuss|describe|"
    r"explain|list|name|reveal|address|identify|disclose|refer)"
)
_TOLD = (
    r"(?:mentioned|said|stated|specified|provided|given|contained|included|indicated|told|answered|discussed|"
    r"described|explained|listed|named|revealed|addressed|identified|disclosed|known|available|found|clear)"
)
_ENGLISH = re.compile(
    rf"""\W*+(?:
    (?:i(?:['’]m|\s+am)\s+(?:sorry|afraid)\b.{{0,80}})?
    (?:unfortunately|sorry|based\s+on\s+{_TEXT}|according\s+to\s+{_TEXT}|in\s+{_TEXT}|from\s+{_TEXT})?[\s,.;:]*+
    (?:but\s+|that\s+)?
    (?:
      {_TEXT}\s+(?:\w+\s+)?(?:does|do|did)(?:\s+not|n['’]t)\s+(?:\w+\s+){{0,2}}?{_TELL}\b
    | {_TEXT}\s+(?:makes?|contains?|provides?|gives?|has|have|offers?)\s+no\b
    | (?:there\s+(?:is|are|was)|i\s+(?:see|find|found))\s+(?:no|not\s+(?:enough|any|sufficient))\s+
        (?:\w+\s+){{0,3}}?(?:mention|information|details?|data|references?|indication|answer|evidence)\b
        (?=\W*$|[,.;]|\s+(?:of|to|about|on|in|for|that|regarding|provided|given|available|as)\b)
    | no\s+(?:\w+\s+)?(?:mention|information|details?|indication)\s+
        (?:is|was|are|were|of|about|on|regarding|provided|given|available|found|in)\b
    | (?:this|it|that|(?:the|its|his|her|their)\s+[^.,;]{{1,80}}?|[^.,;]{{1,80}}?)\s+
        (?:is|are|was|were|has|have)(?:\s+not|n['’]t)\s+(?:been\s+)?(?:explicitly\s+|specifically\s+|directly\s+)?
        {_TOLD}\b\s*(?:in|by|from)\s+{_TEXT}
    | (?:this|it|that)\s+(?:is|was)(?:\s+not|n['’]t)\s+(?:explicitly\s+|specifically\s+)?{_TOLD}\b
    | not\s+(?:explicitly\s+|specifically\s+)?{_TOLD}\b(?=\W*$|\s+(?:in|by|from)\s+{_TEXT})
    | (?:i|we|you)\s+(?:cannot|can\s+not|can['’]t|could\s+not|couldn['’]t)\s+
        (?:\w+\s+){{0,2}}?(?:find|answer|determine|tell|provide|say)\b
    | (?:it\s+|th(?:e|is)\s+(?:answer|question)\s+)?(?:cannot|can\s+not|can['’]t)\s+be\s+
        (?:determined|answered|found|told|inferred)\b
    | it\s+is\s+(?:not\s+(?:possible|clear)|unclear|unknown|impossible)\b
    | (?:i|we)\s+(?:do\s+not|don['’]t)\s+(?:know|have)\b
    | (?:unknown|unspecified|n/a|none\s+mentioned)\W*$
    ))""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_CHINESE_TEXT = (
    r"(?:根据|从|在|就|按照?)?(?:所?(?:提供|给出?|给定|上述|以上)的?|这[段篇个份]|本|该|此|上述?|原)?"
    r"(?:文本|文章|文档|文中|文字|段落|内容|材料|信息|资料|上下文|摘录|片段|节选|原文|书中|本书|全文|文)"
    r"(?:内容|信息|材料|片段)?(?:之?[中里内]|来看|所述)?"
)
_CHINESE = re.compile(
    rf"""\W*+(?:很?抱歉|对不起|不好意思)?[，,。\s]*+(?:
      (?:{_CHINESE_TEXT})[，,\s]*(?:\w{{0,6}}?)?(?:并|也|均|都|似乎|其实)?
        (?:没有?|未|不|无)(?:有|能|曾)?(?:明确|具体|直接|详细|任何)?(?:地)?
        (?:提及|提到|提供|说明|说|给出|指出|涉及|包含|包括|描述|记载|介绍|列出|谈到|讨论|告诉|写明|回答|相关)
    | (?:{_CHINESE_TEXT})?[，,\s]*(?:我|我们)?(?:无法|不能|难以)(?:从[^，。]{{0,20}}?)?
        (?:确定|回答|得知|判断|知道|找到|提供|推断|得出|给出)
    | (?:我|我们)?(?:不知道|不清楚|不确定)(?=\W|$)
    | [^，。]{{0,30}}?(?:在|于){_CHINESE_TEXT}(?:并)?(?:没有|未)(?:明确|具体)?(?:被)?
        (?:提及|提到|说明|给出|指出)
    | (?:没有|未|无)(?:明确|具体|直接)?
        (?:提及|提到|说明|给出|指出|找到|(?:相关|有关|足够|任何)的?(?:信息|内容|记载|说明))
    | (?:未知|不详|不明|无)\W*$
    )""",
    re.VERBOSE,
)
_TURN = re.compile(r"\b(?:but|however|although|nevertheless|still)\b|但|不过|然而|虽然", re.IGNORECASE)
_SORRY = re.compile(r"^\W*(?:i['’]m|i\s+am)?\s*(?:sorry|afraid)\b[^.]{0,12}\bbut\b", re.IGNORECASE)


def declines(answer: str) -> bool:
    """Tell whether an answer says that the text, or the one who answers, does not know.

    One that turns after that ("…, but …") gives an answer all the same.
    """
    text = answer.strip()
    if not text or len(text) > _LONGEST or not (_ENGLISH.match(text) or _CHINESE.match(text)):
        return False
    return not _TURN.search(_SORRY.sub("", text))
