/* Unigram, as T5 and XLM-R models have it. Owns the normalising by the file's character map and the search for the
 * likeliest pieces. Refuses: a character map that points outside itself, pieces past 256 bytes.
 *
 * A text is cut so that the sum of its pieces' scores (log probabilities) is greatest: best[i] is the best cut of the
 * first i bytes, and every piece that begins there may improve a later one (Viterbi). A character that no piece begins
 * with alone is the unknown token at a price; neighbours of that kind become one. Source: Kudo 2018, "Subword
 * regularization".
 *
 * The character map is a trie in a double array, XOR-compressed (Kanda et al. 2017), from byte strings to their
 * replacements: a word of 32 bits a node, bits 10-30 the base (shifted by 8 where bit 9 is set), bit 8 "ends here",
 * bits 0-7 the byte; a node that ends has a child which holds the offset of the replacement. */
#include "model/tokenizer_internal.h"

#include "base/utf8.h"

#include <float.h>

#define UNKNOWN_PENALTY 10.0

static bool is_piece(const vocab *v, int32_t id) {
    if (id < 0 || (uint32_t)id >= v->n)
        return false;
    uint8_t type = v->types[id];
    return type == VOCAB_NORMAL || type == VOCAB_USER_DEFINED || type == VOCAB_UNUSED;
}

static muga_status read_charsmap(unigram *u, const gguf_file *file, muga_error *err) {
    static const char key[] = "tokenizer.ggml.precompiled_charsmap";
    gguf_array map;
    muga_status st = gguf_get_array(file, key, GGUF_U8, &map, NULL);
    if (st == MUGA_E_INPUT)
        st = gguf_get_array(file, key, GGUF_I8, &map, err);
    if (st)
        return st == MUGA_E_NOT_FOUND ? MUGA_OK : st;
    uint32_t bytes = 0;
    if (map.n >= sizeof bytes)
        memcpy(&bytes, map.data, sizeof bytes);
    if (map.n < sizeof bytes || bytes > map.n - sizeof bytes || bytes % sizeof(uint32_t))
        return error_set(err, MUGA_E_INPUT, "key \"%s\" is not whole; the file is damaged: fetch it again", key);
    u->n_map = bytes / sizeof(uint32_t);
    u->n_replacements = map.n - sizeof bytes - bytes;
    u->map = mem_alloc_array(u->n_map, sizeof u->map[0]);
    u->replacements = mem_copy_bytes(map.data + sizeof bytes + bytes, u->n_replacements);
    if (!u->map || !u->replacements)
        return error_nomem(err, "character map");
    memcpy(u->map, map.data + sizeof bytes, bytes);
    return MUGA_OK;
}

/* ---- trie ---- */

/* A node that is not finished: its pieces are order[from, to), alike in their first `depth` bytes. */
typedef struct pending {
    uint32_t from, to, depth;
} pending;

typedef struct trie_builder {
    const vocab *v;
    unigram *u;
    uint32_t *order, *scratch; /* ids */
    pending *pending;          /* [u->cap_nodes] */
} trie_builder;

static bool add_node(trie_builder *b, uint8_t byte, pending range) {
    unigram *u = b->u;
    if (u->n_nodes == u->cap_nodes) {
        uint32_t cap = u->cap_nodes ? u->cap_nodes * 2 : 1024;
        unigram_node *nodes = mem_resize_array(u->nodes, cap, sizeof nodes[0]);
        if (nodes)
            u->nodes = nodes;
        pending *more = mem_resize_array(b->pending, cap, sizeof more[0]);
        if (more)
            b->pending = more;
        if (!nodes || !more)
            return false;
        u->cap_nodes = cap;
    }
    b->pending[u->n_nodes] = range;
    u->nodes[u->n_nodes++] = (unigram_node){.id = VOCAB_NONE, .byte = byte};
    return true;
}

static uint8_t byte_at(const trie_builder *b, uint32_t id, uint32_t depth) {
    return (uint8_t)vocab_piece(b->v, id).p[depth];
}

/* order[from, to) by the byte at `depth`, equal ones as they stood. */
static void sort_range(trie_builder *b, uint32_t from, uint32_t to, uint32_t depth) {
    if (to - from <= 32) {
        for (uint32_t i = from + 1; i < to; i++) {
            uint32_t id = b->order[i], k = i;
            uint8_t byte = byte_at(b, id, depth);
            for (; k > from && byte_at(b, b->order[k - 1], depth) > byte; k--)
                b->order[k] = b->order[k - 1];
            b->order[k] = id;
        }
        return;
    }
    uint32_t place[257] = {0};
    for (uint32_t i = from; i < to; i++)
        place[byte_at(b, b->order[i], depth) + 1]++;
    for (int c = 0; c < 256; c++)
        place[c + 1] += place[c];
    for (uint32_t i = from; i < to; i++)
        b->scratch[place[byte_at(b, b->order[i], depth)]++] = b->order[i];
    memcpy(b->order + from, b->scratch, (to - from) * sizeof b->order[0]);
}

/* A node for every first byte in the range, which is sorted. Dense where that takes at most four times the room. */
static bool add_children(trie_builder *b, uint32_t i, pending range) {
    uint32_t first = b->u->n_nodes, n_bytes = 1;
    int low = byte_at(b, b->order[range.from], range.depth), high = byte_at(b, b->order[range.to - 1], range.depth);
    for (uint32_t k = range.from + 1; k < range.to; k++)
        n_bytes += byte_at(b, b->order[k], range.depth) != byte_at(b, b->order[k - 1], range.depth);
    bool dense = (uint32_t)(high - low) < 4 * n_bytes;
    int next = low;
    for (uint32_t k = range.from, end; k < range.to; k = end) {
        int byte = byte_at(b, b->order[k], range.depth);
        for (end = k + 1; end < range.to && byte_at(b, b->order[end], range.depth) == byte;)
            end++;
        for (; dense && next < byte; next++) {
            if (!add_node(b, (uint8_t)next, (pending){0, 0, 0}))
                return false;
        }
        if (!add_node(b, (uint8_t)byte, (pending){k, end, range.depth + 1}))
            return false;
        next = byte + 1;
    }
    b->u->nodes[i].children = first;
    b->u->nodes[i].n_children = (uint16_t)(b->u->n_nodes - first);
    b->u->nodes[i].is_dense = dense;
    return true;
}

/* Gives a node its piece and its children. */
static bool finish_node(trie_builder *b, uint32_t i) {
    pending range = b->pending[i];
    uint32_t from = range.from, w = range.from;
    unigram_node *node = &b->u->nodes[i];
    if (i > 0 && range.to - from == 1) {
        node->id = (int32_t)b->order[from];
        node->is_tail = true;
        return true;
    }
    /* Pieces that end here leave the range; of equal ones the later counts. */
    for (uint32_t k = from; k < range.to; k++) {
        uint32_t id = b->order[k];
        if (vocab_piece(b->v, id).n == range.depth)
            node->id = (int32_t)id;
        else
            b->order[w++] = id;
    }
    sort_range(b, from, w, range.depth);
    return from == w || add_children(b, i, (pending){from, w, range.depth});
}

static muga_status build_trie(unigram *u, const vocab *v, muga_error *err) {
    trie_builder b = {.v = v, .u = u};
    muga_status st = MUGA_OK;
    uint32_t n = 0;
    b.order = mem_alloc_array(v->n, sizeof b.order[0]);
    b.scratch = mem_alloc_array(v->n, sizeof b.scratch[0]);
    bool ok = b.order && b.scratch;
    for (uint32_t id = 0; ok && id < v->n; id++) {
        if (is_piece(v, (int32_t)id) && vocab_piece(v, id).n > 0)
            b.order[n++] = id;
    }
    ok = ok && add_node(&b, 0, (pending){0, n, 0});
    for (uint32_t i = 0; ok && i < u->n_nodes; i++)
        ok = finish_node(&b, i);
    if (!ok)
        st = error_nomem(err, "vocabulary");
    free(b.order);
    free(b.scratch);
    free(b.pending);
    return st;
}

static const unigram_node *find_child(const unigram *u, const unigram_node *node, uint8_t byte) {
    const unigram_node *children = u->nodes + node->children;
    uint32_t from = 0, to = node->n_children;
    if (node->is_dense) {
        uint32_t i = (uint32_t)byte - children[0].byte;
        return i < to ? &children[i] : NULL;
    }
    while (from < to) {
        uint32_t mid = (from + to) / 2;
        if (children[mid].byte == byte)
            return &children[mid];
        if (children[mid].byte < byte)
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
}

muga_status unigram_init(tokenizer *t, const gguf_file *file, muga_error *err) {
    unigram *u = &t->unigram;
    const vocab *v = &t->vocab;
    if (!v->scores)
        return error_set(err, MUGA_E_INPUT,
                         "key \"tokenizer.ggml.scores\" is missing; the vocabulary is not whole: use another file");
    double lowest = 0.0;
    for (uint32_t id = 0; id < v->n; id++) {
        if (v->types[id] == VOCAB_NORMAL && (double)v->scores[id] < lowest)
            lowest = (double)v->scores[id];
    }
    u->unknown_score = lowest - UNKNOWN_PENALTY;
    muga_status st = build_trie(u, v, err);
    return st ? st : read_charsmap(u, file, err);
}

void unigram_release(tokenizer *t) {
    free(t->unigram.map);
    free(t->unigram.replacements);
    free(t->unigram.nodes);
}

/* ---- normalising ---- */

/* The replacement of the longest string that begins at p; its length, 0 for none. */
static size_t find_replacement(const unigram *u, const char *p, size_t n, span *out) {
    size_t longest = 0;
    if (u->n_map == 0)
        return 0;
    uint32_t place = (u->map[0] >> 10) << ((u->map[0] & 512u) >> 6);
    for (size_t i = 0; i < MIN(n, (size_t)TOKENIZER_MAX_MATCH_BYTES) && p[i] != 0; i++) {
        uint8_t byte = (uint8_t)p[i];
        place ^= byte;
        if (place >= u->n_map)
            break;
        uint32_t node = u->map[place];
        if ((node & 0x800000FFu) != byte)
            break;
        place ^= (node >> 10) << ((node & 512u) >> 6);
        if (!(node & 256u))
            continue;
        uint32_t from = place < u->n_map ? u->map[place] & 0x7FFFFFFFu : UINT32_MAX;
        if (from >= u->n_replacements)
            break;
        const char *text = u->replacements + from; /* a NUL follows the last */
        *out = span_of(text, strnlen(text, u->n_replacements - from));
        longest = i + 1;
    }
    return longest;
}

typedef struct normaliser {
    const tokenizer *t;
    str *out;
    bool prefixed, in_word;
} normaliser;

static void add_normalised(normaliser *z, span s) {
    bool merge = z->t->merge_spaces;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == ' ') {
            z->in_word = false;
            if (!merge)
                str_append_c(z->out, ' ');
            continue;
        }
        if (!z->in_word && ((z->t->space_prefix && !z->prefixed) || merge)) {
            str_append_c(z->out, ' ');
            z->prefixed = true;
        }
        z->in_word = true;
        str_append_c(z->out, s.p[i]);
    }
}

static void normalise(const tokenizer *t, span text, str *out, uint64_t *work) {
    normaliser z = {.t = t, .out = out};
    for (size_t at = 0; at < text.n;) {
        const char *p = text.p + at;
        size_t left = text.n - at;
        int32_t id;
        uint32_t cp;
        span s;
        size_t len = vocab_match_name(&t->vocab, &t->vocab.user, p, left, &id, work);
        if (len) {
            s = span_of(p, len);
        } else if (!(len = find_replacement(&t->unigram, p, left, &s))) {
            len = utf8_decode(p, left, &cp);
            s = len ? span_of(p, len) : span_of("\xEF\xBF\xBD", 3);
            len = MAX(len, (size_t)1);
        }
        if (s.n == 3 && memcmp(s.p, "\xE2\x96\x81", 3) == 0) /* pieces write a space so */
            s = span_of(" ", 1);
        add_normalised(&z, s);
        at += len;
    }
}

/* ---- searching ---- */

typedef struct best {
    double score;
    uint32_t from; /* where the piece that ends here begins */
    int32_t id;
} best;

static void offer(best *at, double score, size_t from, int32_t id) {
    if (score > at->score)
        *at = (best){score, (uint32_t)from, id};
}

/* Every piece that begins at `at`, then the unknown token where no piece is just the character there. */
static void extend(const tokenizer *t, const char *p, size_t n, size_t at, size_t character, best *table,
                   uint64_t *work) {
    const vocab *v = &t->vocab;
    const unigram *u = &t->unigram;
    const unigram_node *node = u->nodes;
    bool single = false;
    for (size_t len = 1; len <= n - at; len++) {
        node = find_child(u, node, (uint8_t)p[at + len - 1]);
        ++*work;
        if (!node)
            break;
        size_t end = len;
        if (node->is_tail) {
            span piece = vocab_piece(v, (uint32_t)node->id);
            if (piece.n > n - at || memcmp(piece.p + len, p + at + len, piece.n - len) != 0)
                break;
            end = piece.n;
        }
        if (node->id >= 0) {
            double score = v->types[node->id] == VOCAB_USER_DEFINED ? 0.0 : (double)v->scores[node->id];
            single |= end == character;
            offer(&table[at + end], table[at].score + score, at, node->id);
        }
        if (node->is_tail)
            break;
    }
    if (!single)
        offer(&table[at + character], table[at].score + u->unknown_score, at, t->unknown);
}

/* From the end to the beginning, then turned round. */
static bool push_best(const tokenizer *t, const best *table, size_t n, token_list *out) {
    size_t first = out->n;
    bool was_unknown = false;
    for (size_t at = n; at > 0; at = table[at].from) {
        bool is_unknown = table[at].id == t->unknown;
        if (!(is_unknown && was_unknown) && !token_list_push(out, table[at].id))
            return false;
        was_unknown = is_unknown;
    }
    for (size_t i = first, k = out->n; i + 1 < k; i++) {
        k--;
        int32_t id = out->ids[i];
        out->ids[i] = out->ids[k];
        out->ids[k] = id;
    }
    return true;
}

muga_status unigram_encode(const tokenizer *t, span text, token_list *out, uint64_t *work, muga_error *err) {
    str normal;
    str_init(&normal, (size_t)UINT32_MAX - 1);
    normalise(t, text, &normal, work);
    muga_status st = str_status(&normal, err, "normalised text");
    size_t n = normal.len;
    const char *p = str_get(&normal);
    best *table = st || n == 0 ? NULL : mem_alloc_array(n + 1, sizeof table[0]);
    if (!st && n > 0 && !table)
        st = error_nomem(err, "text");
    if (st || n == 0)
        goto out;
    for (size_t i = 1; i <= n; i++)
        table[i].score = -DBL_MAX;
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        size_t character = MAX(utf8_decode(p + at, n - at, &cp), (size_t)1);
        extend(t, p, n, at, character, table, work);
        at += character;
    }
    if (!push_best(t, table, n, out))
        st = error_nomem(err, "token ids");
out:
    free(table);
    str_release(&normal);
    return st;
}
