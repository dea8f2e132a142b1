/* Unigram, as T5 and XLM-R models have it. Owns the normalising by the file's character map and the search for the
 * likeliest pieces. Refuses: a character map that points outside itself, pieces past 256 bytes.
 *
 * A text is cut so that the sum of its pieces' scores (log probabilities) is greatest: best[i] is the best cut of the
 * first i bytes, and every piece that begins there may improve a later one (Viterbi). A character that no piece begins
 * with alone is the unknown token at a price; neighbours of that kind become one. Where the vocabulary has the bytes of
 * such a character, those go out instead. Source: Kudo 2018, "Subword regularization"; SentencePiece, for the bytes.
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
    unigram_node *node = &b->u->nodes[i];
    node->next = first;
    node->first = (uint8_t)low;
    node->n = (uint8_t)(b->u->n_nodes - first - 1); /* 256 at most */
    node->has_children = true;
    node->is_dense = dense;
    return true;
}

static void set_piece(const trie_builder *b, unigram_node *node, uint32_t id) {
    node->id = (int32_t)id;
    node->score = b->v->types[id] == VOCAB_USER_DEFINED ? 0.0f : b->v->scores[id];
}

/* Gives a node its piece and its children. */
static bool finish_node(trie_builder *b, uint32_t i) {
    pending range = b->pending[i];
    uint32_t from = range.from, w = range.from;
    unigram_node *node = &b->u->nodes[i];
    if (i > 0 && range.to - from == 1) {
        span piece = vocab_piece(b->v, b->order[from]);
        set_piece(b, node, b->order[from]);
        node->is_tail = true;
        node->n = (uint8_t)(piece.n - range.depth); /* pieces have 256 bytes at most, and this is not the root */
        node->next = b->v->begin[b->order[from]] + range.depth;
        node->first = node->n ? (uint8_t)piece.p[range.depth] : 0;
        return true;
    }
    /* Pieces that end here leave the range; of equal ones the later counts. */
    for (uint32_t k = from; k < range.to; k++) {
        uint32_t id = b->order[k];
        if (vocab_piece(b->v, id).n == range.depth)
            set_piece(b, node, id);
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

static inline const unigram_node *find_child(const unigram *u, const unigram_node *node, uint8_t byte) {
    if (!node->has_children)
        return NULL;
    const unigram_node *children = u->nodes + node->next;
    uint32_t from = 0, to = node->n + 1u;
    if (node->is_dense) {
        uint32_t i = (uint32_t)byte - node->first;
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

/* ---- normalising ---- */

/* A step of the character map's trie; false: no string goes on so. */
static bool step_map(const unigram *u, uint32_t *place, uint8_t byte, uint32_t *node) {
    *place ^= byte;
    if (*place >= u->n_map)
        return false;
    *node = u->map[*place];
    *place ^= (*node >> 10) << ((*node & 512u) >> 6);
    return (*node & 0x800000FFu) == byte;
}

static uint32_t map_root(const unigram *u) {
    return (u->map[0] >> 10) << ((u->map[0] & 512u) >> 6);
}

/* The replacement of the longest string that begins at p; its length, 0 for none. */
static size_t find_replacement(const unigram *u, const char *p, size_t n, span *out) {
    size_t longest = 0;
    if (u->n_map == 0)
        return 0;
    uint32_t place = map_root(u), node;
    for (size_t i = 0; i < MIN(n, (size_t)TOKENIZER_MAX_MATCH_BYTES) && p[i] != 0; i++) {
        if (!step_map(u, &place, (uint8_t)p[i], &node))
            break;
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

/* Most of a text is letters that the character map has only with accents after them. */
static void find_kept(unigram *u) {
    u->is_kept[0] = true;
    for (uint32_t c = 1; c < 128; c++) {
        uint32_t place = u->n_map ? map_root(u) : 0, node = 0;
        u->is_kept[c] = u->n_map == 0 || !step_map(u, &place, (uint8_t)c, &node);
        if (u->is_kept[c] || (node & 256u))
            continue;
        u->is_kept[c] = true;
        for (uint32_t d = 1; d < 128 && u->is_kept[c]; d++) {
            uint32_t further = place, ignored;
            u->is_kept[c] = !step_map(u, &further, (uint8_t)d, &ignored);
        }
    }
}

/* How many characters from p on go through as they are. */
static size_t run_kept(const tokenizer *t, const char *p, size_t n) {
    size_t i = 0;
    while (i < n) {
        uint8_t c = (uint8_t)p[i];
        if (c >= 128 || !t->unigram.is_kept[c] || t->vocab.user.first[c] || (i + 1 < n && (uint8_t)p[i + 1] >= 128))
            break;
        i++;
    }
    return i;
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
    if (!st)
        st = read_charsmap(u, file, err);
    if (!st)
        find_kept(u);
    return st;
}

void unigram_release(tokenizer *t) {
    free(t->unigram.map);
    free(t->unigram.replacements);
    free(t->unigram.nodes);
}

typedef struct normaliser {
    const tokenizer *t;
    str *out;
    bool after_space; /* and a further one is left out */
} normaliser;

/* Characters that stand for themselves. */
static void add_kept(normaliser *z, const char *p, size_t n) {
    for (size_t i = 0; i < n;) {
        const char *gap = memchr(p + i, ' ', n - i);
        size_t end = gap ? (size_t)(gap - p) : n;
        if (end > i) {
            str_append(z->out, p + i, end - i);
            z->after_space = false;
            i = end;
            continue;
        }
        if (!z->after_space)
            str_append_c(z->out, ' ');
        z->after_space = z->t->merge_spaces;
        i++;
    }
}

/* What a character, or several, became. */
static void add_replacement(normaliser *z, span s) {
    while (z->after_space && s.n > 0 && s.p[0] == ' ') {
        s.p++;
        s.n--;
    }
    if (s.n == 0)
        return;
    z->after_space = z->t->merge_spaces && s.p[s.n - 1] == ' ';
    if (s.n == 3 && memcmp(s.p, "\xE2\x96\x81", 3) == 0)
        s = span_of(" ", 1); /* pieces write a space so; in a text it is one that is kept */
    str_append(z->out, s.p, s.n);
}

/* SentencePiece's: a space before the text, each string by the character map, and where spaces are merged one of
 * several, none at the ends. */
static void normalise(const tokenizer *t, span text, str *out, uint64_t *work) {
    normaliser z = {t, out, t->merge_spaces};
    if (t->space_prefix)
        str_append_c(out, ' ');
    for (size_t at = 0; at < text.n;) {
        const char *p = text.p + at;
        size_t left = text.n - at;
        int32_t id;
        uint32_t cp;
        span s;
        size_t len = run_kept(t, p, left);
        if (len > 0) {
            add_kept(&z, p, len);
            at += len;
            continue;
        }
        len = vocab_match_name(&t->vocab, &t->vocab.user, p, left, &id, work);
        if (len) {
            s = span_of(p, len);
        } else if (!(len = find_replacement(&t->unigram, p, left, &s))) {
            len = utf8_decode(p, left, &cp);
            s = len ? span_of(p, len) : span_of("\xEF\xBF\xBD", 3);
            len = MAX(len, (size_t)1);
        }
        add_replacement(&z, s);
        at += len;
    }
    while (t->merge_spaces && out->len > 0 && out->data[out->len - 1] == ' ')
        str_truncate(out, out->len - 1);
}

/* ---- searching ---- */

/* How the best cut of the first i bytes ends: with which piece, of how many bytes. Its score is kept only as far ahead
 * as a piece can reach. */
#define SCORES 512u /* > TOKENIZER_MAX_MATCH_BYTES, a power of two */
#define LENGTH_BITS 9
_Static_assert(SCORES > TOKENIZER_MAX_MATCH_BYTES && TOKENIZER_MAX_MATCH_BYTES < 1 << LENGTH_BITS, "pieces fit");
_Static_assert(VOCAB_MAX_TOKENS <= 1u << (32 - LENGTH_BITS), "ids fit");

typedef struct lattice {
    uint32_t *last;        /* [bytes + 1] id << LENGTH_BITS | length */
    double scores[SCORES]; /* of the cut that ends at i: [i % SCORES] */
} lattice;

static inline void offer(lattice *l, double score, size_t from, size_t to, int32_t id) {
    if (score > l->scores[to % SCORES]) {
        l->scores[to % SCORES] = score;
        l->last[to] = (uint32_t)id << LENGTH_BITS | (uint32_t)(to - from);
    }
}

/* Every piece that begins at `at`, then the unknown token where no piece is just the character there. Nodes looked at.
 */
static uint32_t extend(const tokenizer *t, const char *p, size_t n, size_t at, size_t character, lattice *l) {
    const unigram *u = &t->unigram;
    const unigram_node *node = u->nodes;
    double score = l->scores[at % SCORES];
    uint32_t work = 0;
    bool single = false;
    for (size_t end = at + 1; end <= n; end++) {
        node = find_child(u, node, (uint8_t)p[end - 1]);
        work++;
        if (!node)
            break;
        if (node->is_tail && node->n) {
            if (node->n > n - end || (uint8_t)p[end] != node->first ||
                memcmp(t->vocab.bytes + node->next, p + end, node->n) != 0)
                break;
            end += node->n;
        }
        if (node->id >= 0) {
            single |= end == at + character;
            offer(l, score + (double)node->score, at, end, node->id);
        }
        if (node->is_tail)
            break;
    }
    if (!single)
        offer(l, score + u->unknown_score, at, at + character, t->unknown);
    return work;
}

static int32_t byte_token(const tokenizer *t, char byte) {
    int32_t id = t->vocab.byte_ids[(uint8_t)byte];
    bool is_token = id >= 0 && (uint32_t)id < t->vocab.n && t->vocab.types[id] == VOCAB_BYTE;
    return is_token ? id : VOCAB_NONE;
}

static bool has_bytes(const tokenizer *t, const char *p, size_t n) {
    while (n > 0 && byte_token(t, p[n - 1]) != VOCAB_NONE)
        n--;
    return n == 0;
}

/* An unknown character in a vocabulary with byte tokens; the last byte first, as all here. */
static bool push_bytes(const tokenizer *t, const char *p, size_t n, token_list *out) {
    while (n > 0) {
        if (!token_list_push(out, byte_token(t, p[--n])))
            return false;
    }
    return true;
}

/* From the end to the beginning, then turned round. */
static bool push_best(const tokenizer *t, const char *p, size_t n, const lattice *l, token_list *out) {
    size_t first = out->n;
    bool was_unknown = false;
    for (size_t at = n; at > 0;) {
        int32_t id = (int32_t)(l->last[at] >> LENGTH_BITS);
        size_t length = l->last[at] & ((1u << LENGTH_BITS) - 1);
        at -= length;
        bool is_unknown = id == t->unknown;
        if (is_unknown && has_bytes(t, p + at, length)) {
            if (!push_bytes(t, p + at, length, out))
                return false;
            was_unknown = false;
            continue;
        }
        if (!(is_unknown && was_unknown) && !token_list_push(out, id))
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
    lattice l;
    l.last = st || n == 0 ? NULL : mem_alloc_array(n + 1, sizeof l.last[0]);
    if (!st && n > 0 && !l.last)
        st = error_nomem(err, "text");
    if (st || n == 0)
        goto out;
    for (size_t i = 0; i < SCORES; i++)
        l.scores[i] = i ? -DBL_MAX : 0.0;
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        size_t character = (uint8_t)p[at] < 128 ? 1 : MAX(utf8_decode(p + at, n - at, &cp), (size_t)1);
        *work += extend(t, p, n, at, character, &l);
        for (size_t end = at + character; at < end; at++)
            l.scores[at % SCORES] = -DBL_MAX;
    }
    if (!push_best(t, p, n, &l, out))
        st = error_nomem(err, "token ids");
out:
    free(l.last);
    str_release(&normal);
    return st;
}
