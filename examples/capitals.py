"""A small Chinese text, and a SentencePiece tokenizer made of it: the capitals of the provinces. Tests use it, too."""

from __future__ import annotations

import random
from pathlib import Path

import sentencepiece

CAPITALS = """
陕西西安 甘肃兰州 河南郑州 湖北武汉 湖南长沙 四川成都 云南昆明 贵州贵阳 广东广州 福建福州 浙江杭州
江苏南京 安徽合肥 江西南昌 山东济南 山西太原 河北石家庄 辽宁沈阳 吉林长春 黑龙江哈尔滨 青海西宁 海南海口
"""
_LONG_NAMES = ("黑龙江",)


def _clause(entry: str) -> str:
    name = next((name for name in _LONG_NAMES if entry.startswith(name)), entry[:2])
    return f"{name}的省会是{entry[len(name) :]}"


CLAUSES = [_clause(entry) for entry in CAPITALS.split()]
LIST = "，".join(CLAUSES) + "。"
PROMPT = "，".join(CLAUSES[:3])
CONTINUATION = "，" + "，".join(CLAUSES[3:5]) + "，"


def texts(count: int, seed: int = 0) -> list[str]:
    """Sentences with some of the clauses in random order."""
    draw = random.Random(seed)
    return ["，".join(draw.sample(CLAUSES, draw.randint(1, 6))) + "。" for _ in range(count)]


def train_tokenizer(directory: Path, vocab_size: int = 400) -> Path:
    """tokenizer.model in `directory`: BPE with byte fallback, unk 0, bos 1, eos 2, no pad, as Skywork's is."""
    directory.mkdir(parents=True, exist_ok=True)
    corpus = directory / "corpus.txt"
    corpus.write_text("\n".join([LIST] * 20 + texts(100)), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(directory / "tokenizer"),
        vocab_size=vocab_size,
        model_type="bpe",
        byte_fallback=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        character_coverage=1.0,
        max_sentencepiece_length=3,
        num_threads=1,
        minloglevel=2,
        normalization_rule_name="identity",
    )
    corpus.unlink()
    (directory / "tokenizer.vocab").unlink()
    return directory / "tokenizer.model"
