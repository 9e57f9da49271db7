"""Words that a question is asked with and that say nothing of what it is about."""

from __future__ import annotations

_ENGLISH = """
a about all also am an and any are as at be been being but by can cannot could did do does doing done for
from get gets give given go had has have having he her here him his how i if in into is it its just let like
me more most much must my no not of on one or our out over own shall she should so some such than that the
their them then there these they this those through to too under up upon us use used using very was we were
what when where which while who whom whose why will with would you your
im ive id ill youre youve dont doesnt didnt isnt arent wasnt werent cant couldnt wont wouldnt shouldnt
whats whos wheres hows thats theres its lets please tell say says said explain describe
"""

_CHINESE = """
的 了 是 在 和 与 及 或 吗 呢 吧 啊 呀 我 你 您 他 她 它 这 那 哪 谁 几 就 都 也 很 被 把 对 从 到 为 以
于 之 其 个 什 么 请 问 该 此 有 会 能 要 想 又 并 而 但 则 所 些 们 着 过 给 让 将
"""

_PHRASES = """
什么 怎么 怎样 如何 为什么 为何 哪些 哪个 哪种 哪里 哪儿 哪一 多少 多久 几个 是否 是不是 能不能 可不可以
请问 请说明 告诉我 有没有 我们 你们 他们 它们 这个 那个 这些 那些 这样 那样 可以 应该 需要 以及 或者 还是
因为 所以 如果 的话 时候
"""

CHINESE_PHRASES = tuple(_PHRASES.split())
"""Cut out of a Chinese question, so that no pair of characters reaches across them."""

STOP_TERMS = frozenset(_ENGLISH.split()) | frozenset(_CHINESE.split())
