"""What is said in the language of the question: to the model that reads a text part by part, and for it."""

from __future__ import annotations

import re

import msgspec

_CJK = re.compile("[\u3400-\u9fff]")
_NOTHING = re.compile(
    r"(?!.*\b(?:but|however|except|which|although)\b)(?!.*(?:但|不过|而))"
    r"\W*(?:notes?\W+)?(?:nothing|none|n/?a|no|not (?:relevant|mentioned)"
    r"|(?:there is )?nothing (?:relevant|helpful|helps|in|here)[^.]{0,80}"
    r"|no (?:relevant|helpful|useful)[^.]{0,80}"
    r"|(?:this|the) (?:part|text|excerpt) (?:does not|doesn't|contains no)[^.]{0,99}"
    r"|无|没有|无相关(?:内容|信息)?|没有(?:任何)?(?:相关|有关|帮助)[^。]{0,12}"
    r"|[这本该]一?部分中?[没无未][^。]{0,30})\W*",
    re.IGNORECASE,
)
_LONGEST_NOTHING = 200


class Wording(msgspec.Struct, frozen=True, kw_only=True):
    """Prompts with places for their texts, what stands before the notes in the last one, and an answer."""

    read: str
    condense: str
    notes: str
    nothing: str
    declining: str


_ENGLISH = Wording(
    read=(
        "Part {number} of {total} of a long text:\n\n{part}\n\n"
        "Question about the whole text: {question}\n\n"
        "Note down in short everything in this part that helps to answer the question: names, numbers and "
        "facts, as the text has them. Do not answer yet. If nothing in this part helps, write only: NOTHING"
    ),
    condense=(
        "Notes from the parts of a long text:\n\n{notes}\n\n"
        "Question about the whole text: {question}\n\n"
        "Put these notes together in fewer words. Keep every name, number and fact that helps to answer the "
        "question, each once, in this order. Do not answer yet."
    ),
    notes="Notes on a longer text, all of which was read part by part:\n",
    nothing="A longer text was read from beginning to end; nothing in it was found to bear on the question.",
    declining="The document does not say.",
)
_CHINESE = Wording(
    read=(
        "一篇长文的第 {number} 部分（共 {total} 部分）：\n\n{part}\n\n"
        "关于全文的问题：{question}\n\n"
        "请简短记下这一部分中有助于回答问题的全部内容：名称、数字和事实，照原文写。先不要回答。"
        "如果这一部分没有任何帮助，只写：无"
    ),
    condense=(
        "一篇长文各部分的笔记：\n\n{notes}\n\n"
        "关于全文的问题：{question}\n\n"
        "请把这些笔记合并得更短，按原来的顺序保留有助于回答问题的每个名称、数字和事实，各写一次。先不要回答。"
    ),
    notes="以下是逐部分通读一篇长文所做的笔记：\n",
    nothing="已从头到尾读完一篇长文，没有发现与问题有关的内容。",
    declining="文档中没有提到。",
)


def wording_of(question: str) -> Wording:
    """Choose the language of a question."""
    return _CHINESE if _CJK.search(question) else _ENGLISH


def says_nothing(note: str) -> bool:
    """Tell whether a note says that there was nothing to note."""
    note = note.strip()
    return not note or (len(note) <= _LONGEST_NOTHING and _NOTHING.fullmatch(note) is not None)
