/* The vocabulary: every piece's bytes in one block, an open-addressing table from bytes to symbol, and the special
 * tokens' names sorted. Refuses: no tokens, more than 2^20, pieces past 64 KiB, arrays of types or scores that are
 * shorter than the tokens.
 *
 * Idea: opening has a budget of milliseconds, so there is one pass over the tokens and no allocation per token; a table
 * slot carries 32 bits of the hash, so that a look-up touches the piece only when it is (almost surely) the one. */
#include "model/vocab.h"

#include "os/os.h"

#include <inttypes.h>

/* ---- spelling ---- */

/* GPT-2's alphabet: bytes that print as themselves in Latin-1 stand for themselves, the 68 others follow in order from
 * U+0100. Source: Radford et al. 2019, byte-level BPE. */
static int byte_of_character(uint32_t cp) {
    if ((cp >= 0x21 && cp <= 0x7E) || (cp >= 0xA1 && cp <= 0xAC) || (cp >= 0xAE && cp <= 0xFF))
        return (int)cp;
    if (cp < 0x100 || cp > 0x143)
        return -1;
    uint32_t i = cp - 0x100;
    if (i <= 0x20)
        return (int)i; /* 00..20 */
    if (i <= 0x42)
        return (int)(i - 0x21 + 0x7F); /* 7F..A0 */
    return 0xAD;
}

static bool spell_bytes(const char *p, size_t n, char *out, size_t *n_out) {
    size_t w = 0;
    for (size_t at = 0; at < n;) {
        uint8_t c = (uint8_t)p[at];
        if (c >= 0x21 && c <= 0x7E) {
            out[w++] = (char)c;
            at++;
            continue;
        }
        /* All other characters of the alphabet, U+00A1 to U+0143, have two bytes. */
        uint8_t second = at + 1 < n ? (uint8_t)p[at + 1] : 0;
        if (c < 0xC2 || c > 0xC5 || (second & 0xC0) != 0x80) {
            return false;
        }
        int byte = byte_of_character((uint32_t)(c & 0x1F) << 6 | (second & 0x3F));
        if (byte < 0) {
            return false;
        }
        out[w++] = (char)byte;
        at += 2;
    }
    *n_out = w;
    return true;
}

static size_t spell_space(const char *p, size_t n, char *out) {
    size_t w = 0;
    for (size_t at = 0; at < n;) {
        if (n - at >= 3 && memcmp(p + at, "\xE2\x96\x81", 3) == 0) {
            out[w++] = ' ';
            at += 3;
        } else {
            out[w++] = p[at++];
        }
    }
    return w;
}

bool vocab_spell(vocab_spelling spelling, const char *p, size_t n, char *out, size_t *n_out) {
    if (spelling == VOCAB_SPELLING_BYTES)
        return spell_bytes(p, n, out, n_out);
    *n_out = spell_space(p, n, out);
    return true;
}

/* "<0x0A>" to 0x0A; -1 for anything else. */
static int spell_byte_token(const char *p, size_t n) {
    static const char digits[] = "0123456789ABCDEF";
    if (n != 6 || memcmp(p, "<0x", 3) != 0 || p[5] != '>')
        return -1;
    const char *high = memchr(digits, p[3], 16), *low = memchr(digits, p[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

/* ---- table ---- */

static uint64_t read_u64(const char *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t read_u32(const char *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Two overlapping reads take what is left at the end, whatever its length. */
static uint64_t hash_piece(uint64_t seed, const char *p, size_t n) {
    uint64_t h = seed ^ n, rest = 0;
    if (n >= 8) {
        for (size_t at = 0; at + 8 < n; at += 8) {
            h = vocab_mix(h, read_u64(p + at));
        }
        rest = read_u64(p + n - 8);
    } else if (n >= 4) {
        rest = (uint64_t)read_u32(p) << 32 | read_u32(p + n - 4);
    } else if (n > 0) {
        rest = (uint64_t)(uint8_t)p[0] << 16 | (uint64_t)(uint8_t)p[n / 2] << 8 | (uint8_t)p[n - 1];
    }
    return vocab_mix(h, rest);
}

/* The slot that holds p[0, n), or the free one where it belongs. A table of our making has free ones; one from a file
 * may be full of anything, so the search ends, and symbols are held against their number. */
static uint32_t find_slot(const vocab *v, const char *p, size_t n, uint64_t hash) {
    uint32_t tag = (uint32_t)(hash >> 32), at = (uint32_t)hash & v->slot_mask;
    for (uint32_t i = 0; i <= v->slot_mask; i++, at = (at + 1) & v->slot_mask) {
        uint64_t slot = v->slots[at];
        if (slot == 0)
            return at;
        if ((uint32_t)(slot >> 32) != tag || (uint32_t)slot - 1 >= v->n_symbols)
            continue;
        span piece = vocab_piece(v, (uint32_t)slot - 1);
        if (piece.n == n && memcmp(piece.p, p, n) == 0)
            return at;
    }
    return at;
}

static bool make_slots(vocab *v, uint32_t n_entries) {
    uint32_t size = 64;
    while (size / 2 < n_entries)
        size *= 2;
    uint64_t *slots = mem_alloc_array(size, sizeof slots[0]);
    if (!slots)
        return false;
    uint64_t *old = v->slots;
    uint32_t n_old = old ? v->slot_mask + 1 : 0;
    v->slots = slots;
    v->slot_mask = size - 1;
    for (uint32_t i = 0; i < n_old; i++) {
        if (old[i] == 0)
            continue;
        span piece = vocab_piece(v, (uint32_t)old[i] - 1);
        v->slots[find_slot(v, piece.p, piece.n, hash_piece(v->seed, piece.p, piece.n))] = old[i];
    }
    free(old);
    return true;
}

int32_t vocab_find(const vocab *v, const char *p, size_t n) {
    if (n > v->longest)
        return VOCAB_NONE;
    uint64_t slot = v->slots[find_slot(v, p, n, hash_piece(v->seed, p, n))];
    return (uint32_t)slot - 1 < v->n_symbols ? (int32_t)((uint32_t)slot - 1) : VOCAB_NONE; /* free: 2^32 - 1 */
}

/* Of two tokens with the same bytes the later one is found. */
static void enter(vocab *v, uint32_t symbol) {
    span piece = vocab_piece(v, symbol);
    uint64_t hash = hash_piece(v->seed, piece.p, piece.n);
    uint32_t at = find_slot(v, piece.p, piece.n, hash);
    v->n_used += v->slots[at] == 0;
    v->slots[at] = hash >> 32 << 32 | (symbol + 1);
    v->longest = MAX(v->longest, (uint32_t)piece.n);
}

static bool reserve_bytes(vocab *v, size_t n) {
    if (v->cap_bytes - v->n_bytes >= n)
        return true;
    size_t cap = MAX(v->cap_bytes * 2, v->n_bytes + n);
    char *more = cap <= UINT32_MAX ? mem_resize_array(v->bytes, cap, 1) : NULL;
    if (!more)
        return false;
    v->bytes = more;
    v->cap_bytes = cap;
    return true;
}

int32_t vocab_intern(vocab *v, const char *p, size_t n) {
    int32_t found = vocab_find(v, p, n);
    if (found != VOCAB_NONE)
        return found;
    if (v->n_symbols == INT32_MAX || !reserve_bytes(v, n))
        return VOCAB_NONE;
    if (v->n_symbols + 1 >= v->cap_symbols) {
        uint32_t cap = v->cap_symbols * 2;
        uint32_t *more = mem_resize_array(v->begin, (size_t)cap + 1, sizeof more[0]);
        if (!more)
            return VOCAB_NONE;
        v->begin = more;
        v->cap_symbols = cap;
    }
    if (v->n_used + 1 > v->slot_mask / 2 && !make_slots(v, v->n_used * 2))
        return VOCAB_NONE;
    memcpy(v->bytes + v->n_bytes, p, n);
    v->n_bytes += n;
    v->begin[++v->n_symbols] = (uint32_t)v->n_bytes;
    enter(v, v->n_symbols - 1);
    return (int32_t)v->n_symbols - 1;
}

/* ---- reading ---- */

static bool carries_text(uint8_t type) {
    return type == VOCAB_NORMAL || type == VOCAB_USER_DEFINED || type == VOCAB_BYTE;
}

static muga_status need_array(const gguf_file *file, const char *key, gguf_type element, uint64_t n, gguf_array *out,
                              muga_error *err) {
    muga_status st = gguf_get_array(file, key, element, out, err);
    if (st == MUGA_OK && out->n < n)
        return error_set(err, MUGA_E_INPUT,
                         "key \"%s\" has %" PRIu64 " elements for %" PRIu64 " tokens; the file is damaged: "
                         "fetch it again",
                         key, out->n, n);
    return st;
}

static muga_status read_types(vocab *v, const gguf_file *file, muga_error *err) {
    gguf_array types, scores;
    muga_status st = need_array(file, "tokenizer.ggml.token_type", GGUF_I32, v->n, &types, err);
    if (st && st != MUGA_E_NOT_FOUND)
        return st;
    for (uint32_t i = 0; i < v->n; i++) {
        int32_t type = VOCAB_NORMAL;
        if (!st)
            memcpy(&type, types.data + (size_t)i * sizeof type, sizeof type);
        v->types[i] = type >= VOCAB_UNDEFINED && type <= VOCAB_BYTE ? (uint8_t)type : VOCAB_UNDEFINED;
    }
    st = need_array(file, "tokenizer.ggml.scores", GGUF_F32, v->n, &scores, err);
    if (st)
        return st == MUGA_E_NOT_FOUND ? MUGA_OK : st;
    v->scores = mem_alloc_array(v->n, sizeof v->scores[0]);
    if (!v->scores)
        return error_nomem(err, "vocabulary");
    memcpy(v->scores, scores.data, v->n * sizeof v->scores[0]);
    return MUGA_OK;
}

/* The encoder could come to a special token's name by merging: where spelling leaves it as it is and, in the kinds that
 * write a space as U+2581, it has no plain space. */
static bool is_reachable(const vocab *v, span name, char *room) {
    size_t n;
    if (v->spelling == VOCAB_SPELLING_SPACE && memchr(name.p, ' ', name.n))
        return false;
    return vocab_spell(v->spelling, name.p, name.n, room, &n) && n == name.n && memcmp(room, name.p, n) == 0;
}

/* One token's piece to the end of bytes, and into the table. A special token's name stands as it is. */
static void add_piece(vocab *v, uint32_t id, span text) {
    char *out = v->bytes + v->n_bytes;
    size_t n = text.n;
    uint8_t type = v->types[id];
    int byte = type == VOCAB_BYTE ? spell_byte_token(text.p, text.n) : -1;
    bool known;
    if (byte >= 0) {
        *out = (char)byte;
        n = 1;
        known = false; /* reached as a byte, not as a piece */
        v->byte_ids[byte] = (int32_t)id;
    } else if (type == VOCAB_NORMAL || type == VOCAB_UNDEFINED || type == VOCAB_UNUSED) {
        known = vocab_spell(v->spelling, text.p, text.n, out, &n);
        if (!known) {
            memcpy(out, text.p, text.n);
            n = text.n;
        }
    } else {
        known = is_reachable(v, text, out);
        memcpy(out, text.p, text.n);
    }
    v->n_bytes += n;
    v->begin[id + 1] = (uint32_t)v->n_bytes;
    v->n_symbols = id + 1;
    if (known && n > 0)
        enter(v, id);
}

static muga_status get_tokens(const gguf_file *file, gguf_array *out, muga_error *err) {
    muga_status st = gguf_get_array(file, "tokenizer.ggml.tokens", GGUF_STRING, out, err);
    if (st == MUGA_E_NOT_FOUND)
        return error_set(err, MUGA_E_INPUT,
                         "key \"tokenizer.ggml.tokens\" is missing; the file has no vocabulary: use another");
    if (!st && (out->n == 0 || out->n > VOCAB_MAX_TOKENS))
        return error_set(err, MUGA_E_INPUT, "key \"tokenizer.ggml.tokens\" has %" PRIu64 " tokens (1 to %u allowed)",
                         out->n, VOCAB_MAX_TOKENS);
    return st;
}

muga_status vocab_init(vocab *v, const gguf_file *file, vocab_spelling spelling, muga_error *err) {
    gguf_array tokens;
    muga_status st = get_tokens(file, &tokens, err);
    if (st)
        return st;
    v->spelling = spelling;
    v->n = (uint32_t)tokens.n;
    v->types = mem_alloc_array(v->n, sizeof v->types[0]);
    if (!v->types)
        return error_nomem(err, "vocabulary");
    for (int b = 0; b < 256; b++)
        v->byte_ids[b] = VOCAB_NONE;
    return read_types(v, file, err);
}

muga_status vocab_read(vocab *v, const gguf_file *file, muga_error *err) {
    gguf_array tokens;
    muga_status st = get_tokens(file, &tokens, err);
    if (st)
        return st;
    v->cap_symbols = v->n + 512;
    v->cap_bytes = tokens.bytes + 512; /* a spelled piece is never longer than its text */
    if (v->cap_bytes > UINT32_MAX)
        return error_set(err, MUGA_E_LIMIT, "the vocabulary has more than 4 GiB of text");
    if ((st = os_random(&v->seed, sizeof v->seed, err)))
        return st;
    v->begin = mem_alloc_array((size_t)v->cap_symbols + 1, sizeof v->begin[0]);
    v->bytes = mem_alloc_array(v->cap_bytes, 1);
    if (!v->begin || !v->bytes || !make_slots(v, v->n + 256))
        return error_nomem(err, "vocabulary");
    uint64_t at = 0;
    span text;
    for (uint32_t id = 0; id < v->n; id++) {
        if (!gguf_array_next_string(&tokens, &at, &text))
            return error_set(err, MUGA_E_ENV, "the file was written to while it was read; start again");
        if (text.n > VOCAB_MAX_PIECE_BYTES)
            return error_set(err, MUGA_E_INPUT,
                             "token %" PRIu32 " of \"tokenizer.ggml.tokens\" has %zu bytes (at most %u allowed)", id,
                             text.n, VOCAB_MAX_PIECE_BYTES);
        add_piece(v, id, text);
    }
    return MUGA_OK;
}

/* ---- names of special tokens ---- */

static int compare_spans(span a, span b) {
    int order = memcmp(a.p, b.p, MIN(a.n, b.n));
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

typedef struct name {
    span text;
    int32_t id;
} name;

static int compare_names(const void *a, const void *b) {
    const name *x = a, *y = b;
    int order = compare_spans(x->text, y->text);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

static bool is_special(const vocab *v, uint32_t id) {
    uint8_t type = v->types[id];
    bool special = type == VOCAB_USER_DEFINED || type == VOCAB_CONTROL || type == VOCAB_UNKNOWN;
    return special && vocab_piece(v, id).n > 0;
}

static void add_name(vocab_names *out, const name *n) {
    out->ids[out->n++] = n->id;
    out->first[(uint8_t)n->text.p[0]] = true;
}

static bool make_names(vocab *v) {
    uint32_t n = 0;
    for (uint32_t id = 0; id < v->n; id++)
        n += is_special(v, id);
    name *names = mem_alloc_array(n, sizeof names[0]);
    v->special.ids = mem_alloc_array(n, sizeof v->special.ids[0]);
    v->user.ids = mem_alloc_array(n, sizeof v->user.ids[0]);
    if (!names || !v->special.ids || !v->user.ids) {
        free(names);
        return false;
    }
    n = 0;
    for (uint32_t id = 0; id < v->n; id++) {
        if (is_special(v, id))
            names[n++] = (name){vocab_piece(v, id), (int32_t)id};
    }
    qsort(names, n, sizeof names[0], compare_names);
    for (uint32_t i = 0; i < n; i++) {
        if (i + 1 < n && compare_spans(names[i].text, names[i + 1].text) == 0)
            continue; /* of two with one name the later token counts */
        add_name(&v->special, &names[i]);
        if (v->types[names[i].id] == VOCAB_USER_DEFINED)
            add_name(&v->user, &names[i]);
    }
    free(names);
    return true;
}

muga_status vocab_finish(vocab *v, muga_error *err) {
    for (uint32_t id = 0; id < v->n; id++)
        if (is_special(v, id) && vocab_piece(v, id).n > VOCAB_MAX_NAME_BYTES)
            return error_set(err, MUGA_E_INPUT, "token %u, a special one, has a name of %zu bytes (at most %d allowed)",
                             id, vocab_piece(v, id).n, VOCAB_MAX_NAME_BYTES);
    v->text_pieces = mem_alloc_array(v->n, sizeof v->text_pieces[0]);
    if (!v->text_pieces || !make_names(v))
        return error_nomem(err, "vocabulary");
    for (uint32_t id = 0; id < v->n; id++) {
        span piece = vocab_piece(v, id);
        v->text_pieces[id] = carries_text(v->types[id]) ? piece : span_of(piece.p, 0);
    }
    return MUGA_OK;
}

void vocab_release(vocab *v) {
    free(v->types);
    free(v->scores);
    if (!v->borrowed) {
        free(v->bytes);
        free(v->begin);
        free(v->slots);
    }
    free(v->text_pieces);
    free(v->special.ids);
    free(v->user.ids);
    memset(v, 0, sizeof *v);
}

/* First index in [from, to) whose name has a byte at `at` that is >= byte (names shorter than that come first). */
static uint32_t lower_bound(const vocab *v, const vocab_names *names, uint32_t from, uint32_t to, size_t at, int byte) {
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        span s = vocab_piece(v, (uint32_t)names->ids[mid]);
        int c = at < s.n ? (uint8_t)s.p[at] : -1;
        if (c < byte)
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

size_t vocab_match_name(const vocab *v, const vocab_names *names, const char *p, size_t n, int32_t *id,
                        uint64_t *work) {
    if (n == 0 || !names->first[(uint8_t)p[0]])
        return 0;
    uint32_t from = 0, to = names->n;
    size_t longest = 0;
    for (size_t at = 0; at < n && from < to; at++) {
        int byte = (uint8_t)p[at];
        ++*work;
        from = lower_bound(v, names, from, to, at, byte);
        to = lower_bound(v, names, from, to, at, byte + 1);
        if (from == to)
            break;
        /* all in [from, to) agree with p up to and with `at`; the shortest is first */
        if (vocab_piece(v, (uint32_t)names->ids[from]).n == at + 1) {
            longest = at + 1;
            *id = names->ids[from];
        }
    }
    return longest;
}

int32_t vocab_find_name(const vocab *v, const vocab_names *names, const char *p, size_t n) {
    uint32_t from = 0, to = names->n;
    span wanted = span_of(p, n);
    while (from < to) {
        uint32_t mid = from + (to - from) / 2;
        int order = compare_spans(vocab_piece(v, (uint32_t)names->ids[mid]), wanted);
        if (order == 0)
            return names->ids[mid];
        if (order < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return VOCAB_NONE;
}
