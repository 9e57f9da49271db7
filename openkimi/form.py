"""Recognises who wants the last answer again in another form: longer, in German, as a table."""

from __future__ import annotations

import re

_LONGEST = 80
"""Characters beyond which a request says more than how the answer should look."""
_CJK = re.compile("[\u3400-\u9fff]")
_WORD = re.compile(r"[\w'’-]+")


def asks_for_another_form(request: str) -> bool:
    """Tell whether a request names nothing but the form, or wants more of the same."""
    if len(request) > _LONGEST:
        return False
    if _CJK.search(request):
        return bool(_FORM_ZH.search(request)) and not _AROUND_FORM_ZH.sub("", request)
    words = [word.replace("’", "'") for word in _WORD.findall(request.lower())]
    named = any(word in _FORM for word in words) or bool(_AS_FORM.search(request))
    return named and all(word in _FORM or word in _AROUND_FORM or word.isdecimal() for word in words)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_FORM = _words(
    "shorter longer briefer brief concise concisely terse shorten lengthen expand elaborate condense trim "
    "more continue again less detail details detailed simpler simply simplify easier clearer rephrase reword "
    "rewrite paraphrase translate bullets bulleted numbered formal formally informal casual redo retry "
    "regenerate alphabetically"
)
_AROUND_FORM = _words(
    "please can could would you it this that them the a an make give me us tell say put turn write keep "
    "show format explain describe try do go on in into to as with using of be that's it's too so very "
    "much bit little even way slightly somewhat far few some fewer than at most about up and but or now "
    "then next long short ok okay thanks thank well great i want need like i'd only just your last "
    "previous answer summary text version form style terms language plain simple english german french "
    "spanish chinese italian japanese russian portuguese korean dutch polish arabic one two three four "
    "five six seven eight nine ten hundred word words sentence sentences paragraph paragraphs line lines "
    "bullet point points list table prose order alphabetical markdown json depth for"
)
_AS_FORM = re.compile(
    r"\b(?:in|into|to)\s+(?:plain\s+|simple\s+|simpler\s+)?(?:english|german|french|spanish|chinese|italian|japanese|"
    r"russian|portuguese|korean|dutch|polish|arabic|words|terms|language|prose|markdown|json)\b"
    r"|\b(?:as|in|into)\s+(?:an?\s+)?(?:\w+\s+)?(?:table|list|sentences?|words|paragraphs?|lines|bullet|points|"
    r"prose|order|depth|json|markdown)\b|\bbullet\s+points\b|\btoo\s+(?:long|short)\b|^\s*go\s+on\b",
    re.IGNORECASE,
)
_LANGUAGE_ZH = "中文|英文|英语|汉语|德语|德文|法语|法文|日语|日文|韩语|俄语|西班牙语|白话"
_FORM_ZH = re.compile(
    "详细|具体|详尽|深入|简短|简洁|简单|简略|简练|精简|简明|扩展|扩充|展开|补充|缩短|加长|压缩|(?<!多)[长短]|翻译|改写|重写|换"
    f"|列表|表格|分点|条列|通俗|易懂|正式|口语|继续|多说|再说|重新|(?:用|成|译为)(?:{_LANGUAGE_ZH})|[句字](?:话|以内|之内)"
)
_AROUND_FORM_ZH = re.compile(
    f"{_FORM_ZH.pattern}|{_LANGUAGE_ZH}"
    "|请|麻烦|能不能|能否|能|可以|可否|你|我|给|帮|再|更|太|有?点儿?|一[点些下个种]|一|些|下|用|以|把|将|它|这|那|上面的|刚才的"
    "|回答|答案|总结|摘要|概括|说法|说|写|讲|做|改|弄|变|成|为|译|来|吗|吧|呢|了|的|地|得|多(?![少长大])|点|个|种|不要|别|这么|那么|稍微|略|内容"
    "|版本|语言|方式|形式|[二两三四五六七八九十百0-9]+|[句字段]|话|以内|之内|左右|不超过|现在|然后|接着|接下来|好的?|谢谢|要|想|需要|下去"
    r"|[\s\W]"
)
