"""The prompts of the golden files: English, Chinese, code, emoji; four of them longer than 300 tokens."""

from __future__ import annotations

_LIGHTHOUSE = """\
The keeper of the lighthouse at Harrow Point had three duties, and he wrote them in chalk above his stove. The first \
was to light the lamp an hour before sunset and to trim it at midnight. The second was to write in the log the wind, \
the height of the sea and every sail that passed, with the hour and the direction in which it went. The third duty was \
the one that nobody had told him about when he took the post: to answer the letters. They came once a fortnight with \
the supply boat, tied with string, from people who had seen the light once from the deck of a ship and had never \
forgotten it. A schoolteacher from the north asked whether the light was red or white, because her class had made a \
bet. A widow asked whether he remembered the night of the great storm, eleven years before, and a brig with a green \
hull. He looked in the log of that year and found her: "brig, green hull, two hours after midnight, running west under \
bare poles." He copied the line out carefully and added that the light had burned all night. He did not say that the \
keeper of that year had been another man, that the log ended two days later, or that the last page had been torn out. \
In the winter of the fourth year a letter came that was addressed to him by name. It had no stamp and no string, the \
boatman did not know who had given it to him, and when the keeper opened it he read"""

_CODE = '''\
from __future__ import annotations

import heapq
from dataclasses import dataclass, field


@dataclass(order=True)
class Job:
    """A unit of work with a deadline; smaller priority runs first."""

    priority: int
    arrival: int
    name: str = field(compare=False)
    duration: float = field(compare=False, default=1.0)
    deadline: float | None = field(compare=False, default=None)


class Queue:
    """First come first served inside one priority."""

    def __init__(self, limit: int = 64) -> None:
        self._heap: list[Job] = []
        self._limit = limit
        self._count = 0

    def push(self, name: str, priority: int = 0, duration: float = 1.0) -> Job:
        if len(self._heap) >= self._limit:
            raise OverflowError(f"the queue holds {self._limit} jobs already")
        job = Job(priority, self._count, name, duration)
        self._count += 1
        heapq.heappush(self._heap, job)
        return job

    def pop(self) -> Job:
        if not self._heap:
            raise LookupError("the queue is empty")
        return heapq.heappop(self._heap)

    def __len__(self) -> int:
        return len(self._heap)


def run(queue: Queue, clock: float = 0.0) -> list[tuple[str, float]]:
    """Runs every job in order and returns the time at which each one ended."""
    finished: list[tuple[str, float]] = []
    while len(queue) > 0:
        job = queue.pop()
        clock += job.duration
'''

_CHINESE = """\
从前有一座小城，城里的人都说，每年冬天的第一场雪会落在钟楼的第七级台阶上。没有人知道这个说法从哪里来，可是每年都有人在台阶\
旁边等着。老钟表匠等了四十年，他的记事本里写满了日期：有的年份雪来得早，有的年份雪来得晚，但是总是在第七级台阶上先积起来。\
今年他带着孙女一起去，孙女问：“爷爷，为什么是第七级呢？”老人想了想，慢慢地回答说："""

_TABLE = "Date,City,High,Low\n" + "".join(
    f"2023-{month:02d}-{day:02d},{city},{high},{high - 9}\n"
    for month, day, city, high in [
        (1, 4, "Oslo", -2), (1, 19, "Lima", 27), (2, 7, "Cairo", 21), (2, 23, "Delhi", 26), (3, 9, "Oslo", 5),
        (3, 28, "Lima", 26), (4, 12, "Cairo", 29), (4, 30, "Delhi", 39), (5, 16, "Oslo", 16), (5, 31, "Lima", 21),
        (6, 14, "Cairo", 35), (6, 29, "Delhi", 38), (7, 13, "Oslo", 22), (7, 27, "Lima", 18), (8, 15, "Cairo", 36),
    ]
)  # fmt: skip

PROMPTS: list[tuple[str, str]] = [
    ("design", "The capital of France is"),
    ("one-word", "Hello"),
    ("story", "Once upon a time, in a village at the edge of the forest,"),
    ("question", "Q: How many legs does a spider have?\nA:"),
    ("list", "Three reasons to learn a musical instrument:\n1."),
    ("science", "Photosynthesis is the process by which plants"),
    ("dialogue", '"Where have you been?" she asked. He put down the lantern and said, "'),
    ("numbers", "2, 4, 8, 16, 32, 64,"),
    ("arithmetic", "12 + 30 = 42\n7 + 15 = 22\n25 + 16 ="),
    ("spaces", "  leading spaces,\ttabs\tand   runs   of   spaces\n\n\nand empty lines"),
    ("provinces", "陕西的省会是西安，甘肃的省会是兰州，河南的省会是郑州"),
    ("chinese", "今天天气很好，我们一起去"),
    ("mixed", "In Chinese, 'thank you' is 谢谢 and 'goodbye' is"),
    ("emoji", "I love pizza 🍕 and sushi 🍣! My favourite animals are 🐱 and 👩‍👩‍👧‍👦 is a"),
    ("accents", "Le café de l'été à Besançon était très agréable, et la garçonne naïve"),
    ("function", "def fibonacci(n: int) -> int:\n    "),
    ("cpp", "#include <vector>\n\nint main() {\n  std::vector<int> v = {3, 1, 2};\n  std::sort("),
    ("json", '{"name": "Ada", "born": 1815, "languages": ["English", "French"], "'),
    ("long-english", _LIGHTHOUSE),
    ("long-code", _CODE),
    ("long-chinese", _CHINESE),
    ("long-table", _TABLE),
]

#: Prompts of the beam searches.
BEAM_PROMPTS = ("design", "story", "science", "list")
BEAM_WIDTHS = (2, 4, 8)
BEAM_TOKENS = 20

#: Prompts whose own log-probabilities are stored.
LOGPROB_PROMPTS = ("design", "emoji", "provinces", "long-code")
LOGPROB_TOP = 5

#: A small multiple-choice task: context, continuations, index of the right one.
CHOICES: list[tuple[str, list[str], int]] = [
    ("Question: What is the capital of Italy?\nAnswer:", [" Rome", " Paris", " Berlin", " Madrid"], 0),
    ("Question: Which animal barks?\nAnswer:", [" A cat", " A dog", " A fish", " A horse"], 1),
    ("Question: What do bees make?\nAnswer:", [" Milk", " Bread", " Honey", " Silk and wool"], 2),
    ("Question: How many days are in a week?\nAnswer:", [" Five", " Seven", " Twelve", " One hundred"], 1),
    ("Question: Which planet is known as the Red Planet?\nAnswer:", [" Venus", " Jupiter", " Earth", " Mars"], 3),
    ("Question: Water freezes at what temperature in Celsius?\nAnswer:", [" 0", " 32", " 100", " 212"], 0),
    ("Question: Who wrote Romeo and Juliet?\nAnswer:", [" Charles Dickens", " William Shakespeare", " Homer"], 1),
    ("Question: Which gas do people breathe in to live?\nAnswer:", [" Helium", " Oxygen", " Neon"], 1),
]
