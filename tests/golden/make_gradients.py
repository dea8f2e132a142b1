#!/usr/bin/env python3
"""Writes tests/data/gradients.f32, the gradients that PyTorch computes for tests/golden/test_gradients.c.

usage: python3 tests/golden/make_gradients.py [../shared/golden]      (needs torch and gguf; once, the file is kept)

Each F16 model of the reference data is built again from torch's own operations in float64, shares no line with src/,
and must give the reference's logits. Then every matrix of a layer gets a pair of rank 2, y = W x + 2 B (A x), with
numbers by the rule of pair_value, and torch's autograd differentiates the sum of the losses of a prompt's second half.

The file: for each model, for each layer, for each of the matrices below that it has, the gradient of A [2][in] and of B
[out][2], as float32, little-endian, one after the other.
"""
import csv, pathlib, sys

import numpy as np, torch
from gguf import GGUFReader, dequantize

RANK, SCALE = 2, 2.0
MATRICES = ["attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
F64 = torch.float64


def pair_value(i):
    """The i-th number of all pairs of a model: a multiply-with-shift hash of i, spread over [-1/8, 1/8)."""
    return ((i * 2654435761) % 2**32 >> 8) / 2**26 - 0.125


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.weight = {t.name: torch.from_numpy(np.array(dequantize(t.data, t.tensor_type))).to(F64)
                       for t in reader.tensors}
        self.keys = {name: field.contents() for name, field in reader.fields.items()}
        self.arch = self.keys["general.architecture"]
        self.n_head = self.key("attention.head_count")
        self.n_head_kv = self.key("attention.head_count_kv", self.n_head)
        self.n_embd, self.n_layer = self.key("embedding_length"), self.key("block_count")
        self.head_dim = self.key("attention.key_length", self.n_embd // self.n_head)
        self.n_rot = self.key("rope.dimension_count", self.head_dim)
        self.eps = self.key("attention.layer_norm_rms_epsilon", self.key("attention.layer_norm_epsilon", 0))
        self.pairs = {}
        n = 0
        for layer in range(self.n_layer):
            for matrix in MATRICES:
                w = self.weight.get(f"blk.{layer}.{matrix}.weight")
                if w is None:
                    continue
                for side, shape in (("a", (RANK, w.shape[1])), ("b", (w.shape[0], RANK))):
                    count = shape[0] * shape[1]
                    values = [pair_value(n + i) for i in range(count)]
                    self.pairs[layer, matrix, side] = torch.tensor(values, dtype=F64).reshape(shape)
                    n += count

    def key(self, name, default=None):
        return self.keys.get(f"{self.arch}.{name}", default)

    def product(self, layer, matrix, x):
        name = f"blk.{layer}.{matrix}"
        y = x @ self.weight[name + ".weight"].T
        if self.with_pairs:
            y = y + SCALE * (x @ self.pairs[layer, matrix, "a"].T) @ self.pairs[layer, matrix, "b"].T
        return y + self.weight[name + ".bias"] if name + ".bias" in self.weight else y

    def norm(self, x, name):
        w, b = self.weight[name + ".weight"], self.weight.get(name + ".bias")
        if self.arch == "nemotron":
            return torch.nn.functional.layer_norm(x, w.shape, w, b, self.eps)
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * w

    def rope(self, x, layer):
        """x [tokens][heads][head_dim]: the first n_rot numbers of each head turned by their position."""
        if self.arch == "smollm3" and layer % 4 == 3:
            return x
        base, scale, factor = self.key("rope.freq_base", 10000.0), 1.0, 1.0
        if self.arch == "gemma3":
            base, scale = (10000.0, 1.0) if layer % 6 < 5 else (base, self.key("rope.scaling.factor", 1.0))
        freq = base ** (-torch.arange(0, self.n_rot, 2, dtype=F64) / self.n_rot) / scale
        for name in ("rope_freqs.weight", "rope_factors_short.weight"):  # these prompts fit the original context
            if name in self.weight:
                freq = freq / self.weight[name]
        if self.arch == "phi3":
            factor = self.key("rope.scaling.attn_factor", 1.0)
        angle = torch.arange(x.shape[0], dtype=F64)[:, None] * freq
        cos, sin = (torch.cos(angle) * factor)[:, None], (torch.sin(angle) * factor)[:, None]
        turned, rest = x[..., :self.n_rot], x[..., self.n_rot:]
        if self.arch in ("llama", "granite", "smollm3"):
            a, b = turned[..., 0::2], turned[..., 1::2]
            out = torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
        else:
            a, b = turned.chunk(2, -1)
            out = torch.cat((a * cos - b * sin, a * sin + b * cos), -1)
        return torch.cat((out, rest), -1)

    def attention(self, x, layer):
        n, heads, kv, dim = x.shape[0], self.n_head, self.n_head_kv, self.head_dim
        if self.arch == "phi3":
            q, k, v = self.product(layer, "attn_qkv", x).split([heads * dim, kv * dim, kv * dim], -1)
        else:
            q, k, v = (self.product(layer, m, x) for m in ("attn_q", "attn_k", "attn_v"))
        q, k, v = q.reshape(n, heads, dim), k.reshape(n, kv, dim), v.reshape(n, kv, dim)
        if f"blk.{layer}.attn_q_norm.weight" in self.weight:
            q, k = self.norm(q, f"blk.{layer}.attn_q_norm"), self.norm(k, f"blk.{layer}.attn_k_norm")
        q, k = self.rope(q, layer), self.rope(k, layer)
        k, v = k.repeat_interleave(heads // kv, 1), v.repeat_interleave(heads // kv, 1)
        scale = self.key("attention.scale", dim ** -0.5)
        score = torch.einsum("ihd,jhd->hij", q, k) * scale
        cap = self.key("attn_logit_softcapping", 0)
        if cap:
            score = cap * torch.tanh(score / cap)
        i, j = torch.arange(n)[:, None], torch.arange(n)[None]
        hidden = j > i
        slides = {"gemma3": layer % 6 < 5, "gemma2": layer % 2 == 0}.get(self.arch, True)
        window = self.key("attention.sliding_window", 0) if slides else 0
        if window:
            hidden = hidden | (i - j >= window)
        weights = torch.softmax(score.masked_fill(hidden, float("-inf")), -1)
        return self.product(layer, "attn_output", torch.einsum("hij,jhd->ihd", weights, v).reshape(n, heads * dim))

    def feed_forward(self, x, layer):
        up = self.product(layer, "ffn_up", x)
        if self.arch == "nemotron":
            mixed = torch.relu(up) ** 2
        elif self.arch == "phi3":
            gate, up = up.chunk(2, -1)
            mixed = torch.nn.functional.silu(gate) * up
        else:
            gate = self.product(layer, "ffn_gate", x)
            gelu = self.arch in ("gemma2", "gemma3")
            act = torch.nn.functional.gelu(gate, approximate="tanh") if gelu else torch.nn.functional.silu(gate)
            mixed = act * up
        return self.product(layer, "ffn_down", mixed)

    def logits(self, ids, with_pairs):
        self.with_pairs = with_pairs
        gemma = self.arch in ("gemma2", "gemma3")
        embd_scale = self.n_embd ** 0.5 if gemma else self.key("embedding_scale", 1.0)
        residual = self.key("residual_scale", 1.0)
        x = self.weight["token_embd.weight"][ids] * embd_scale
        for layer in range(self.n_layer):
            for before, after, part in (("attn_norm", "post_attention_norm", self.attention),
                                        ("ffn_norm", "post_ffw_norm", self.feed_forward)):
                y = part(self.norm(x, f"blk.{layer}.{before}"), layer)
                x = x + residual * (self.norm(y, f"blk.{layer}.{after}") if gemma else y)
        x = self.norm(x, "output_norm")
        y = x @ self.weight.get("output.weight", self.weight["token_embd.weight"]).T / self.key("logit_scale", 1.0)
        cap = self.key("final_logit_softcapping", 0)
        return cap * torch.tanh(y / cap) if cap else y


def main():
    golden = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/golden")
    prompts = {(r["model"], r["prompt"]): r for r in csv.DictReader(open(golden / "prompts.tsv"), delimiter="\t")
               if r["n_ctx"] == "256"}
    with open(pathlib.Path(__file__).parents[1] / "data" / "gradients.f32", "wb") as out:
        for row in csv.DictReader(open(golden / "models.tsv"), delimiter="\t"):
            if not row["model"].endswith("-f16") or row["model"].startswith("sweep"):
                continue
            prompt = prompts[row["model"], "long"]
            ids = torch.tensor([int(i) for i in prompt["ids"].split()])
            model = Model(golden / "models" / row["file"])
            exact = np.fromfile(golden / "golden" / row["model"] / "long.exact.f32", "<f4")
            apart = np.abs(model.logits(ids, False)[-1].numpy() - exact).max()
            if not apart < 1e-5:
                sys.exit(f"{row['model']}: logits are {apart} from the reference's")
            for p in model.pairs.values():
                p.requires_grad_()
            half = len(ids) // 2
            logits = model.logits(ids, True)
            loss = torch.nn.functional.cross_entropy(logits[half - 1:-1], ids[half:], reduction="sum")
            loss.backward()
            for p in model.pairs.values():
                out.write(p.grad.numpy().astype("<f4").tobytes())
            print(f"{row['model']}: logits within {apart:.1e}, loss {loss.item():.6f}, {len(model.pairs) // 2} pairs")


main()
