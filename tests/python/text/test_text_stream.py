"""The core's text, streamed and whole, is what the tokenizers' own libraries decode."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from skywork_rt._core import TextStream, Vocabulary
from skywork_rt.checkpoints.samples import mistral_tokenizer
from skywork_rt.checkpoints.tokenizers.sentencepiece_model import sentencepiece_files
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.checkpoints.tokenizers.tokenizer_json import tokenizer_json_files
from skywork_rt.checkpoints.tokenizers.vocabulary import encode_vocabulary

CORPUS = [
    "The quick brown fox jumps over the lazy dog. the the the",
    "陕西的省会是西安，甘肃的省会是兰州，河南的省会是郑州。",
    "def f(x):\n    return x  # two  spaces",
    "😀 emoji 👩‍👩‍👧 and flags 🇫🇷 naïve café",
]
SPECIAL = ["<unk>", "<s>", "</s>"]
ROUNDS = 10_000

Decode = Callable[[list[int], bool], str]


class Case:
    """One tokenizer: the core's view of it and its own library's decode."""

    def __init__(self, files: TokenizerFiles, decode: Decode, directory: Path) -> None:
        path = directory / "vocab.bin"
        path.write_bytes(encode_vocabulary(files, len(files.entries)))
        self.vocabulary = Vocabulary(str(path))
        self.decode = decode
        self.size = len(files.entries)
        self.special = [i for i, entry in enumerate(files.entries) if entry.special]
        self.spaced = [i for i, entry in enumerate(files.entries) if entry.text[:1] == b" " and not entry.byte]
        self.by_byte = {entry.text: i for i, entry in enumerate(files.entries) if len(entry.text) == 1}
        self.by_byte |= {entry.text: i for i, entry in enumerate(files.entries) if entry.byte}

    def random_ids(self, generator: random.Random) -> list[int]:
        """Any ids, bytes of whole and of broken characters, special tokens; often spaces first."""
        ids = generator.choices(self.spaced, k=generator.choice([0, 0, 0, 1, 2, 3])) if self.spaced else []
        length = generator.randrange(1, 25)
        while len(ids) < length:
            choice = generator.randrange(8)
            if choice < 4:
                ids.append(generator.randrange(self.size))
            elif choice < 7:
                encoded = generator.choice("你😀éA ¡\u2028\uffff").encode()
                encoded = encoded[: generator.randrange(1, 5)] if choice == 6 else encoded
                ids += [
                    self.by_byte[encoded[i : i + 1]] for i in range(len(encoded)) if encoded[i : i + 1] in self.by_byte
                ]
            elif self.special:
                ids.append(generator.choice(self.special))
        return ids


def tokenizers_case(tokenizer: Tokenizer, directory: Path) -> Case:
    """Goes through tokenizer.json, as an export does."""
    content = tokenizer.to_str()
    own = Tokenizer.from_str(content)
    return Case(
        tokenizer_json_files(content), lambda ids, skip: str(own.decode(ids, skip_special_tokens=skip)), directory
    )


def byte_level(directory: Path) -> Case:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[*SPECIAL, "<|im_start|>", "<特殊>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    return tokenizers_case(tokenizer, directory)


def byte_fallback(directory: Path) -> Case:
    """Llama's tokenizer.json: SentencePiece's pieces, decoded by `tokenizers`."""
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *(" thequickbrown你好省会.▁"), "▁the", "▁▁", "▁▁x"]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(piece.replace(" ", "▁") for piece in pieces))}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizers_case(tokenizer, directory)


def metaspace(directory: Path) -> Case:
    """Unigram models' tokenizer.json: a lone Metaspace, and <0x41> is no byte to it."""
    pieces = [*SPECIAL, "<0x41>", "<0xE4>", *dict.fromkeys("thequickbrown你好省会😀.▁"), "▁the", "▁x", "brown"]
    tokenizer = Tokenizer(models.Unigram([(piece, -1.0 - i) for i, piece in enumerate(pieces)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizers_case(tokenizer, directory)


def replace_alone(directory: Path) -> Case:
    """Without byte fallback and without a dummy prefix: U+2581 is a space everywhere."""
    pieces = [*SPECIAL, "<0x41>", *dict.fromkeys("thequickbrown你好省会.▁"), "▁▁", "▁the", "a▁b"]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [], unk_token="<unk>"))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizers_case(tokenizer, directory)


class SentencePieceReference:
    """SentencePiece's own decode, with special pieces spelled out between what it decodes: it has no text for them."""

    def __init__(self, model: bytes) -> None:
        self.library = sentencepiece.SentencePieceProcessor(model_proto=model)
        ids = range(self.library.vocab_size())
        self.special = {i for i in ids if self.library.is_control(i) or self.library.is_unknown(i)}
        # The library strips what begins a text, so another piece begins what does not.
        self.anchor = next(
            i
            for i in ids
            if i not in self.special
            and not self.library.is_byte(i)
            and self.library.id_to_piece(i).isalnum()
            and self.library.decode([i]) == self.library.id_to_piece(i)
        )

    def decode(self, ids: list[int], skip: bool) -> str:
        if skip:
            return str(self.library.decode([i for i in ids if i not in self.special]))
        text, run = "", list[int]()
        for token_id in ids:
            if token_id in self.special:
                text += self._run(run, not text) + str(self.library.id_to_piece(token_id))
                run = []
            else:
                run.append(token_id)
        return text + self._run(run, not text)

    def _run(self, run: list[int], at_start: bool) -> str:
        if not run:
            return ""
        if at_start:
            return str(self.library.decode(run))
        return str(self.library.decode([self.anchor, *run]))[len(self.library.id_to_piece(self.anchor)) :]


def sentencepiece_case(model: bytes, directory: Path) -> Case:
    return Case(sentencepiece_files(model), SentencePieceReference(model).decode, directory)


def trained_sentencepiece(directory: Path, **options: Any) -> Case:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 3),
        model_writer=model,
        model_type="bpe",
        vocab_size=420,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
        user_defined_symbols=["▁▁", "▁▁▁"],
        **options,
    )
    return sentencepiece_case(model.getvalue(), directory)


def mistral(directory: Path) -> Case:
    return sentencepiece_case(mistral_tokenizer().read_bytes(), directory)


CASES: dict[str, Callable[[Path], Case]] = {
    "byte-level": byte_level,
    "byte-fallback": byte_fallback,
    "metaspace": metaspace,
    "replace-alone": replace_alone,
    "sentencepiece-mistral": mistral,
    "sentencepiece-default": trained_sentencepiece,
    "sentencepiece-keeps-spaces": lambda directory: trained_sentencepiece(directory, remove_extra_whitespaces=False),
    "sentencepiece-no-prefix": lambda directory: trained_sentencepiece(
        directory, add_dummy_prefix=False, remove_extra_whitespaces=False
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return CASES[request.param](tmp_path_factory.mktemp("vocabulary"))


def streamed(case: Case, ids: Iterable[int], skip: bool) -> str:
    stream = TextStream(case.vocabulary, skip_special_tokens=skip)
    return "".join(stream.push(token) for token in ids) + stream.finish()


def test_streamed_pieces_are_the_tokenizers_own_full_decode(case: Case) -> None:
    generator = random.Random(17)
    for _ in range(ROUNDS):
        ids = case.random_ids(generator)
        skip = generator.random() < 0.5
        expected = case.decode(ids, skip)
        assert streamed(case, ids, skip) == expected, ids
        assert case.vocabulary.decode(ids, skip) == expected, ids


def test_stop_texts_end_the_text_before_their_first_character(case: Case) -> None:
    generator = random.Random(3)
    stopped = 0
    for _ in range(2000):
        ids = case.random_ids(generator)
        full = case.decode(ids, True)
        if len(full) < 3:
            continue
        start = generator.randrange(len(full) - 1)
        stop = full[start : start + generator.randrange(1, 4)]
        stream = TextStream(case.vocabulary, stop=[stop])
        text = "".join(stream.push(token) for token in ids) + stream.finish()
        assert text == full[: full.index(stop)], (ids, stop)
        assert stream.stop_text == stop
        stopped += 1
    assert stopped > 500


def test_text_of_real_sentences_comes_back(case: Case) -> None:
    if len(case.by_byte) < 256:
        pytest.skip("not every byte has a token")
    for sentence in CORPUS:
        ids = [case.by_byte[bytes([byte])] for byte in sentence.encode()]
        assert streamed(case, ids, True) == sentence


def test_vocabulary_names_an_id_that_it_does_not_have(case: Case) -> None:
    with pytest.raises(ValueError, match=str(case.size)):
        case.vocabulary.decode([0, case.size])
    assert len(case.vocabulary) == case.size


def test_byte_level_added_tokens_that_are_not_special_stay(tmp_path: Path) -> None:
    content = json.loads(Tokenizer(models.BPE({"a": 0}, [])).to_str())
    content["decoder"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.add_tokens(["<工具>"])
    case = tokenizers_case(tokenizer, tmp_path)
    assert streamed(case, [0, 1, 0], True) == tokenizer.decode([0, 1, 0]) == "a<工具>a"
