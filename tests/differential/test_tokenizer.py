#!/usr/bin/env python3
"""Random Unicode texts, tokenized by muga and by Hugging Face's tokenizers with the same vocabulary; ids must agree.
Would break: a pre-tokenizer or a kind of merging would differ from the one that models were trained with, on texts that
no list of cases thought of.

Needs the Python package tokenizers, which is no part of the set-up, and vocabularies (shared data, or those that
scripts/test-vocabularies unpacks); without them the test is skipped. To have it:

    python3 -m venv DIR && DIR/bin/pip install tokenizers
    MUGA_TEST_PYTHON=DIR/bin/python ctest --test-dir build -R differential
    MUGA_PROGRAM=build/muga DIR/bin/python tests/differential/test_tokenizer.py [SEED [COUNT [GGUF PRE]...]]

GGUF PRE: a vocabulary's file, and the pre-tokenizer to use with it (a copy is made that names it).
"""

import json
import lzma
import os
import random
import struct
import subprocess
import sys
import tempfile
import unicodedata

try:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
except ImportError as why:
    other = os.environ.get("MUGA_TEST_PYTHON")
    if other and os.path.realpath(other) != os.path.realpath(sys.executable):
        os.execv(other, [other, *sys.argv])
    print(f"skipped: the package tokenizers is not installed ({why}); the top of this file says how")
    sys.exit(77)

MUGA = os.environ["MUGA_PROGRAM"]
SHARED = os.path.join(os.environ.get("MUGA_SHARED", "../shared"), "conformance", "tokenizers")
VOCABULARIES = os.environ.get("MUGA_TEST_VOCABULARIES", "")
R = random.Random()

# ---- GGUF metadata ----

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class Metadata:
    """The keys of a GGUF file, and where the value of tokenizer.ggml.pre stands."""

    def __init__(self, data):
        self.data, self.at, self.keys, self.pre = data, 24, {}, None
        for _ in range(struct.unpack_from("<Q", data, 16)[0]):
            key = self.string()
            kind, = self.take("<I")
            start = self.at
            self.keys[key] = self.value(kind)
            if key == "tokenizer.ggml.pre":
                self.pre = (start, self.at)

    def take(self, form):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values

    def string(self):
        n, = self.take("<Q")
        self.at += n
        return self.data[self.at - n:self.at].decode("utf-8", "surrogateescape")

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            element, n = self.take("<IQ")
            if element in (8, 9):
                return [self.value(element) for _ in range(n)]
            return list(self.take(f"<{n}{SCALARS[element]}"))
        return self.take("<" + SCALARS[kind])[0]

    def with_pre(self, name):
        """The file's bytes with another pre-tokenizer (metadata alone: the file must be a vocabulary)."""
        start, end = self.pre
        name = name.encode()
        return self.data[:start] + struct.pack("<Q", len(name)) + name + self.data[end:]


# ---- the same tokenizer in Hugging Face's library ----

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN35 = (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+C?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*C?|\p{{N}}{{1,3}}"
         r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
             r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def splits(*patterns):
    return pre_tokenizers.Sequence([*map(split, patterns), pre_tokenizers.ByteLevel(False, use_regex=False)])


GPT2 = pre_tokenizers.ByteLevel(False, use_regex=True)
DIGITS_GPT2 = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), GPT2])
PRE = {
    "gpt-2": GPT2, "mpt": GPT2, "smollm": DIGITS_GPT2, "starcoder": DIGITS_GPT2, "refact": DIGITS_GPT2,
    "command-r": DIGITS_GPT2, "llama-bpe": splits(LLAMA3), "qwen2": splits(LLAMA3.replace("{1,3}", "")),
    "qwen35": splits(QWEN35), "gpt-4o": splits(O200K.replace("C?", CONTRACTIONS + "?")),
    "tekken": splits(O200K.replace("C?", "").replace("{1,3}", "")),
    "deepseek-v3": splits(r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK3),
    "deepseek-coder": splits("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+",
                             r"\p{N}"),
    "falcon": pre_tokenizers.Sequence([pre_tokenizers.Punctuation("contiguous"), GPT2, split("[0-9][0-9][0-9]")])}


def sentencepiece_merges(tokens, vocab, scores):
    """What merging by the score of the result comes to, as a list of merges."""
    merges = []
    for token, i in vocab.items():
        for k in range(1, len(token)):
            left, right = token[:k], token[k:]
            if left in vocab and right in vocab:
                merges.append((-scores[i], vocab[left], vocab[right]))
    merges.sort()
    return [(tokens[left], tokens[right]) for _, left, right in merges]


def build(keys, pre):
    tokens = keys["tokenizer.ggml.tokens"]
    types = keys.get("tokenizer.ggml.token_type") or [1] * len(tokens)
    vocab = {token: i for i, token in enumerate(tokens)}
    kind = keys["tokenizer.ggml.model"]
    if kind == "gpt2":
        merges = [tuple(m.split(" ", 1)) for m in keys["tokenizer.ggml.merges"]]
        merges = [m for m in merges if all(x in vocab for x in (*m, m[0] + m[1]))]
        out = Tokenizer(models.BPE(vocab, merges, ignore_merges=pre in ("llama-bpe", "tekken")))
        out.pre_tokenizer = PRE[pre]
    elif kind == "gemma4":
        merges = [(m[:m.index(" ", 1)], m[m.index(" ", 1) + 1:]) for m in keys["tokenizer.ggml.merges"]]
        out = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
        out.normalizer = normalizers.Replace(" ", "\u2581")
    else:
        merges = sentencepiece_merges(tokens, {t: i for t, i in vocab.items() if types[i] in (1, 4)},
                                      keys["tokenizer.ggml.scores"])
        out = Tokenizer(models.BPE(vocab, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
        out.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    return out, [t for t, y in zip(tokens, types) if y in (2, 3, 4) and t]


# ---- texts ----

# Blocks of every kind of script, marks, punctuation, symbols, emoji, private use, controls.
BLOCKS = [(0x20, 0x7e), (0xa0, 0x24f), (0x250, 0x2ff), (0x300, 0x36f), (0x370, 0x52f), (0x530, 0x5ff), (0x600, 0x74f),
          (0x900, 0x9ff), (0xa00, 0xaff), (0xb80, 0xcff), (0xe00, 0xeff), (0xf00, 0x109f), (0x10a0, 0x11ff),
          (0x1200, 0x13ff), (0x1680, 0x18af), (0x1c80, 0x1dbf), (0x1dc0, 0x1fff), (0x2000, 0x209f), (0x20a0, 0x218f),
          (0x2190, 0x27bf), (0x2c00, 0x2fff), (0x3000, 0x33ff), (0x3400, 0x9fff), (0xa000, 0xabff), (0xac00, 0xd7ff),
          (0xe000, 0xf8ff), (0xf900, 0xfdff), (0xfe00, 0xffff), (0x10000, 0x107ff), (0x10800, 0x11fff),
          (0x12000, 0x18fff), (0x1b000, 0x1dfff), (0x1e000, 0x1faff), (0x20000, 0x323af), (0xe0000, 0xe01ff), (0, 0x1f),
          (0x7f, 0x9f)]
PIECES = ["'s", "'S", "'t", "'RE", "'ll", "'d", "’s", "'", "''", " '", "\n", "\r\n", "\r", "\n\n", "\t", " ",
          "  ", "   ", "\u00a0", "\u3000", "\u2028", "\u200b", "\u200d", "\ufeff", "\u0085", "\x0b", "1", "12",
          "123", "1234", "12345678", "٣", "१२३", "Ⅷ", "½", "²", "１２", "Hello", "hello", "HELLO",
          "hELLO", " the", "CamelCase", "XMLHttp", "snake_case", "naïve", "n\u0303", "e\u0301", "👍🏽",
          "👨\u200d👩\u200d👧", "🇮🇳", "❤\ufe0f", "ß", "ſ", "'ſ", "中文", "日本語",
          "カナ", "한국어", "ไทย", "العربية", "עברית", "தம\u0bbfழ\u0bcd",
          "ह\u093fन\u094dद\u0940", "русский", "ǅ", "ʰ", "ª", "々", "!", "?!", "...", "…",
          "--", "//", "/", "\\", "_", "$", "+", "=", "<=", "^", "~", "|", "`", "#", "@", "(", ")", "{", "}",
          "\"", "“", "。", "，", "！", "http://a.b/c?d=e", "1,000.5", "ำ", "\u0f73", "⃝"]


def character(block):
    """An assigned one: which letters Unicode 16 added is a question of versions."""
    while True:
        c = chr(R.randint(*block))
        if unicodedata.category(c) not in ("Cn", "Cs"):
            return c


def piece():
    at = R.random()
    if at < .45:
        return R.choice(PIECES)
    if at < .7:
        block = R.choice(BLOCKS)
        return "".join(character(block) for _ in range(R.randint(1, 6)))
    if at < .8:
        return R.choice(PIECES) * R.randint(2, 12)
    if at < .85:
        return character(R.choice(BLOCKS)) * R.randint(2, 20)
    letters = " \n\r\t\u00a0\u3000" if at < .93 else "abcdefghijklmnopqrstuvwxyz"
    return "".join(R.choice(letters) for _ in range(R.randint(1, 9)))


def texts(count, special):
    out = []
    while len(out) < count:
        text = "".join(piece() for _ in range(R.choice([1, 1, 2, 3, 4, 6, 10, 20])))
        if not any(name in text for name in special):
            out.append(text)
    return out


# ---- comparison ----

def muga(path, lines):
    text = "".join(json.dumps({"text": line}) + "\n" for line in lines)
    done = subprocess.run([MUGA, "debug", "tokens", path], input=text, capture_output=True, text=True, timeout=300,
                          check=False)
    if done.returncode:
        sys.exit(f"{path}: exit {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def compare(path, pre, count, folder):
    with open(path, "rb") as f:
        metadata = Metadata(f.read())
    own = metadata.keys.get("tokenizer.ggml.pre")
    if pre and pre != own:
        path = os.path.join(folder, "other.gguf")
        with open(path, "wb") as f:
            f.write(metadata.with_pre(pre))
    theirs, special = build(metadata.keys, pre or own)
    lines = texts(count, special)
    wrong = []
    for line, ids in zip(lines, muga(path, lines)):
        wanted = theirs.encode(line, add_special_tokens=False).ids
        if wanted != ids:
            wrong.append((line, wanted, ids))
    print(f"{os.path.basename(path)} {pre or own}: {count} texts, {len(wrong)} differ")
    for line, wanted, ids in sorted(wrong, key=lambda w: len(w[0]))[:3]:
        print(f"  {line!a}\n    theirs {wanted[:16]}\n    ours   {ids[:16]}")
    return len(wrong)


def vocabularies(folder):
    """(file, pre-tokenizer or None for its own) of what is there."""
    for name in ("gpt-2", "smollm2", "qwen2", "gemma-4", "phi-3"):
        packed = os.path.join(SHARED, name, "vocab.gguf.xz")
        path = os.path.join(folder, name + ".gguf")
        if os.path.exists(packed):
            with lzma.open(packed) as source, open(path, "wb") as to:
                to.write(source.read())
            yield path, None
    for name in ("llama-bpe", "llama-spm", "starcoder", "refact", "mpt", "falcon", "command-r", "deepseek-coder",
                 "qwen35"):
        path = os.path.join(VOCABULARIES, f"ggml-vocab-{name}.gguf")
        if os.path.exists(path):
            yield path, None
            if name == "llama-bpe":
                yield from ((path, pre) for pre in ("gpt-4o", "tekken", "deepseek-v3", "qwen35", "falcon"))


def main():
    R.seed(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    with tempfile.TemporaryDirectory() as folder:
        named = list(zip(sys.argv[3::2], sys.argv[4::2])) or list(vocabularies(folder))
        if not named:
            print("skipped: no vocabulary is there; run scripts/test-vocabularies")
            sys.exit(77)
        n_wrong = sum(compare(path, pre, count, folder) for path, pre in named)
    sys.exit(1 if n_wrong else 0)


if __name__ == "__main__":
    main()
