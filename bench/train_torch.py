#!/usr/bin/env python3
"""A LoRA step in PyTorch, for bench/train: the model, pairs, tokens and targets of bench_train, float32 on the CPU.

usage: PYTHON bench/train_torch.py MODEL.gguf IDS [-t THREADS] [-a TARGETS] [-r RANK] [-s STEPS]

PYTHON has torch, numpy and gguf. Written as one would write it: weights dequantised once and kept in float32, the
samples as a batch of equal lengths, torch's own fused attention, logits of the predicted rows alone, AdamW. For the
llama architecture. A line of JSON; `loss` is the first step's, the base's, and must be bench_train's."""
import argparse, json, resource, statistics, sys, time

import gguf
import numpy
import torch
import torch.nn.functional as F


class Base:
    """The file's matrices, and the numbers that a layer needs."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        field = lambda key: reader.fields[key].contents()
        if field("general.architecture") != "llama":
            sys.exit("train_torch: only the llama architecture")
        self.n_layer, self.n_embd = field("llama.block_count"), field("llama.embedding_length")
        self.n_head, self.n_head_kv = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
        self.head_dim = self.n_embd // self.n_head
        self.eps, self.rope_base = field("llama.attention.layer_norm_rms_epsilon"), field("llama.rope.freq_base")
        self.w = {t.name: torch.from_numpy(numpy.array(gguf.quants.dequantize(t.data, t.tensor_type)))
                  for t in reader.tensors}


class Pair(torch.nn.Module):
    """y = W x + scale B (A x)"""

    def __init__(self, w, rank, scale):
        super().__init__()
        self.w, self.scale = w, scale
        self.a = torch.nn.Parameter((torch.rand(rank, w.shape[1]) * 2 - 1) / w.shape[1] ** 0.5)
        self.b = torch.nn.Parameter(torch.zeros(w.shape[0], rank))

    def forward(self, x):
        return F.linear(x, self.w) + F.linear(F.linear(x, self.a), self.b) * self.scale


class Model(torch.nn.Module):
    def __init__(self, base, rank, n_tok):
        super().__init__()
        self.base = base
        self.pairs = torch.nn.ModuleDict()
        for name, w in base.w.items():
            if name.startswith("blk.") and w.dim() == 2:
                self.pairs[name.replace(".", "_")] = Pair(w, rank, 2.0)
        half = base.head_dim // 2
        angle = torch.outer(torch.arange(n_tok).float(), base.rope_base ** (-torch.arange(half).float() / half))
        self.cos, self.sin = angle.cos(), angle.sin()

    def pair(self, layer, name, x):
        return self.pairs[f"blk_{layer}_{name}_weight"](x)

    def norm(self, name, x):
        return F.rms_norm(x, (x.shape[-1],), self.base.w[name], self.base.eps)

    def heads(self, x, n):
        return x.unflatten(-1, (n, self.base.head_dim)).transpose(1, 2)

    def turned(self, x):
        """Numbers 2i and 2i + 1 belong together in llama's files."""
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * self.cos - odd * self.sin, even * self.sin + odd * self.cos), -1).flatten(-2)

    def forward(self, ids, n_target):
        base = self.base
        x = base.w["token_embd.weight"][ids]
        for i in range(base.n_layer):
            h = self.norm(f"blk.{i}.attn_norm.weight", x)
            q = self.turned(self.heads(self.pair(i, "attn_q", h), base.n_head))
            k = self.turned(self.heads(self.pair(i, "attn_k", h), base.n_head_kv))
            v = self.heads(self.pair(i, "attn_v", h), base.n_head_kv)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + self.pair(i, "attn_output", y.transpose(1, 2).flatten(-2))
            h = self.norm(f"blk.{i}.ffn_norm.weight", x)
            h = F.silu(self.pair(i, "ffn_gate", h)) * self.pair(i, "ffn_up", h)
            x = x + self.pair(i, "ffn_down", h)
        x = self.norm("output_norm.weight", x[:, -n_target - 1:-1])
        logits = F.linear(x, base.w.get("output.weight", base.w["token_embd.weight"]))
        return F.cross_entropy(logits.flatten(0, 1), ids[:, -n_target:].flatten())


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("ids")
    p.add_argument("-t", type=int, default=torch.get_num_threads())
    p.add_argument("-a", type=int)
    p.add_argument("-r", type=int, default=16)
    p.add_argument("-s", type=int, default=3)
    o = p.parse_args()
    torch.set_num_threads(o.t)
    torch.manual_seed(1)
    ids = torch.tensor([[int(i) for i in line.split()] for line in open(o.ids, encoding="ascii")])
    model = Model(Base(o.model), o.r, ids.shape[1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    seconds, first = [], None
    for i in range(o.s + 1):
        begin = time.monotonic()
        loss = model(ids, o.a or ids.shape[1] // 4)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if first is None:
            first = loss.item()
        else:
            seconds.append(time.monotonic() - begin)
    median = statistics.median(seconds)
    print(json.dumps({"tokens": ids.numel(), "seconds": round(median, 4), "tokens_per_s": ids.numel() / median,
                      "loss": first, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
                      "torch": torch.__version__}))


if __name__ == "__main__":
    main()
