"""Questions are told from other requests, in English and Chinese."""

import time

import pytest

from openkimi.questioning import is_question

QUESTIONS = """
Who laid it?
and in which year was it built
Was it built in 1882
how many arches has it
what happened in 1910
The bridge at Arles: built when?
When was it built, and by whom
When exactly did the flood come
Where's the lighthouse
When the bridge fell, who rebuilt it?
If the disk fails, what has to be replaced
After the war, where did the mason live
Can you tell me who built the bridge?
Could you please find the year in which it fell?
Who built it? Answer in one word.
Please answer briefly: who built it?
What is the title of the poem?
How do you mount a disk twice?
Who said "Write a poem about it"?
What did the committee recommend?
Did she translate the letter herself?
What about the second bridge?
What other names does the river have?
Do they have arches
In what way can it be reached?
桥是谁建的
它有几个桥拱？
共有几个桥拱
是否建于1882年
当大桥倒塌时，谁在上面
大桥建成之后，由谁来管理？
如果发生火灾怎么办
请问作者叫什么名字
请根据文档回答：桥建于哪一年？
请告诉我桥为什么会倒塌
你知道桥是谁建的吗
你能告诉我桥建于哪一年吗？
他为什么建议先备份
文中提出的建议是什么？
谁翻译了这首诗？
请问如何修改密码？
设计这座桥的都有谁？
缩写LMP代表什么？
""".strip().splitlines()

REQUESTS = """
Write a poem about it.
Suggest a title
It was good. Go on.
Whatever
When you are done, suggest a title
When you are done suggest a title
When you have read it, could you suggest a title?
When in doubt, write "unknown"
Where the text is unclear, say so.
Where possible, use short sentences
If it was written by him, translate it
Once you know who built it, write a poem about them
After that, what about a poem?
However long it is, summarise it
What I need is a title
What a story! Continue it.
Can you write a poem about it?
Could you make it shorter?
Would you mind rewriting the second paragraph?
Can I have another title?
How about a catchier title?
Why don't you write a haiku?
What would be a good title for it?
What do you think of the plot?
How would you rewrite it?
Is there a better way to say this?
How do you say this in French?
How about in French?
Translate "Where are you?" into French
Translate into French:
Rewrite this: Who built it?
Do not use lists
Do the same for chapter two
Have a look and shorten it
To whom it may concern
Who built it? Write a poem about him.
Which reminds me: draft a letter
Guess who wrote it?
给它起个标题
给这几段起几个标题
用几个词形容它
给几个例子
读完之后，请起个标题
当你读完的时候，写一首诗
等你看完谁是凶手之后，写一段感想
如果有什么不清楚的地方，请指出
遇到什么问题都写下来
能帮我写一首诗吗？
可以给它起个标题吗
你能把这段翻译成英文吗？
能不能再短一点？
请检查语法是否正确
请翻译：你是谁？
把“你是谁？”翻译成英文
无论什么时候，保持简短
你觉得怎么样？
有没有更好的标题？
该起什么标题好？
这句话用英语怎么说？
我写了几句，请润色
桥是谁建的？为他写一首诗。
多少写一点
""".strip().splitlines()


@pytest.mark.parametrize("expected", [True, False], ids=["questions", "requests"])
def test_a_question_is_told_from_what_no_text_could_state(expected: bool) -> None:
    """A question has its mark or its form; a clause before it, or a question within a request, is none."""
    wrong = [
        text for text in (QUESTIONS if expected else ["", *REQUESTS]) if is_question(text) is not expected
    ]

    assert wrong == []


@pytest.mark.parametrize(
    "text", ["when you ", "if it, ", "how can it ", '"', "“", "give me a ", "请给我一", "吗，", "   "]
)
def test_it_is_told_of_a_long_text_at_once(text: str) -> None:
    """No text makes the expressions try all ways to part it."""
    began = time.thread_time()

    is_question(text * 20_000)
    is_question(f"When did{text * 20_000}x?")

    assert time.thread_time() - began < 2
