"""The tables of bench/peers: figures side by side, and the bars of the design with what was reached."""
import statistics

from measuring import shown, table

MUGA_ITSELF, LLAMA = "muga", "llama.cpp"
AVX2, LLAMA_AVX2 = "muga avx2", "llama.cpp avx2"  # without AVX-512


class Reader:
    def __init__(self, rows):
        self.rows = rows

    def pair(self, model, threads, figure, smaller=False, engine=MUGA_ITSELF, peer=LLAMA):
        """(muga, llama.cpp, ratio above 1 where muga is better); the ratio is the median of each round's own."""
        mine = self.rows.best(engine=engine, model=model, threads=threads, figure=figure)
        theirs = self.rows.best(smaller, engine=peer, model=model, threads=threads, figure=figure)
        ratio = None
        if mine and theirs:
            both = [(mine[1][i], theirs[1][i]) for i in mine[1] if i in theirs[1]]
            ratios = [t / m if smaller else m / t for m, t in both]
            ratio = statistics.median(ratios) if ratios else None
        return mine and mine[0], theirs and theirs[0], ratio

    def share(self, model, threads, figure):
        found = self.rows.best(engine="muga", model=model, threads=threads, figure="share of " + figure)
        limit = self.rows.median(engine="machine", model=model, threads=threads, figure="limit of " + figure)
        return (found[0], found[2], limit) if found else (None, None, None)

    def pair_avx2(self, model, threads, figure):
        return self.pair(model, threads, figure, engine=AVX2, peer=LLAMA_AVX2 if self.peer_is_avx2() else LLAMA)

    def peer_is_avx2(self):
        """A llama.cpp built without AVX-512 was measured; else AVX2 is held against the one that has all there is."""
        return self.rows.has(engine=LLAMA_AVX2)

    def figures(self, kind):
        """Those measured of a kind, by depth and length."""
        names = {r["figure"] for r in self.rows.rows if r["figure"].startswith(kind + " ")}
        return sorted(names, key=lambda f: (int(f.split()[3]), int(f.split()[1])))

    def threads(self, model):
        return sorted({r["threads"] for r in self.rows.find(engine="muga", model=model)})


def name_case(model, figure, threads):
    return f"{model.name}, {figure}, {threads} thread{'s' if threads > 1 else ''}"


def times(ratio):
    return "-" if ratio is None else f"{shown(ratio)}x"


def percent(share, limit, unit):
    return "-" if share is None else f"{100 * share:.0f} % of {limit:.0f} {unit}"


def speed_table(reader, models, kind):
    lines = []
    for m in models:
        for figure in reader.figures(kind):
            for threads in reader.threads(m.name):
                mine, theirs, ratio = reader.pair(m.name, threads, figure)
                if mine is None:
                    continue
                share, what, limit = reader.share(m.name, threads, figure)
                of = percent(share, limit, "G/s" if what == "integer" else "GB/s")
                _, tokens, _, depth = figure.split()
                lines.append([m.name, tokens, depth, str(threads), shown(mine), shown(theirs), times(ratio), of])
    head = ["model", "tokens", "behind", "threads", "muga, tokens/s", "llama.cpp", "ratio", "of the machine's limit"]
    return table(head, lines) if lines else ""


def start_table(reader, models):
    lines = []
    for m in models:
        bar = reader.rows.median(engine="bar", model=m.name, figure="start peak MB")
        for threads in reader.threads(m.name):
            ms = reader.pair(m.name, threads, "start ms", smaller=True)
            mb = reader.pair(m.name, threads, "start peak MB", smaller=True)
            if ms[0] is not None:
                lines.append([m.name, str(threads), shown(ms[0]), shown(ms[1]), times(ms[2]), shown(mb[0]),
                              shown(mb[1]), times(mb[2]), shown(bar)])
    head = ["model", "threads", "start to first token, ms", "llama.cpp", "ratio", "peak memory, MB", "llama.cpp",
            "ratio", "bar, MB"]
    return table(head, lines) if lines else ""


def shared_table(reader, models):
    lines = []
    for m in models:
        for threads in reader.threads(m.name):
            for figure, smaller in ("shared prefix tokens/s", False), ("shared prefix first ms", True):
                mine, theirs, ratio = reader.pair(m.name, threads, figure, smaller)
                if mine is not None:
                    what = "first token, ms (median client)" if smaller else "tokens/s, all clients"
                    lines.append([m.name, str(threads), what, shown(mine), shown(theirs), times(ratio)])
    return table(["model", "threads", "", "muga's library", "llama-server", "ratio"], lines) if lines else ""


def avx2_table(reader, models):
    lines = []
    for m in models:
        for figure in reader.figures("prefill") + reader.figures("decode"):
            for threads in reader.threads(m.name):
                mine, theirs, ratio = reader.pair_avx2(m.name, threads, figure)
                if mine is not None:
                    kind, tokens, _, _ = figure.split()
                    lines.append([m.name, f"{kind} {tokens}", str(threads), shown(mine), shown(theirs), times(ratio)])
    peer = "llama.cpp built for AVX2" if reader.peer_is_avx2() else "llama.cpp with all there is"
    head = ["model", "", "threads", "muga with AVX2, tokens/s", peer, "ratio"]
    return table(head, lines) if lines else ""


# ---- bars ----

def avx2_bars(reader, models):
    """Where llama.cpp has AVX-512 that is more than is asked for."""
    values, peer = {}, "built for AVX2" if reader.peer_is_avx2() else "with AVX-512"
    for m in models:
        for figure in reader.figures("prefill") + reader.figures("decode"):
            for threads in reader.threads(m.name):
                ratio = reader.pair_avx2(m.name, threads, figure)[2]
                kind = figure.split()[0]
                bar = 1.5 if kind == "decode" else 1.3 if m.name.endswith("Q4_0") else 2
                values.setdefault((kind, bar), []).append((ratio, name_case(m, figure, threads)))
    types = {1.3: " (Q4_0)", 2: " (other types)"}
    return [judge(f"AVX2 only, {kind} against llama.cpp {peer}{types.get(bar, '')}", v, bar, True, "x")
            for (kind, bar), v in sorted(values.items())]


def ratio_bar(model, figure):
    """What the design asks of a figure against the peer; None = nothing."""
    kind, _, _, depth = figure.split()
    if kind == "prefill":
        return 8 if model.name.endswith("Q4_1") else 3.5 if model.name.endswith("Q4_0") else 5
    if model.family in ("135M", "270M"):
        return 3 if int(depth) else 2
    return None


def judge(name, values, wanted, at_least, unit):
    """One row: how many reach the bar, and the worst."""
    values = [(v, who) for v, who in values if v is not None]
    if not values:
        return None
    good = sum(v >= wanted if at_least else v <= wanted for v, _ in values)
    worst, who = (min if at_least else max)(values)
    some = f"{good} of {len(values)} reach it" if good else "not reached"
    verdict = "reached" if good == len(values) else some
    return [name, f"{'>=' if at_least else '<='} {wanted:g}{unit}", verdict, f"{shown(worst)}{unit} ({who})"]


def bars_table(reader, models):
    lines, ratios = [], {}
    shares = {"prefill": [], "decode": []}
    for m in models:
        for kind in shares:
            for figure in reader.figures(kind):
                for threads in reader.threads(m.name):
                    who = name_case(m, figure, threads)
                    ratio, bar = reader.pair(m.name, threads, figure)[2], ratio_bar(m, figure)
                    if bar:
                        what = f"{kind}{' at depth' if figure.split()[3] != '0' else ''}"
                        ratios.setdefault((what, bar), []).append((ratio, who))
                    share, _, _ = reader.share(m.name, threads, figure)
                    shares[kind].append((share and 100 * share, who))
    products = {r["model"] for r in reader.rows.find(engine="product", figure="prefill")}
    by_16 = products & {"Q2_K", "Q3_K", "Q6_K"}
    for what, types, bar in (("", products - by_16, 65), (" (types that scale by 16)", by_16, 45)):
        values = [(reader.rows.median(engine="product", model=t, figure="prefill"), t) for t in sorted(types)]
        lines.append(judge(f"matrix products{what}, of the integer peak", values, bar, True, " %"))
    lines.append(judge("prefill 512, of the integer peak", shares["prefill"], 45, True, " %"))
    lines.append(judge("decode, of the read bandwidth", shares["decode"], 80, True, " %"))
    for (kind, bar), values in sorted(ratios.items()):
        types = {8: " (Q4_1)", 3.5: " (Q4_0)", 5: " (other types)"}.get(bar, "")
        lines.append(judge(f"{kind} against llama.cpp{types}", values, bar, True, "x"))
    lines += avx2_bars(reader, models)
    starts, memory = [], []
    for m in models:
        bar = reader.rows.median(engine="bar", model=m.name, figure="start peak MB")
        for threads in reader.threads(m.name):
            who = f"{m.name}, {threads} thread{'s' if threads > 1 else ''}"
            if m.family == "135M":
                starts.append((reader.pair(m.name, threads, "start ms")[0], who))
            mb = reader.pair(m.name, threads, "start peak MB")[0]
            memory.append((100 * mb / bar if mb and bar else None, who))
    for figure, smaller, what, bar in (("shared prefix tokens/s", False, "tokens/s", 20),
                                       ("shared prefix first ms", True, "first token", 50)):
        values = [(reader.pair(m.name, t, figure, smaller)[2], m.name) for m in models for t in reader.threads(m.name)]
        lines.append(judge(f"32 clients, shared prefix, {what} against llama-server", values, bar, True, "x"))
    lines.append(judge("start to first token, 135M, ms", starts, 50, False, ""))
    lines.append(judge("peak memory, of weights + cache + 10 % + 24 MB", memory, 100, False, " %"))
    lines = [line for line in lines if line]
    return table(["what", "bar", "", "worst"], lines) if lines else ""


def describe(rows):
    def values(key):
        return sorted({str(r[key]) for r in rows.rows})
    counts = {}
    for r in rows.find(engine="muga"):
        key = (r["model"], r["threads"], r["figure"])
        counts[key] = max(counts.get(key, 0), r["round"])
    few, many = min(counts.values()), max(counts.values())
    rounds = f"{few} to {many} rounds" if few != many else "1 round" if many == 1 else f"{many} rounds"
    return (f"{', '.join(values('machine'))}; {', '.join(values('date'))}; muga at {', '.join(values('commit'))}; "
            f"medians of {rounds}, ratios medians of each round's own.\n")


def draw(rows, models):
    reader = Reader(rows)
    if not rows.has(engine="muga"):
        return "Nothing has been measured yet.\n"
    parts = [describe(rows)]
    sections = {"Prefill": speed_table(reader, models, "prefill"),
                "Decode, one stream": speed_table(reader, models, "decode"),
                "Without AVX-512": avx2_table(reader, models),
                "32 clients behind one prompt of 1,024 tokens": shared_table(reader, models),
                "Start and memory": start_table(reader, models),
                "Bars": bars_table(reader, models)}
    for title, text in sections.items():
        if text:
            parts.append(f"### {title}\n\n{text}")
    return "\n".join(parts)
