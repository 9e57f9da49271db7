"""How Chinese asks, and how it requests what no text states: patterns of its sentences."""

from __future__ import annotations

import re

_BEFORE = re.compile(
    r"^(?:(?:当|等|一旦|每当|只要|如果|要是|假如|若|倘若|凡|遇到|除非|虽然|尽管|因为|由于|既然)[^，,]*"
    r"|[^，,]*(?:的时候|的话|之后|以后|之前|以前|[^何几小]时|[^今日此最]后|[^目日]前))[，,]\s*"
)
"""A clause before the main one."""
_INDEFINITE = re.compile(
    r"(?:无论|不管|不论|任凭|随便)[^，,]*|(?:什么|谁|哪[里儿个些种]?|怎么?样?|多[少长大])[^，,]{0,4}[都也]|哪怕|没什么|什么的|没怎么"
    r"|多少(?=[写给说加改])"
)
"""Words of questions that ask nothing."""
_ASKS = re.compile(
    r"[吗呢](?=\W|$)|什么|谁|哪|多少|(?<![很更许诸众太最好再])多(?:[大长久远]|高(?!兴))|怎|为何|何[时处人地]|是否|"
    r"有没有|是不是|[有共第是了过约达到于在为]几(?!乎)"
)

_LEAD = (
    r"(?:那么?|好的?|然后|再|接着|最后|另外|现在|就|也|你|您|我[想要]|我希望|我需要|希望|麻烦|劳驾|帮忙|帮我?|给我|替我|"
    r"能不能|可不可以|能否|可否|可以|能|会|请)*"
)
_TOWARDS = r"(?:(?:给|为|替|用|以|把|将|按|照|对|帮|根据|围绕)[^，,什谁哪怎何几]{0,30}?(?<!的))?"
_SOME = r"[个一两二三四五几首句段篇点些条份封]"
_MAKE = (
    r"(?:写(?![了过着于作道成的信])|改写|重写|润色|续写|扩写|缩写(?=[成一为到这上下全原该])|仿写|造句|翻译|译成|概括|总结|归纳|概述|创作|"
    rf"编(?![辑者号制])|拟[写定一个]|起{_SOME}|起[草名]|取{_SOME}|取名|设计|推荐|建议|想{_SOME}|画{_SOME}|生成|转换|改[成为]|"
    rf"换[成{_SOME[1:-1]}]|续|继续|猜|讲{_SOME}|说{_SOME}|来{_SOME}|作{_SOME}|出{_SOME}|提{_SOME}|加{_SOME}|模仿|扮演|"
    r"假装|点评|评价|检查|校对|修改|优化|精简|缩短|加长|对一)(?!.{0,2}[了过]|[^，,]*的(?:人|都|是))"
)
_ANSWER = (
    r"(?:问|教|回答|作?答|告诉|说明|说出|解释|指出|列出|给出|找|查|看看|确认|判断|介绍|描述|根据|依据|结合|参考|按|从|在|"
    r"[用以只简详逐][^，,]{0,12}(?:回答|答|说明|告诉|给出|解释|介绍))"
)
_WORK = (
    r"(?:标题|题目|名字|建议|意见|诗|故事|笑话|口号|文案|例句|创意|想法|版本|摘要|总结|对联|谜语|评论|点评)"
)
_REQUESTS = re.compile(
    rf"{_LEAD}{_TOWARDS}{_MAKE}"
    rf"|{_LEAD}请(?!{_ANSWER})\w"
    rf"|{_LEAD}(?:给|列|说|讲|找|提供)[^，,什谁哪怎何]{{0,6}}?[个一两二三四五几些点\d][^，,]{{0,10}}?{_WORK}"
    r"|[你您]?(?:能不能|可不可以|能否|可否|可以|能|会)(?:请[你您]?)?(?:帮我?|给我?|替我?|把|再|更)"
    r"(?!.{0,4}(?:告诉|说明|解释|找|查|看看|指出|回答|确认|列出))"
)
"""What a clause begins with that wants something made."""
_OPINION = re.compile(
    r"[你您]们?(?:觉得|认为|怎么看|喜欢|建议|推荐|猜|会怎|的(?:看法|意见|建议|观点|想法|感受))|依[你您]看"
    r"|(?:怎么样?|如何|怎样)[^，,]{0,6}?(?:翻译|改写|润色|表达|(?:改进|修改|优化)[这它我]|写[得更好才])"
    r"|[语文话]怎么[说写讲]|什么[^，,]{0,4}(?:好|合适)(?=\W*$|[呢吗])|哪[^，,]{0,6}(?:更|最)[好合]"
    r"|[你您](?:是谁|好|叫什么|能做什么|会什么)|有(?:什么|没有?)[^，,]{0,6}(?:建议|想法|意见)|更好的[^，,]{0,4}(?:标题|题目|名字|说法|写法|译法)"
    r"|(?:好吗|行吗|好不好|行不行|要不要)\W*$"
)
"""What has the answer's own voice wherever it stands."""


def asks(sentence: str) -> bool:
    """Tell whether a sentence is a question: by its sign, or by the words of its main clause."""
    if sentence.rstrip(" )）]」』\"'”’").endswith("？"):
        return True
    return _ASKS.search(_INDEFINITE.sub("", _BEFORE.sub("", sentence))) is not None


def requests(sentence: str) -> bool:
    """Tell whether a sentence, or a clause of it, wants something made or thought up."""
    clauses = (clause.strip() for clause in re.split(r"[，,：:；;、—]", sentence))
    return _OPINION.search(sentence) is not None or any(map(_REQUESTS.match, clauses))
