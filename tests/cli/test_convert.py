"""Would break: muga convert leaves half a file behind, ends with another code than it says, or takes a folder that is
damaged for a good one; muga embed gives something else than vectors of length 1.

The folders are small models written here, a decoder and an encoder, then damaged one way at a time."""
import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

MUGA = os.environ["MUGA_PROGRAM"]
N_EMBD, N_FF, N_LAYER, N_HEAD, N_CTX = 32, 48, 2, 4, 64
bad = 0


def broken(what):
    global bad
    bad += 1
    print("not ok: " + what)


def run(*args, text=None):
    return subprocess.run([MUGA, *args], input=text, capture_output=True, text=True, timeout=120)


def check(name, code, pattern, *args, text=None):
    r = run(*args, text=text)
    if r.returncode != code or pattern not in r.stdout + r.stderr:
        said = r.stdout + r.stderr
        broken("%s: exit %d (expected %d), expected %r in:\n%s" % (name, r.returncode, code, pattern, said))
    return r


# ---- folders ----


def write(folder, name, value):
    with open(os.path.join(folder, name), "wb") as f:
        f.write(value if isinstance(value, bytes) else json.dumps(value).encode())


def weights(shapes, dtype="F32", seed=1):
    r = random.Random(seed)
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, shape in shapes.items():
        n = math.prod(shape)
        one = "norm" in name.lower() and name.endswith("weight")
        values = [1.0] * n if one else [r.uniform(-0.2, 0.2) for _ in range(n)]
        raw = struct.pack("<%d%s" % (n, "f" if dtype == "F32" else "e"), *values)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + data


def decoder(folder, **config):
    tokens = [chr(c) for c in range(0x21, 0x7F)] + ["\u0120", "\u010a", "\u0120t", "he"]
    vocab = {t: i for i, t in enumerate(tokens)}
    n = len(vocab) + 2
    norms = {"input_layernorm": (N_EMBD,), "post_attention_layernorm": (N_EMBD,)}
    matrices = {"self_attn.q_proj": (N_EMBD, N_EMBD), "self_attn.k_proj": (N_EMBD // 2, N_EMBD),
                "self_attn.v_proj": (N_EMBD // 2, N_EMBD), "self_attn.o_proj": (N_EMBD, N_EMBD),
                "mlp.gate_proj": (N_FF, N_EMBD), "mlp.up_proj": (N_FF, N_EMBD), "mlp.down_proj": (N_EMBD, N_FF)}
    shapes = {"model.embed_tokens.weight": (n, N_EMBD), "model.norm.weight": (N_EMBD,)}
    for i in range(N_LAYER):
        for name, shape in {**norms, **matrices}.items():
            shapes["model.layers.%d.%s.weight" % (i, name)] = shape
    os.makedirs(folder)
    write(folder, "model.safetensors", weights(shapes, "F16"))
    write(folder, "config.json", {
        "architectures": ["LlamaForCausalLM"], "hidden_size": N_EMBD, "intermediate_size": N_FF, "vocab_size": n,
        "num_hidden_layers": N_LAYER, "num_attention_heads": N_HEAD, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
        "max_position_embeddings": N_CTX, "hidden_act": "silu", "tie_word_embeddings": True, **config})
    write(folder, "tokenizer.json", {
        "added_tokens": [{"id": n - 2, "content": "<s>", "special": True},
                         {"id": n - 1, "content": "</s>", "special": True}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["\u0120 t", "h e"]}})
    write(folder, "tokenizer_config.json", {"bos_token": "<s>", "eos_token": {"content": "</s>"}})


def encoder(folder):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + [c for c in "abcdefgh"] + ["##" + c for c in "abcdefgh"]
    e, names = "embeddings.", ("attention.self.query", "attention.self.key", "attention.self.value",
                               "attention.output.dense", "attention.output.LayerNorm", "output.LayerNorm")
    shapes = {e + "word_embeddings.weight": (len(tokens), N_EMBD), e + "position_embeddings.weight": (N_CTX, N_EMBD),
              e + "token_type_embeddings.weight": (2, N_EMBD), e + "LayerNorm.weight": (N_EMBD,),
              e + "LayerNorm.bias": (N_EMBD,), "pooler.dense.weight": (N_EMBD, N_EMBD)}
    for i in range(N_LAYER):
        layer = "encoder.layer.%d." % i
        for name in names:
            shapes[layer + name + ".weight"] = (N_EMBD,) if "Norm" in name else (N_EMBD, N_EMBD)
            shapes[layer + name + ".bias"] = (N_EMBD,)
        shapes[layer + "intermediate.dense.weight"], shapes[layer + "intermediate.dense.bias"] = (N_FF, N_EMBD), (N_FF,)
        shapes[layer + "output.dense.weight"], shapes[layer + "output.dense.bias"] = (N_EMBD, N_FF), (N_EMBD,)
    os.makedirs(os.path.join(folder, "1_Pooling"))
    write(folder, "model.safetensors", weights(shapes))
    write(folder, "config.json", {
        "architectures": ["BertModel"], "hidden_size": N_EMBD, "intermediate_size": N_FF, "num_attention_heads": N_HEAD,
        "num_hidden_layers": N_LAYER, "vocab_size": len(tokens), "max_position_embeddings": N_CTX, "hidden_act": "gelu",
        "layer_norm_eps": 1e-12, "type_vocab_size": 2})
    write(folder, "modules.json", [{"type": "sentence_transformers.models." + t, "path": p} for t, p in (
        ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))])
    write(os.path.join(folder, "1_Pooling"), "config.json", {"pooling_mode_mean_tokens": True})
    write(folder, "tokenizer.json", {
        "added_tokens": [{"id": i, "content": t, "special": True} for i, t in enumerate(tokens[:4])],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "[CLS]"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "[SEP]"}}]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "vocab": {t: i for i, t in enumerate(tokens)}}})
    write(folder, "tokenizer_config.json", {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]",
                                            "unk_token": "[UNK]"})


# ---- what is right ----


def test_decoder(work):
    folder, results = os.path.join(work, "decoder"), os.path.join(work, "d")
    os.mkdir(results)
    out = os.path.join(results, "out.gguf")
    decoder(folder)
    check("convert", 0, "llama, F16", "convert", folder, out)
    check("the result runs", 0, "", "run", out, "the", "-n", "4", "--temp", "0")
    check("its name is the folder's", 0, "decoder", "show", out)
    check("another name", 0, "", "convert", folder + "/", out, "--name", "Mine")
    check("it has it", 0, "Mine", "show", out)
    for kind in ("F32", "f16", "BF16", "Q8_0", "Q4_0", "Q4_K_M"):
        check("to " + kind, 0, '"type":"%s"' % kind.upper(), "convert", folder, out, "--type", kind, "--json")
    os.remove(out)
    check("unknown type", 2, "no type to convert to", "convert", folder, out, "--type", "Q9_Z")
    check("OUT is no GGUF", 2, "ends in .gguf", "convert", folder, os.path.join(folder, "model.safetensors"))
    check("OUT is a part", 2, "part of a model", "convert", folder, os.path.join(results, "a-00001-of-00002.gguf"))
    check("OUT in no folder", 3, "no such folder", "convert", folder, os.path.join(work, "none", "out.gguf"))
    check("no folder", 3, "no such folder", "convert", os.path.join(work, "none"), out)
    check("a file", 3, "no such folder", "convert", os.path.join(folder, "config.json"), out)
    check("no OUT", 2, "missing", "convert", folder)
    if os.listdir(results):
        broken("a refused run left %s" % os.listdir(results))


def test_encoder(work):
    folder, out = os.path.join(work, "encoder"), os.path.join(work, "encoder.gguf")
    encoder(folder)
    check("convert an encoder", 0, "1 tensors were left out", "convert", folder, out)
    r = check("embed", 0, "", "embed", out, "abc", "Bad, cab")
    rows = [[float(x) for x in line.split()] for line in r.stdout.splitlines()]
    if [len(v) for v in rows] != [N_EMBD] * 2 or any(abs(sum(x * x for x in v) - 1) > 1e-5 for v in rows):
        broken("vectors of length 1: %s" % r.stdout)
    r = check("embed lines", 0, "", "embed", out, "--json", text="abc\nBad, cab\n")
    said = [json.loads(line) for line in r.stdout.splitlines()]
    if [v["text"] for v in said] != ["abc", "Bad, cab"] or [v["embedding"] for v in said] != rows:
        broken("lines of standard input: %s" % r.stdout)
    check("a text too long", 4, "line 2", "embed", out, text="a\n" + "a " * 100 + "\n")
    decoder_out = os.path.join(work, "d.gguf")
    check("a decoder", 0, "", "convert", os.path.join(work, "decoder"), decoder_out)
    check("embed with a decoder", 4, "pooling_type", "embed", decoder_out, "a")
    mean = check("a decoder's mean row", 0, "", "embed", decoder_out, "--override", "llama.pooling_type=int:1", "a")
    last = check("a decoder's last row", 0, "", "embed", decoder_out, "--override", "llama.pooling_type=int:3", "a b")
    if len(mean.stdout.split()) != len(last.stdout.split()) or mean.stdout == last.stdout:
        broken(f"a decoder as an encoder: {mean.stdout} {last.stdout}")
    for text, part in (("pooling_mode_max_tokens", "pooling_mode_max_tokens"), ("x", 'no "pooling_mode_')):
        write(os.path.join(folder, "1_Pooling"), "config.json", {text: True})
        check("pooling by " + text, 4, part, "convert", folder, out)
    write(folder, "modules.json", [{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}])
    check("a module that isn't followed", 4, 'models.Dense"', "convert", folder, out)
    write(folder, "modules.json", [{"type": "sentence_transformers.models.Transformer", "path": "../decoder"}])
    check("a module out of the folder", 4, "out of the folder", "convert", folder, out)


# ---- what is wrong ----


def shard(folder):
    """The decoder's weights in two files."""
    with open(os.path.join(folder, "model.safetensors"), "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    del header["__metadata__"]
    places = {}
    for k in range(2):
        part, body = {}, b""
        for name in sorted(header)[k::2]:
            begin, end = header[name]["data_offsets"]
            part[name] = dict(header[name], data_offsets=[len(body), len(body) + end - begin])
            body += data[8 + n + begin:8 + n + end]
            places[name] = "part-%d.safetensors" % k
        text = json.dumps(part).encode()
        write(folder, "part-%d.safetensors" % k, struct.pack("<Q", len(text)) + text + body)
    write(folder, "model.safetensors.index.json", {"weight_map": places})
    os.remove(os.path.join(folder, "model.safetensors"))


def edit(folder, name, old, new):
    path = os.path.join(folder, name)
    with open(path, "rb") as f:
        data = f.read()
    if old not in data:
        broken("%s holds no %r" % (name, old))
    write(folder, name, data.replace(old, new, 1))


def gone(name):
    return lambda folder: os.remove(os.path.join(folder, name))


def edited(name, old, new):
    return lambda folder: edit(folder, name, old, new)


def cut(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as f:
        write(folder, "model.safetensors", f.read()[:-1])


def sharded(then):
    def both(folder):
        shard(folder)
        then(folder)
    return both


def test_damaged(work):
    cases = [
        ("config.json is missing", 3, "config.json", gone("config.json")),
        ("weights are missing", 3, "neither model.safetensors nor", gone("model.safetensors")),
        ("the tokenizer is missing", 3, "no tokenizer.json, no tokenizer.model", gone("tokenizer.json")),
        ("config.json is no JSON", 4, "config.json: line 1", edited("config.json", b"{", b"[")),
        ("an unknown architecture", 4, 'architecture "MambaForCausalLM"',
         edited("config.json", b"LlamaFor", b"MambaFor")),
        ("a wrong shape", 4, "as config.json has it", edited("config.json", b'_size": 48', b'_size": 64')),
        ("an unknown dtype", 4, 'dtype "F4"', edited("model.safetensors", b'"F16"', b'"F4" ')),
        ("a dtype that isn't read", 4, "dtype I16", edited("model.safetensors", b'"F16"', b'"I16"')),
        ("a tensor is missing", 4, "model.norm.weight", edited("model.safetensors", b"model.norm", b"model.nurm")),
        ("weights are cut short", 4, "model.safetensors", cut),
        ("a file of the weights is missing", 3, "part-1.safetensors", sharded(gone("part-1.safetensors"))),
        ("the index names another file", 4, "don't belong together",
         sharded(edited("model.safetensors.index.json", b"part-1", b"part-0"))),
        ("the index leads out of the folder", 4, "in no file of this folder",
         sharded(edited("model.safetensors.index.json", b"part-1", b"../p-1"))),
        ("a rope that isn't followed", 4, 'rope type "dynamic"',
         edited("config.json", b"{", b'{"rope_scaling": {"type": "dynamic", "factor": 2.0}, ')),
        ("a pre-tokenizer that isn't known", 4, '"Whitespace"',
         edited("tokenizer.json", b'"type": "ByteLevel"', b'"type": "Whitespace"')),
    ]
    good = os.path.join(work, "decoder")
    for name, code, part, damage in cases:
        folder, out = os.path.join(work, "damaged"), os.path.join(work, "damaged.gguf")
        shutil.copytree(good, folder)
        damage(folder)
        check(name, code, part, "convert", folder, out)
        if os.path.exists(out):
            broken(name + ": a file was left")
        shutil.rmtree(folder)
    shutil.copytree(good, folder)
    shard(folder)
    check("two files", 0, "llama", "convert", folder, out)


def main():
    with tempfile.TemporaryDirectory() as work:
        test_decoder(work)
        test_encoder(work)
        test_damaged(work)
    if not bad:
        print("convert and embed as expected")
    return 1 if bad else 0


sys.exit(main())
