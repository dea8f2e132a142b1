"""Writes the corpora that are bytes and not text: corpus/gguf, adapter, packed, tokenizer, safetensors and folder. The
others are kept by hand.

    python3 tests/fuzz/make_corpus.py
"""
import json
import os
import struct

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMAT = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}
BLOCK = {"F32": (0, 1, 4), "F16": (1, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q8_0": (8, 32, 34),
         "Q2_K": (10, 256, 84), "Q6_K": (14, 256, 210), "BF16": (30, 1, 2), "I8": (24, 1, 1)}


def save(corpus, name, data):
    folder = os.path.join(HERE, corpus)
    os.makedirs(folder, exist_ok=True)
    assert len(data) <= 4096, (name, len(data))
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


# ---- GGUF ----


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(s)) + s


def scalar(kind, value):
    return text(value) if kind == STRING else struct.pack("<" + FORMAT[kind], value)


def pair(name, kind, value):
    if isinstance(value, list):
        body = struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(scalar(kind, v) for v in value)
    else:
        body = struct.pack("<I", kind) + scalar(kind, value)
    return text(name) + body


def gguf(keys, tensors=(), version=3, alignment=32):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(pair(*k) for k in keys)
    data = b""
    for i, (name, kind, dims) in enumerate(tensors):
        number, per_block, block_bytes = BLOCK[kind]
        count = 1
        for d in dims:
            count *= d
        n = count // per_block * block_bytes
        head += text(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
        head += struct.pack("<IQ", number, len(data))
        data += bytes((i * 37 + k * 11) & 0x3F for k in range(n))
        data += bytes(-len(data) % alignment)
    return head + bytes(-len(head) % alignment) + data


def printable_bytes():
    """GPT-2's spelling of the bytes."""
    out, next_free = [], 0x100
    for b in range(256):
        itself = 0x21 <= b <= 0x7E or (b > 0xA0 and b != 0xAD)
        out.append(chr(b if itself else next_free))
        next_free += not itself
    return out


def vocabulary(kind, tokens, types, more=()):
    return [("tokenizer.ggml.model", STRING, kind), ("tokenizer.ggml.tokens", STRING, tokens),
            ("tokenizer.ggml.token_type", I32, types), *more]


def charsmap():
    """One replacement, "A" -> "a", as a double array of 256 words whose root has base 0x40."""
    words = [0] * 256
    words[0] = 0x40 << 10
    words[0x40 ^ 0x41] = 0x20 << 10 | 1 << 8 | 0x41
    words[0x40 ^ 0x41 ^ 0x20] = 1 << 31
    blob = struct.pack("<256I", *words)
    return list(struct.pack("<I", len(blob)) + blob + b"a\0")


def make_gguf():
    every = [("k.u8", U8, 200), ("k.i8", I8, -3), ("k.u16", U16, 60000), ("k.i16", I16, -300), ("k.u32", U32, 1 << 31),
             ("k.i32", I32, -7), ("k.f32", F32, 0.5), ("k.bool", BOOL, True), ("k.string", STRING, "text \u00fc"),
             ("k.u64", U64, 1 << 63), ("k.i64", I64, -1), ("k.f64", F64, 1e300)]
    save("gguf", "empty", gguf([]))
    save("gguf", "version-2", gguf(every[:2], version=2))
    save("gguf", "version-1", gguf(every[:2], version=1))
    save("gguf", "every-type", gguf(every))
    save("gguf", "arrays", gguf([(n + "s", k, [v, v]) for n, k, v in every] + [("none", U32, []), ("no", STRING, [])]))
    save("gguf", "alignment-8", gguf([("general.alignment", U32, 8)], [("a", "F32", [3]), ("b", "F16", [5])],
                                     alignment=8))
    save("gguf", "alignment-3", gguf([("general.alignment", U32, 3)], [("a", "F32", [3])]))
    save("gguf", "tensors", gguf(every[:1], [(k.lower(), k, [256]) for k in BLOCK]))
    save("gguf", "dims", gguf([], [("a", "F32", [2, 3, 2, 1]), ("b", "Q4_0", [32, 2]), ("c", "F16", [1])]))
    save("gguf", "row-no-block", gguf([], [("a", "Q4_0", [33, 2])]))
    save("gguf", "same-name", gguf([], [("a", "F32", [8]), ("a", "F32", [8])]))
    save("gguf", "same-key", gguf([every[0], every[0]]))
    whole = gguf(every[:4], [("a", "F32", [8])])
    save("gguf", "cut-data", whole[:-40])
    save("gguf", "cut-head", whole[:60])
    save("gguf", "huge-counts", b"GGUF" + struct.pack("<IQQ", 3, 1 << 62, 1 << 62))
    save("gguf", "huge-string", b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, (1 << 64) - 8) + b"key")
    save("gguf", "huge-array", b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") +
         struct.pack("<IIQ", ARRAY, STRING, 1 << 61))
    save("gguf", "huge-dims", b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("a") +
         struct.pack("<IQQQQIQ", 4, 1 << 31, 1 << 31, 1 << 31, 4, 0, 0))
    save("gguf", "array-in-array", b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("a") +
         struct.pack("<IIQIQ", ARRAY, ARRAY, 1, U8, 0))
    special, few = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], ["t", "h", "th", "e", "the"]
    letters = printable_bytes()
    bpe = special + letters + ["th", "the", "\u0120the"]
    save("gguf", "bpe", gguf(vocabulary("gpt2", bpe, [3] * 3 + [1] * (len(bpe) - 3), [
        ("tokenizer.ggml.pre", STRING, "gpt-2"), ("tokenizer.ggml.eos_token_id", U32, 2),
        ("tokenizer.ggml.merges", STRING, ["t h", "th e", "\u0120 the"])])))
    save("gguf", "bpe-few", gguf(vocabulary("gpt2", special + few, [3] * 3 + [1] * 5, [
        ("tokenizer.ggml.pre", STRING, "llama-bpe"), ("tokenizer.ggml.merges", STRING, ["t h", "th e"]),
        ("tokenizer.ggml.add_bos_token", BOOL, True), ("tokenizer.ggml.bos_token_id", U32, 0)])))
    spaced = ["<unk>", "<s>", "</s>"] + few + ["\u2581", "\u2581the", "<0x0A>"]
    kinds = [2, 3, 3] + [1] * 7 + [6]
    scores = ("tokenizer.ggml.scores", F32, [-i / 4 for i in range(len(spaced))])
    save("gguf", "scores", gguf(vocabulary("llama", spaced, kinds, [scores])))
    save("gguf", "short-scores", gguf(vocabulary("llama", spaced, kinds, [scores[:2] + (scores[2][:3],)])))
    save("gguf", "unigram", gguf(vocabulary("t5", spaced, kinds, [
        scores, ("tokenizer.ggml.unknown_token_id", U32, 0),
        ("tokenizer.ggml.precompiled_charsmap", U8, charsmap())])))
    words = ["[UNK]", "[CLS]", "[SEP]", "\u2581the", "\u2581t", "he", "\u2581<", "s"]
    save("gguf", "wordpiece", gguf(vocabulary("bert", words, [2, 3, 3, 1, 1, 1, 1, 1], [
        ("tokenizer.ggml.unknown_token_id", U32, 0)])))
    save("gguf", "gemma4", gguf(vocabulary("gemma4", spaced, kinds, [
        ("tokenizer.ggml.merges", STRING, ["t h", "th e"])])))


# ---- texts for tokenizers: a byte that chooses the vocabulary, one of flags, the text ----


def make_tokenizer():
    texts = [("words", "The thing, they're IN the inn: 12345 th\n\n  the\n"),
             ("spaces", " \t  the\r\n \n   \u00a0\u2003the "),
             ("letters", "\u00fcber \u4e2d\u6587\u3042 \u0e01\u0e34 \u0915\u094d\u0937 "
              "\U0001f600\U0001f1e9\U0001f1ea e\u0301 \u2581the"),
             ("specials", "<s>[T]<|im_end|> </s>[T] the<unk>[T]]")]
    for which in range(18):
        name, one = texts[which % len(texts)]
        save("tokenizer", "%02d-%s" % (which, name), bytes([which, which % 8]) + one.encode())
    for which in (0, 2, 4, 11, 13, 14, 15, 16, 17):
        save("tokenizer", "%02d-bytes" % which,
             bytes([which, 0]) + b"\xff\xc3(\xf0\x9f\x98 \xed\xa0\x80\x00the\xe2\x96")


# ---- adapters for the model of fuzz_adapter.c: every matrix 32 x 32, a vocabulary of 8 ----


def lora(name, kind, rank, cols=32, rows=32):
    return [(name + ".weight.lora_a", kind, [cols, rank]), (name + ".weight.lora_b", kind, [rank, rows])]


def make_adapter():
    keys = [("general.type", STRING, "adapter"), ("general.architecture", STRING, "llama"),
            ("adapter.type", STRING, "lora"), ("adapter.lora.alpha", F32, 2.0)]
    q, up = lora("blk.0.attn_q", "F16", 2), lora("blk.0.ffn_up", "BF16", 3)
    embd = [("token_embd.weight.lora_a", "F16", [2, 8]), ("token_embd.weight.lora_b", "F16", [2, 32])]
    save("adapter", "one", gguf(keys, q))
    save("adapter", "several", gguf(keys, q + lora("blk.0.attn_v", "F16", 1) + up + lora("output", "F16", 2, rows=8)))
    save("adapter", "embedding", gguf(keys, embd))
    save("adapter", "quantised", gguf(keys, lora("blk.0.ffn_down", "Q8_0", 32)))
    save("adapter", "floats", gguf(keys, lora("blk.0.attn_output", "F32", 2)))
    save("adapter", "no-alpha", gguf(keys[:3], q))
    save("adapter", "alpha-infinite", gguf(keys[:3] + [("adapter.lora.alpha", F32, float("inf"))], q))
    save("adapter", "alpha-whole", gguf(keys[:3] + [("adapter.lora.alpha", U32, 2)], q))
    save("adapter", "other-architecture", gguf([keys[0], (keys[1][0], STRING, "qwen2")] + keys[2:], q))
    save("adapter", "no-kind", gguf(keys[1:], q))
    save("adapter", "no-tensors", gguf(keys))
    save("adapter", "half", gguf(keys, q[:1]))
    save("adapter", "ranks-differ", gguf(keys, [q[0], ("blk.0.attn_q.weight.lora_b", "F16", [3, 32])]))
    save("adapter", "other-shape", gguf(keys, lora("blk.0.attn_q", "F16", 2, cols=16)))
    save("adapter", "embedding-upright", gguf(keys, lora("token_embd", "F16", 2, rows=8)))
    save("adapter", "no-such-matrix", gguf(keys, q + lora("blk.1.attn_q", "F16", 1)))
    save("adapter", "norm", gguf(keys, q + [("blk.0.attn_norm.weight", "F32", [32])]))
    save("adapter", "whole-numbers", gguf(keys, lora("blk.0.attn_q", "I8", 2)))
    save("adapter", "dims-3", gguf(keys, [("blk.0.attn_q.weight.lora_a", "F16", [32, 2, 2]), q[1]]))
    save("adapter", "tokens", gguf(keys + [("adapter.alora.invocation_tokens", U32, [1, 2])], q))
    save("adapter", "cut", gguf(keys, q)[:-100])


# ---- weights files ----


def tensors(header, n_data, length=None):
    head = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(head) if length is None else length) + head + bytes(range(1, n_data + 1))


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def make_safetensors():
    good = {"__metadata__": {"format": "pt"}, "b": entry("F16", [2, 3], 8, 20), "a": entry("F32", [2], 0, 8),
            "e": entry("BF16", [0, 7], 20, 20), "n": entry("I64", [], 20, 28)}
    save("safetensors", "good", tensors(good, 28))
    save("safetensors", "empty", tensors({}, 0))
    save("safetensors", "cut", tensors(good, 27))
    save("safetensors", "tail", tensors(good, 29))
    save("safetensors", "length", tensors(good, 28, 2**63))
    save("safetensors", "overlap", tensors({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 2, 6)}, 6))
    save("safetensors", "hole", tensors({"a": entry("U8", [4], 0, 4), "b": entry("U8", [1], 5, 6)}, 6))
    save("safetensors", "large", tensors({"a": entry("F32", [2**62, 4], 0, 0)}, 0))
    save("safetensors", "dtype", tensors({"a": entry("F4", [2], 0, 1)}, 1))
    save("safetensors", "duplicate", tensors(b'{"a":{},"a":{}}', 0))


# ---- texts of a model's folder: a byte that says which, the text ----


def varint(v):
    out = b""
    while v >= 128:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


def field(number, value):
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def pieces(kind, extra=b""):
    listed = [(b"<unk>", 2, 0.0), (b"<s>", 3, 0.0), (b"<0x41>", 6, 0.0), ("\u2581t".encode(), 1, -1.0),
              (b"he", 1, -2.0), (b"t", 1, -9.0), (b"h", 1, -9.0), (b"e", 1, -9.0), ("\u2581".encode(), 4, -9.0)]
    out = b"".join(field(1, field(1, text) + field(2, score) + field(3, kind_of)) for text, kind_of, score in listed)
    normaliser = field(1, b"nmt") + field(2, bytes(charsmap())) + field(4, 0) + extra
    return out + field(2, field(3, kind)) + field(3, normaliser)


def make_folder():
    def part(which, name, value):
        text = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
        save("folder", "%d-%s" % (which, name), bytes([which]) + text)

    shape = {"hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
             "intermediate_size": 96, "max_position_embeddings": 4096, "vocab_size": 32, "rope_theta": 1e4}
    ropes = {"linear": {"type": "linear", "factor": 8.0}, "yarn": {"rope_type": "yarn", "factor": 4.0},
             "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                        "original_max_position_embeddings": 1024},
             "longrope": {"type": "longrope", "original_max_position_embeddings": 1024, "short_factor": [1.0] * 8,
                          "long_factor": [1.5] * 8}}
    for name, rope in ropes.items():
        part(0, name, dict(shape, architectures=["Phi3ForCausalLM"], rope_scaling=rope))
    part(0, "gemma3", {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": dict(
        shape, head_dim=16, rope_parameters={"full_attention": ropes["linear"], "sliding_attention": {}},
        layer_types=["sliding_attention"] * 5 + ["full_attention"], query_pre_attn_scalar=8)})
    part(0, "granite", dict(shape, architectures=["GraniteForCausalLM"], logits_scaling=4.0, head_dim=None))
    part(0, "window", dict(shape, architectures=["Qwen2ForCausalLM"], use_sliding_window=True, sliding_window=64))
    part(0, "quantised", dict(shape, architectures=["LlamaForCausalLM"], quantization_config={}))
    added = [{"id": 3, "content": "<s>", "special": True}, {"id": 9, "content": "\u2581\u2581", "special": False}]
    frame = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]}
    split = {"type": "Split", "pattern": {"Regex": "\\p{N}"}, "behavior": "Isolated", "invert": False}
    bytes_level = {"type": "ByteLevel", "add_prefix_space": False}
    vocab = {"a": 0, "b": 1, "ab": 2}
    part(1, "bpe", {"added_tokens": added, "normalizer": {"type": "NFC"}, "post_processor": frame,
                    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes_level]},
                    "model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b"]]}})
    part(1, "pieces", {"added_tokens": added, "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "model": {"type": "BPE", "byte_fallback": True, "vocab": vocab, "merges": ["a b"], "unk_token": "a"}})
    part(1, "unigram", {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}, "pre_tokenizer": {
        "type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.5]]}})
    part(1, "wordpiece", {"normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": None},
                          "pre_tokenizer": {"type": "BertPreTokenizer"},
                          "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]},
                          "model": {"type": "WordPiece", "unk_token": "[UNK]",
                                    "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "##b": 4}}})
    part(1, "two-ids", {"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}})
    part(1, "far-id", {"model": {"type": "BPE", "vocab": {"a": 2**40}, "merges": []}})
    part(2, "templates", {"bos_token": {"content": "<s>"}, "eos_token": "ab", "add_bos_token": True,
                          "tokenizer_class": "LlamaTokenizer", "chat_template": [
                              {"name": "default", "template": "{{ x }}"}, {"name": "tool_use", "template": "t"}],
                          "added_tokens_decoder": {"4": {"content": "<x>", "special": False}}})
    part(2, "twice", {"chat_template": [{"name": "a", "template": "1"}, {"name": "a", "template": "2"}]})
    part(3, "bpe", pieces(2, field(3, 1)))
    part(3, "unigram", pieces(1))
    part(3, "words", pieces(3))
    part(3, "cut", pieces(2)[:-3])
    part(3, "varint", b"\x0a" + b"\xff" * 10 + b"\x01")


# ---- packed files: changes of a good one, (place, 0 put / 1 add / 2 fill 64 bytes, byte) ----


def make_packed():
    def edit(name, *changes):
        save("packed", name, b"".join(struct.pack("<IBB", *c) for c in changes))

    head, item = 36, 112
    for name, place, how, byte in [
            ("unchanged", 0, 1, 0), ("magic", 0, 0, 0x4E), ("version", 8, 1, 1), ("layout", 12, 1, 1),
            ("size", 16, 1, 1), ("sources", 24, 0, 1), ("items", 28, 1, 1), ("items-huge", 31, 0, 255),
            ("path", 32, 1, 8), ("name", head, 0, 0x78), ("name-without-end", head, 2, 0x41), ("kind", head + 64, 0, 9),
            ("offset-high", head + 102, 0, 1), ("offset-odd", head + 96, 1, 1), ("bytes-huge", head + 110, 0, 255)]:
        edit(name, (place, how, byte))
    for i, name in enumerate(("facts", "bytes", "begin", "slots", "merges"), 1):
        edit(name + "-shorter", (head + item * i + 88, 1, 255), (head + item * i + 104, 1, 255))
    edit("data-ones", *[(1000 + 64 * k, 2, 255) for k in range(40)])
    edit("data-end-ones", *[(4000000000 - 64 * k, 2, 1) for k in range(20)])


# ---- saved sessions: changes of a good one, (place, 0 put / 1 add / 2 cut / 3 wrong digest, byte) ----


def make_session():
    def part(name, *changes):
        save("session", name, b"".join(struct.pack("<IBB", *c) for c in changes))

    part("as-it-is")
    part("digest", (0, 3, 0))
    part("cut-head", (100, 2, 0))
    part("cut-pages", (5000, 2, 0))
    for name, place in {"magic": 0, "version": 8, "tokens": 12, "context": 16, "kv": 20, "act": 24, "positions": 28,
                        "dropped": 32, "page-bytes": 36, "note-bytes": 44, "arithmetic": 52, "model": 84,
                        "adapter": 148, "scale": 212, "overrides": 216}.items():
        part(name, (place, 1, 1))
    part("tokens-huge", *[(12 + i, 0, 255) for i in range(4)])
    part("note-huge", *[(44 + i, 0, 255) for i in range(8)])
    part("ids", (252 + 3, 0, 255))
    part("keys", *[(604 + i, 0, 255) for i in range(64)])


make_gguf()
make_packed()
make_session()
make_tokenizer()
make_adapter()
make_safetensors()
make_folder()
