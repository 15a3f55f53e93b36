"""Tokenizers of checkpoints: the ids of the originals, and a vocab.bin whose bytes are the library's own decode."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from checkpoints import GgufBuilder, edit_json, small, write_hf
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, decoders, models
from vocab_file import read_vocab

from runtime_tokenizer import runtime_tokenizer
from skywork_rt.checkpoints.open import open_source
from skywork_rt.checkpoints.samples import mistral_tokenizer
from skywork_rt.checkpoints.synthetic.huggingface_files import CORPUS
from skywork_rt.checkpoints.tokenizers.sentencepiece_model import PieceType
from skywork_rt.checkpoints.tokenizers.tokenizer_files import TokenizerFiles
from skywork_rt.checkpoints.tokenizers.tokenizer_json import tokenizer_json_files
from skywork_rt.checkpoints.tokenizers.vocabulary import encode_vocabulary
from skywork_rt.errors import CheckpointError, SkyworkError, UnsupportedError

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("tokenizer.json").read_text())["cases"]
TEXTS = [case["text"] for case in GOLDEN]


@pytest.fixture(scope="module")
def smollm2(smollm2_file: Path) -> TokenizerFiles:
    files = open_source(smollm2_file).tokenizer()
    assert files is not None
    return files


@pytest.fixture(scope="module")
def mistral() -> bytes:
    return mistral_tokenizer().read_bytes()


@pytest.mark.parametrize("case", GOLDEN, ids=[ascii(text[:20]) for text in TEXTS])
def test_smollm2_gives_the_ids_of_the_reference(smollm2: TokenizerFiles, case: dict[str, Any]) -> None:
    tokenizer = Tokenizer.from_str(smollm2.content.decode())
    assert tokenizer.encode(case["text"], add_special_tokens=False).ids == case["ids"]
    assert tokenizer.decode(case["ids"], skip_special_tokens=False) == case["text"]


def test_smollm2_settings_come_from_the_file(smollm2: TokenizerFiles) -> None:
    assert (smollm2.kind, smollm2.file, smollm2.byte_level) == ("tokenizers", "tokenizer.json", True)
    assert (smollm2.prefix_ids, smollm2.bos_id, smollm2.pad_id) == ((), 1, 2)
    assert smollm2.eos_ids == (2, 0, 4), "by name: <|endoftext|> and, as llama.cpp has it, <reponame>"
    assert smollm2.chat_template is not None
    assert "<|im_start|>" in smollm2.chat_template


def test_vocab_bin_of_a_byte_level_tokenizer_spells_what_the_library_decodes(smollm2: TokenizerFiles) -> None:
    vocab, tokenizer = read_vocab(encode_vocabulary(smollm2, 49152)), Tokenizer.from_str(smollm2.content.decode())
    assert (vocab.kind, vocab.flags, len(vocab.texts)) == (0, 0, 49152)
    assert [i for i, flags in enumerate(vocab.token_flags) if flags & 1] == list(range(17))
    random = np.random.default_rng(1)
    for _ in range(300):
        ids = random.integers(0, 49152, 12).tolist()
        text = b"".join(vocab.texts[i] for i in ids).decode("utf-8", "replace")
        assert text == tokenizer.decode(ids, skip_special_tokens=False)


def test_vocab_bin_of_sentencepiece_spells_what_the_library_decodes(tmp_path: Path, mistral: bytes) -> None:
    directory = write_hf(tmp_path / "model", config=small(vocab_size=32064))
    (directory / "tokenizer.model").write_bytes(mistral)
    files = open_source(directory).tokenizer()
    assert files is not None
    assert (files.kind, files.prefix_ids, files.bos_id, files.eos_ids) == ("sentencepiece", (1,), 1, (2,))
    vocab, library = read_vocab(encode_vocabulary(files, 32064)), sentencepiece.SentencePieceProcessor()
    library.LoadFromSerializedProto(mistral)
    assert (vocab.kind, vocab.flags, len(vocab.texts)) == (1, 1, 32064)
    assert [i for i, flags in enumerate(vocab.token_flags) if flags & 1] == [0, 1, 2]
    assert [i for i, flags in enumerate(vocab.token_flags) if flags & 2] == list(range(3, 259))
    assert [i for i, flags in enumerate(vocab.token_flags) if flags & 4] == list(range(32000, 32064))
    for text in [*TEXTS, *CORPUS]:
        spelled = b"".join(vocab.texts[i] for i in library.encode(text))
        assert spelled.removeprefix(b" ").decode() == library.decode(library.encode(text))


def _mistral_gguf(mistral: bytes, path: Path, change: Callable[[GgufBuilder], None] = lambda _: None) -> Path:
    proto = sentencepiece_model_pb2.ModelProto.FromString(mistral)
    builder = GgufBuilder(small(vocab_size=len(proto.pieces)))
    builder.tokenizer = {
        "model": "llama",
        "tokens": [piece.piece for piece in proto.pieces],
        "scores": [piece.score for piece in proto.pieces],
        "token_type": [piece.type for piece in proto.pieces],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
    }
    change(builder)
    return builder.write(path)


def test_sentencepiece_rebuilt_from_gguf_gives_the_ids_of_the_original(tmp_path: Path, mistral: bytes) -> None:
    files = open_source(_mistral_gguf(mistral, tmp_path / "a.gguf")).tokenizer()
    assert files is not None
    assert (files.kind, files.prefix_ids, files.strip_first_space) == ("sentencepiece", (1,), True)
    original, rebuilt = sentencepiece.SentencePieceProcessor(), sentencepiece.SentencePieceProcessor()
    original.LoadFromSerializedProto(mistral)
    rebuilt.LoadFromSerializedProto(files.content)
    for text in [*TEXTS, *CORPUS]:
        assert rebuilt.encode(text) == original.encode(text)
        assert rebuilt.decode(rebuilt.encode(text)) == original.decode(original.encode(text))


def test_an_end_of_turn_token_ends_a_sequence_too(tmp_path: Path, mistral: bytes) -> None:
    path = _mistral_gguf(mistral, tmp_path / "a.gguf", lambda b: b.tokenizer.update(eot_token_id=5, eom_token_id=2))
    assert open_source(path).config.eos_ids == (2, 5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"model": "bert"}, UnsupportedError, "GGUF tokenizer 'bert' is not supported"),
        ({"scores": [0.0]}, CheckpointError, "scores has 1 items for 32000 tokens"),
        ({"token_type": [1]}, CheckpointError, "token_type has 1 items for 32000 tokens"),
        ({"add_bos_token": 1}, CheckpointError, "add_bos_token is 1; expected a bool"),
    ],
)
def test_a_gguf_tokenizer_that_contradicts_itself_is_refused(
    tmp_path: Path, mistral: bytes, change: dict[str, Any], error: type[SkyworkError], message: str
) -> None:
    path = _mistral_gguf(mistral, tmp_path / "a.gguf", lambda builder: builder.tokenizer.update(change))
    with pytest.raises(error, match=message):
        open_source(path)


def test_an_id_that_no_token_has_is_left_out_with_a_warning(
    tmp_path: Path, mistral: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = _mistral_gguf(mistral, tmp_path / "a.gguf", lambda builder: builder.tokenizer.update(bos_token_id=32000))
    assert open_source(path).config.bos_id == 1, "llama.cpp's default"
    assert "bos_token_id is 32000; there are 32000 tokens" in caplog.text


BYTES = [chr(c) for c in [*range(33, 127), *range(161, 173), *range(174, 256)]]
BYTES += [chr(256 + i) for i in range(256 - len(BYTES))]


def _byte_level_gguf(path: Path, **tokenizer: Any) -> Path:
    builder = GgufBuilder(small())
    tokens = ["<s>", "</s>", *BYTES, "ab", "abc"]
    builder.tokenizer = {
        "model": "gpt2",
        "pre": "gpt-2",
        "tokens": tokens,
        "token_type": [3, 3] + [1] * (len(tokens) - 2),
        "merges": ["a b", "ab c"],
        "bos_token_id": 0,
        "eos_token_id": 1,
        **tokenizer,
    }
    return builder.write(path)


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("gpt-2", "a12345 b's", ["a", "12345", "Ġb", "'s"]),
        ("smollm", "a12345 b's", ["a", "1", "2", "3", "4", "5", "Ġb", "'s"]),
        ("llama-bpe", "a12345 b'S\n\n x", ["a", "123", "45", "Ġb", "'S", "ĊĊ", "Ġx"]),
        ("qwen2", "a12345 b'S", ["a", "1", "2", "3", "4", "5", "Ġb", "'S"]),
        ("tekken", "aBC12 d/\n", ["a", "BC", "1", "2", "Ġd", "/Ċ"]),
        ("default", "a12345 b=c", ["a", "123", "45", "Ġb", "=", "c"]),
    ],
)
def test_pre_tokenizers_split_as_their_models_do(tmp_path: Path, pre: str, text: str, pieces: list[str]) -> None:
    files = open_source(_byte_level_gguf(tmp_path / "a.gguf", pre=pre)).tokenizer()
    assert files is not None
    split = Tokenizer.from_str(files.content.decode()).pre_tokenizer.pre_tokenize_str(text)
    assert [piece for piece, _ in split] == pieces


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"pre": "other"},
            UnsupportedError,
            r"pre-tokenizer 'other' is not supported \(the name is unknown\); export the",
        ),
        ({"pre": 7}, CheckpointError, "tokenizer.ggml.pre is a int; expected text"),
        ({"merges": ["ab"]}, CheckpointError, "merge 0 is 'ab'; expected two tokens"),
        ({"merges": ["a zz"]}, CheckpointError, "rejected by the tokenizers library"),
        ({"token_type": [1]}, CheckpointError, "token_type has 1 items for 260 tokens"),
    ],
)
def test_a_byte_level_gguf_tokenizer_that_cannot_be_is_refused(
    tmp_path: Path, change: dict[str, Any], error: type[SkyworkError], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_source(_byte_level_gguf(tmp_path / "a.gguf", **change))


def test_added_tokens_join_a_sentencepiece_model(tmp_path: Path) -> None:
    config = small(vocab_size=640, tied_embeddings=False)
    directory = write_hf(tmp_path / "model", config=config, tokenizer="sentencepiece")
    size = sentencepiece.SentencePieceProcessor(model_file=str(directory / "tokenizer.model")).vocab_size()
    decoder = {
        str(size + 2): {"content": "<|end|>", "special": True},
        str(size): {"content": "<tool>", "special": False, "normalized": False},
    }
    edit_json(directory / "tokenizer_config.json", added_tokens_decoder=decoder, eos_token="<|end|>")
    edit_json(directory / "config.json", eos_token_id=None)
    files = open_source(directory).tokenizer()
    assert files is not None
    assert files.eos_ids == (size + 2,)
    assert [entry.text for entry in files.entries[size:]] == [b"<tool>", b"", b"<|end|>"]
    flags = [(entry.special, entry.unused) for entry in files.entries[size:]]
    assert flags == [(False, False), (False, True), (True, False)]
    tokenizer = runtime_tokenizer(files)
    ids = tokenizer.encode("call<tool>now<|end|>", add_special_tokens=False)
    assert (ids.count(size), ids[-1]) == (1, size + 2)
    assert tokenizer.decode(ids) == "call<tool> now"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "call<tool> now<|end|>"
    assert [tokenizer.token(i) for i in (size, size + 1, size + 2)] == ["<tool>", "", "<|end|>"]


def test_chat_templates_are_found_in_all_their_places(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model", tokenizer="byte-level")
    settings = directory / "tokenizer_config.json"

    def template() -> str | None:
        files = open_source(directory).tokenizer()
        assert files is not None
        return files.chat_template

    edit_json(settings, chat_template=[{"name": "tool", "template": "T"}, {"name": "default", "template": "D"}])
    assert template() == "D"
    edit_json(settings, chat_template="S")
    assert template() == "S"
    (directory / "chat_template.jinja").write_text("J")
    assert template() == "J"
    (directory / "chat_template.jinja").unlink()
    edit_json(settings, chat_template=None)
    assert template() is None
    edit_json(settings, chat_template=7)
    with pytest.raises(CheckpointError, match="chat_template that is a int"):
        template()


def test_bos_is_added_as_the_tokenizer_itself_does(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model", tokenizer="byte-level")
    edit_json(directory / "tokenizer_config.json", add_bos_token=None, tokenizer_class="PreTrainedTokenizerFast")
    files = open_source(directory).tokenizer()
    assert files is not None
    assert not files.prefix_ids
    body = json.loads((directory / "tokenizer.json").read_text())
    body["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    (directory / "tokenizer.json").write_text(json.dumps(body))
    files = open_source(directory).tokenizer()
    assert files is not None
    assert files.prefix_ids


def test_a_sentencepiece_like_tokenizer_json_decodes_to_the_same_bytes(tmp_path: Path) -> None:
    pieces = {
        "<unk>": 0,
        "<s>": 1,
        "</s>": 2,
        **{f"<0x{byte:02X}>": 3 + byte for byte in range(256)},
        "\u2581a": 259,
        "b": 260,
    }
    tokenizer = Tokenizer(models.BPE(vocab=pieces, merges=[], byte_fallback=True, unk_token="<unk>"))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    directory = write_hf(tmp_path / "model")
    tokenizer.save(str(directory / "tokenizer.json"))
    files = open_source(directory).tokenizer()
    assert files is not None
    vocab = read_vocab(encode_vocabulary(files, 512))
    assert (vocab.kind, vocab.flags) == (2, 1)
    assert vocab.texts[259:261] == [b" a", b"b"]
    assert vocab.texts[3 + 0xE4] == b"\xe4"
    assert vocab.token_flags[3 + 0xE4] == 2


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("tokenizer.json", b"{}", CheckpointError, r"tokenizer\.json is no tokenizer"),
        ("tokenizer.json", b"\xff", CheckpointError, "not UTF-8"),
        ("tokenizer.model", b"", CheckpointError, "tokenizer.model is empty; its download did not finish"),
        ("tokenizer.model", b"\xff\xff\xff", CheckpointError, "no SentencePiece model"),
        ("vocab.json", b"{}", UnsupportedError, "save it again to make"),
    ],
)
def test_a_tokenizer_file_that_is_none_is_refused(
    tmp_path: Path, name: str, content: bytes, error: type[SkyworkError], message: str
) -> None:
    directory = write_hf(tmp_path / "model")
    (directory / name).write_bytes(content)
    with pytest.raises(error, match=message):
        open_source(directory)


def test_a_decoder_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    directory = write_hf(tmp_path / "model")
    tokenizer = Tokenizer(models.WordPiece(vocab={"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.save(str(directory / "tokenizer.json"))
    with pytest.raises(UnsupportedError, match="decoder WordPiece"):
        open_source(directory)


@pytest.mark.parametrize(
    ("decoder", "why"),
    [
        (decoders.Sequence([decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0)]), "Replace, Strip"),
        (decoders.Sequence([decoders.Replace("_", " "), decoders.Fuse()]), "Replace, Fuse"),
        (
            decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 2, 0)]),
            "Replace, Fuse, Strip",
        ),
        (decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]), "ByteFallback, Metaspace"),
        (decoders.Metaspace(replacement="_"), "Metaspace"),
        (decoders.Metaspace(), "token 2 is '▁▁'.*Llama's decoder"),
    ],
)
def test_a_decoder_that_a_bundle_cannot_express_exactly_is_refused(decoder: Any, why: str) -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "▁a": 1, "▁▁": 2}, []))
    tokenizer.decoder = decoder
    with pytest.raises(UnsupportedError, match=f"decoder {why}" if "token" not in why else why):
        tokenizer_json_files(tokenizer.to_str())


def test_types_of_pieces_are_those_of_sentencepiece() -> None:
    theirs = sentencepiece_model_pb2.ModelProto.SentencePiece.Type
    for name in ("NORMAL", "UNKNOWN", "CONTROL", "USER_DEFINED", "UNUSED", "BYTE"):
        assert theirs.Value(name) == getattr(PieceType, name)
