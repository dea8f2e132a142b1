#!/usr/bin/env python3
"""Make tests/data/unigram-*.gguf and unigram.cases, the reference of tests/unit/test_unigram.c: small SentencePiece
Unigram models trained on this project's pages, and the ids that the sentencepiece library (0.2.3 when these were made)
gives texts of our own. Running it again makes another vocabulary, since the pages have changed, and its cases.

usage: make_unigram.py      needs the Python packages sentencepiece and protobuf
"""
import pathlib, random, struct, tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

HERE = pathlib.Path(__file__).resolve().parent
PAGES = [p.read_text() for p in sorted((HERE.parent.parent / "docs").glob("*.md"))]

# What the character map of "bytes" and "bare" does: a small one, so that the files are small. "nfkc" has the real one.
RULES = {
    "\t": " ", "\n": " ", "\u3000": " ", "\u00A0": " ", "A": "a", "B": "b", "\uFF21": "a", "\uFB01": "fi",
    "e\u0301": "\u00E9", "\u00B4": " \u0301", "\u200B": "", "\u2025": "..", "o\u0308": "\u00F6", "Oe": "\u00F6",
}

VOCABULARIES = {
    "nfkc": dict(vocab_size=400, normalization_rule_name="nmt_nfkc"),
    "bytes": dict(vocab_size=600, byte_fallback=True, rules=RULES),
    "bare": dict(vocab_size=300, rules=RULES, add_dummy_prefix=False),
    "spaces": dict(vocab_size=300, normalization_rule_name="identity", remove_extra_whitespaces=False),
    "raw": dict(vocab_size=300, normalization_rule_name="identity", remove_extra_whitespaces=False,
                add_dummy_prefix=False, split_by_whitespace=False),
}

TEXTS = [
    "", " ", "   ", "\t", "a", " a", "a ", "  a  b  ", "the model reads the file", "The Model Reads The File",
    "x\u2581y", "\u2581", "\u2581\u2581a", "a\u2581\u2581b ", " \u2581 a", "caf\u00E9 cafe\u0301",
    "\uFF21\uFF22\uFF23 \uFF11\uFF12\uFF13", "of\uFB01ce", "\u00B4tick", "zero\u200Bwidth", "two\u2025dots",
    "line\nend\r\nand\ttab", "\u0645\u0631\u062D\u0628\u0627 \u0628\u0643\u0645",
    "\u65E5\u672C\u8A9E\u306E\u30C6\u30AD\u30B9\u30C8", "\uAC00\uB098\uB2E4 \u1100\u1161",
    "\u0BAE\u0BC1\u0B95\u0BB5\u0BB0\u0BCD", "\U0001F600\U0001F468\u200D\U0001F469\u200D\U0001F467",
    "tokens: 1234567890, 3.14 and 1e-5", "int main(void) { return 0; }",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "\u00BD \u2460 \u33A5 \u2122 \u212B", "nul\0inside",
    "\u0001\u007F\u0085", "<s>plain</s><unk>", "Stra\u00DFe na\u00EFve \u0152uvre \u0130stanbul", "\uFFFD\uFFFE",
    "a" + " " * 300 + "b", "\u0301alone", "e\u0301\u0301",
]
PARTS = [
    "the ", "token", "s", " ", "  ", "\t", "\u3000", "\u2581", "A", "B", "e", "\u0301", "o\u0308", "\u00B4",
    "\uFB01", "\u200B", "\uFF21", "\u65E5", "\u672C", "\uAC00", "\U0001F600", "1", "23", ".", ",", "model", "ing",
    "un", "\u00E9", "\u0BAE", "x", "zq", "\n", "\u2025", "Oe",
]


def random_texts(seed, n):
    pick = random.Random(seed)
    return ["".join(pick.choice(PARTS) for _ in range(pick.randint(1, 14))) for _ in range(n)]


def train(folder, name, rules=None, **settings):
    corpus = folder / "corpus"
    corpus.write_text("\n".join(line for page in PAGES for line in page.splitlines() if line.strip()))
    if rules:
        table = folder / "rules.tsv"
        hexed = lambda s: " ".join(f"{ord(c):X}" for c in s)
        table.write_text("".join(f"{hexed(a)}\t{hexed(b)}\n" for a, b in sorted(rules.items())))
        settings["normalization_rule_tsv"] = str(table)
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(folder / name), model_type="unigram", num_threads=1, minloglevel=2,
        character_coverage=0.98, max_sentencepiece_length=12, **settings)
    return (folder / f"{name}.model").read_bytes()


def string(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(data)) + data


def array(kind, data, n):
    return struct.pack("<IIQ", 9, kind, n) + data


def gguf(model):
    pieces = model.pieces
    values = {
        "general.architecture": struct.pack("<I", 8) + string("t5"),
        "tokenizer.ggml.model": struct.pack("<I", 8) + string("t5"),
        "tokenizer.ggml.tokens": array(8, b"".join(string(p.piece) for p in pieces), len(pieces)),
        "tokenizer.ggml.scores": array(6, struct.pack(f"<{len(pieces)}f", *(p.score for p in pieces)), len(pieces)),
        "tokenizer.ggml.token_type": array(5, struct.pack(f"<{len(pieces)}i", *(p.type for p in pieces)), len(pieces)),
        "tokenizer.ggml.unknown_token_id": struct.pack("<II", 4, model.trainer_spec.unk_id),
        "tokenizer.ggml.bos_token_id": struct.pack("<II", 4, model.trainer_spec.bos_id),
        "tokenizer.ggml.eos_token_id": struct.pack("<II", 4, model.trainer_spec.eos_id),
        "tokenizer.ggml.add_space_prefix": struct.pack("<I?", 7, model.normalizer_spec.add_dummy_prefix),
        "tokenizer.ggml.remove_extra_whitespaces":
            struct.pack("<I?", 7, model.normalizer_spec.remove_extra_whitespaces),
    }
    charsmap = model.normalizer_spec.precompiled_charsmap
    if charsmap:
        values["tokenizer.ggml.precompiled_charsmap"] = array(0, charsmap, len(charsmap))
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(values))
    return head + b"".join(string(key) + value for key, value in values.items())


def main():
    lines = ["# vocabulary, text as hex, ids; made by make_unigram.py with sentencepiece " + sentencepiece.__version__]
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, settings) in enumerate(VOCABULARIES.items()):
            data = train(pathlib.Path(scratch), name, **settings)
            model = sentencepiece_model_pb2.ModelProto.FromString(data)
            (HERE / f"unigram-{name}.gguf").write_bytes(gguf(model))
            processor = sentencepiece.SentencePieceProcessor(model_proto=data)
            for text in TEXTS + random_texts(number, 250):
                ids = " ".join(map(str, processor.encode(text))) or "-"
                lines.append(f"{name}\t{text.encode().hex() or '-'}\t{ids}")
    (HERE / "unigram.cases").write_text("\n".join(lines) + "\n")


main()
