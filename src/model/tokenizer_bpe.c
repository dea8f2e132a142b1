/* Byte-pair encoding and its sister in SentencePiece. Owns the merges and the merging. Refuses: merges that aren't two
 * halves, more than 2^22 of them, and bytes the vocabulary has no token for.
 *
 * A word's symbols begin as bytes (characters in the kind without byte-level spelling); the adjacent pair of lowest
 * rank is merged, leftmost first, until no pair has a merge. Pairs wait in a binary heap ordered by (rank, place),
 * symbols are a linked list, so a word of n symbols takes O(n log n) whatever it holds.
 *
 * Invariants
 * 1. A merge is known by symbol ids, not by strings: looking up a pair is one probe of a table.
 * 2. A heap entry is valid if and only if the symbol at its place still has that rank for the pair it begins (rank and
 *    pair determine each other); stale entries are dropped when they come up.
 * 3. Most words are a token already. Whether merging would give just that token depends on its bytes alone, so the
 *    answer is remembered per token (bpe.whole) and merging is skipped the next time. */
#include "model/tokenizer_internal.h"

#include "base/utf8.h"

#include <inttypes.h>

#define NO_RANK UINT32_MAX
#define NO_SYMBOL UINT32_MAX

/* ---- merges ---- */

/* The pair's slot, or the free one where it belongs; in a full table, which only a file can bring, any. */
static uint32_t find_merge_slot(const tokenizer *t, int32_t left, int32_t right) {
    const bpe *b = &t->bpe;
    uint64_t hash = vocab_mix(t->vocab.seed, (uint64_t)(uint32_t)left << 32 | (uint32_t)right);
    uint32_t at = (uint32_t)hash & b->slot_mask;
    for (uint32_t i = 0; i <= b->slot_mask; i++, at = (at + 1) & b->slot_mask) {
        const bpe_merge *m = &b->slots[at];
        if (m->rank == 0 || (m->left == left && m->right == right))
            break;
    }
    return at;
}

static muga_status bad_merge(uint64_t i, muga_error *err) {
    return error_set(err, MUGA_E_INPUT,
                     "element %" PRIu64 " of \"tokenizer.ggml.merges\" is not two pieces with a space between; "
                     "the file is damaged: fetch it again",
                     i);
}

/* `room` has space for the whole line. *guess: the symbol that the merge probably makes, since vocabularies list their
 * pieces in the order of the merges. */
static muga_status add_merge(tokenizer *t, uint64_t i, span line, char *room, int32_t *guess, muga_error *err) {
    vocab *v = &t->vocab;
    const char *gap = line.n > 1 ? memchr(line.p + 1, ' ', line.n - 1) : NULL;
    if (!gap || gap + 1 == line.p + line.n || line.n > VOCAB_MAX_PIECE_BYTES)
        return bad_merge(i, err);
    size_t n_left, n_right;
    if (!vocab_spell(v->spelling, line.p, (size_t)(gap - line.p), room, &n_left) ||
        !vocab_spell(v->spelling, gap + 1, (size_t)(line.p + line.n - gap - 1), room + n_left, &n_right))
        return MUGA_OK; /* characters that no text is spelled with: this merge never comes up */
    int32_t left = vocab_intern(v, room, n_left), right = vocab_intern(v, room + n_left, n_right), result = VOCAB_NONE;
    if (*guess >= 0 && (uint32_t)*guess < v->n) {
        span piece = vocab_piece(v, (uint32_t)*guess);
        if (piece.n == n_left + n_right && memcmp(piece.p, room, piece.n) == 0 && v->types[*guess] == VOCAB_NORMAL)
            result = *guess;
    }
    if (result == VOCAB_NONE)
        result = vocab_intern(v, room, n_left + n_right);
    if (left == VOCAB_NONE || right == VOCAB_NONE || result == VOCAB_NONE)
        return error_nomem(err, "merges");
    *guess = result + 1;
    bpe_merge *m = &t->bpe.slots[find_merge_slot(t, left, right)];
    if (m->rank == 0)
        *m = (bpe_merge){left, right, (uint32_t)i + 1, result}; /* a pair's first merge counts */
    return MUGA_OK;
}

/* No piece that merging could come to has a space after another character. */
static bool no_piece_spans_words(const vocab *v) {
    for (uint32_t i = 0; i < v->n_symbols; i++) {
        span piece = vocab_piece(v, i);
        if (i < v->n && v->types[i] != VOCAB_NORMAL && v->types[i] != VOCAB_UNDEFINED && v->types[i] != VOCAB_UNUSED)
            continue; /* a special token with a plain space isn't reached by merging */
        size_t at = 0;
        while (at < piece.n && piece.p[at] == ' ')
            at++;
        if (at < piece.n && memchr(piece.p + at, ' ', piece.n - at))
            return false;
    }
    return true;
}

static muga_status read_merges(tokenizer *t, const gguf_array *merges, muga_error *err) {
    uint32_t size = 64;
    while (size / 2 < merges->n)
        size *= 2;
    t->bpe.slots = mem_alloc_array(size, sizeof t->bpe.slots[0]);
    t->bpe.slot_mask = size - 1;
    char *room = malloc(VOCAB_MAX_PIECE_BYTES);
    muga_status st = t->bpe.slots && room ? MUGA_OK : error_nomem(err, "merges");
    uint64_t at = 0;
    span line;
    int32_t guess = VOCAB_NONE;
    for (uint64_t i = 0; !st && i < merges->n && gguf_array_next_string(merges, &at, &line); i++)
        st = add_merge(t, i, line, room, &guess, err);
    free(room);
    return st;
}

/* Each byte is a symbol, with a token or without. */
static muga_status intern_bytes(vocab *v, muga_error *err) {
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        v->byte_ids[b] = vocab_intern(v, &byte, 1);
        if (v->byte_ids[b] == VOCAB_NONE)
            return error_nomem(err, "vocabulary");
    }
    return MUGA_OK;
}

static muga_status get_merges(const tokenizer *t, const gguf_file *file, gguf_array *out, muga_error *err) {
    bool scored = t->kind == TOKENIZER_SPM;
    *out = (gguf_array){.type = GGUF_STRING};
    muga_status st = scored ? MUGA_OK : gguf_get_array(file, "tokenizer.ggml.merges", GGUF_STRING, out, err);
    if (st == MUGA_E_NOT_FOUND || (scored && !t->vocab.scores))
        return error_set(err, MUGA_E_INPUT,
                         "key \"tokenizer.ggml.%s\" is missing; the vocabulary is not whole: use another file",
                         scored ? "scores" : "merges");
    if (!st && out->n > TOKENIZER_MAX_MERGES)
        return error_set(err, MUGA_E_INPUT, "key \"tokenizer.ggml.merges\" has %" PRIu64 " merges (at most %u allowed)",
                         out->n, TOKENIZER_MAX_MERGES);
    return st;
}

muga_status bpe_init(tokenizer *t, const gguf_file *file, muga_error *err) {
    gguf_array merges;
    muga_status st = get_merges(t, file, &merges, err);
    if (st)
        return st;
    t->bpe.whole = mem_alloc_array(t->vocab.n, sizeof t->bpe.whole[0]);
    return t->bpe.whole ? MUGA_OK : error_nomem(err, "merges");
}

muga_status bpe_read(tokenizer *t, const gguf_file *file, muga_error *err) {
    gguf_array merges;
    muga_status st = get_merges(t, file, &merges, err);
    if (!st && t->kind == TOKENIZER_BPE)
        st = intern_bytes(&t->vocab, err);
    if (!st && t->kind != TOKENIZER_SPM)
        st = read_merges(t, &merges, err);
    if (!st)
        t->cuts_at_spaces = t->kind != TOKENIZER_BPE && no_piece_spans_words(&t->vocab);
    return st;
}

void bpe_release(tokenizer *t) {
    if (!t->vocab.borrowed)
        free(t->bpe.slots);
    free(t->bpe.whole);
}

/* ---- merging ---- */

typedef struct symbol {
    int32_t id;
    uint32_t from;       /* first byte in the word */
    uint32_t prev, next; /* NO_SYMBOL at the ends */
    uint32_t rank;       /* of the pair that begins here; NO_RANK: none, or this symbol is gone */
    int32_t merged;      /* what that pair becomes */
} symbol;

/* What one call of bpe_encode needs; grown as words need it, freed at its end. */
typedef struct merger {
    const tokenizer *t;
    const char *text; /* the whole stretch */
    span word;        /* what is being merged */
    bool marked;      /* SPM, ill-formed text: spaces are written as U+2581 */
    size_t offset;
    bool lossy;
    token_list *out;
    symbol *symbols;
    uint64_t *heap;     /* rank << 32 | place, smallest first */
    size_t cap, n_heap; /* room for cap symbols and 3 * cap heap entries */
    uint64_t work;
    muga_status status;
    muga_error *err;
} merger;

static bool reserve(merger *m, size_t n) {
    if (m->cap >= n)
        return true;
    size_t cap = MAX(n, MAX(m->cap * 2, (size_t)64));
    symbol *symbols = mem_resize_array(m->symbols, cap, sizeof symbols[0]);
    if (symbols)
        m->symbols = symbols;
    uint64_t *heap = mem_resize_array(m->heap, cap * 3, sizeof heap[0]);
    if (heap)
        m->heap = heap;
    if (!symbols || !heap) {
        m->status = error_nomem(m->err, "a long word");
        return false;
    }
    m->cap = cap;
    return true;
}

static void heap_push(merger *m, uint64_t entry) {
    size_t i = m->n_heap++;
    for (; i > 0 && m->heap[(i - 1) / 2] > entry; m->work++) {
        m->heap[i] = m->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    m->heap[i] = entry;
}

static uint64_t heap_pop(merger *m) {
    uint64_t top = m->heap[0], last = m->heap[--m->n_heap];
    size_t i = 0;
    for (;; m->work++) {
        size_t child = 2 * i + 1;
        if (child >= m->n_heap)
            break;
        if (child + 1 < m->n_heap && m->heap[child + 1] < m->heap[child])
            child++;
        if (m->heap[child] >= last)
            break;
        m->heap[i] = m->heap[child];
        i = child;
    }
    m->heap[i] = last;
    return top;
}

/* The symbol of a part of the word. */
static int32_t find_symbol(const merger *m, const char *p, size_t n) {
    char spelled[256];
    if (!m->marked)
        return vocab_find(&m->t->vocab, p, n);
    if (n > sizeof spelled || !vocab_spell(VOCAB_SPELLING_SPACE, p, n, spelled, &n))
        return VOCAB_NONE;
    return vocab_find(&m->t->vocab, spelled, n);
}

/* Rank 0 is none. SentencePiece has no list of merges: a pair merges when the vocabulary has what comes of it, the
 * highest score first. Its order as an unsigned number is the float's, turned round. */
static uint32_t find_merge(const merger *m, const symbol *s, int32_t *merged) {
    const tokenizer *t = m->t;
    const symbol *next = &m->symbols[s->next];
    if (t->kind != TOKENIZER_SPM) {
        if (s->id < 0 || next->id < 0)
            return 0;
        const bpe_merge *found = &t->bpe.slots[find_merge_slot(t, s->id, next->id)];
        *merged = found->result;
        bool sound = found->rank <= TOKENIZER_MAX_MERGES && (uint32_t)found->result < t->vocab.n_symbols;
        return sound ? found->rank : 0; /* the table may be a file's */
    }
    size_t end = next->next == NO_SYMBOL ? m->word.n : m->symbols[next->next].from;
    int32_t id = find_symbol(m, m->word.p + s->from, end - s->from);
    if (id < 0)
        return 0;
    float score = t->vocab.scores[id] + 0.0f; /* -0 becomes 0 */
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    bits = bits >> 31 ? ~bits : bits | 1u << 31; /* ascending with the score */
    *merged = id;
    return MIN(MAX(~bits, 1u), NO_RANK - 1);
}

/* Looks up the pair that begins at `place`. Each symbol is pushed once at first and twice a merge: 3n entries at most.
 */
static void offer_pair(merger *m, uint32_t place) {
    symbol *s = &m->symbols[place];
    m->work++;
    s->rank = NO_RANK;
    if (s->next == NO_SYMBOL)
        return;
    uint32_t rank = find_merge(m, s, &s->merged);
    if (rank == 0)
        return;
    s->rank = rank;
    heap_push(m, (uint64_t)rank << 32 | place);
}

/* Bytes of the character that begins with this one, as its first byte says; SentencePiece takes even an ill-formed one
 * so. */
static size_t character_bytes(uint8_t first) {
    return first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* The word's symbols before any merge. */
static uint32_t split_symbols(merger *m) {
    const vocab *v = &m->t->vocab;
    span word = m->word;
    uint32_t count = 0;
    for (size_t at = 0; at < word.n; count++) {
        symbol *s = &m->symbols[count];
        uint8_t byte = (uint8_t)word.p[at];
        size_t len = m->t->kind == TOKENIZER_BPE ? 1 : MIN(character_bytes(byte), word.n - at);
        s->id = m->t->kind == TOKENIZER_BPE ? v->byte_ids[byte] : find_symbol(m, word.p + at, len);
        s->from = (uint32_t)at;
        s->prev = count ? count - 1 : NO_SYMBOL;
        s->next = count + 1;
        at += len;
    }
    m->symbols[count - 1].next = NO_SYMBOL;
    return count;
}

/* Symbol 0 stays the first of the list. */
static void merge_word(merger *m) {
    uint32_t count = split_symbols(m);
    m->n_heap = 0;
    for (uint32_t i = 0; i < count; i++)
        offer_pair(m, i);
    while (m->n_heap > 0) {
        uint64_t entry = heap_pop(m);
        uint32_t place = (uint32_t)entry;
        symbol *s = &m->symbols[place];
        if (s->rank != (uint32_t)(entry >> 32))
            continue;
        symbol *gone = &m->symbols[s->next];
        s->id = s->merged;
        s->next = gone->next;
        gone->rank = NO_RANK;
        if (s->next != NO_SYMBOL)
            m->symbols[s->next].prev = place;
        if (s->prev != NO_SYMBOL)
            offer_pair(m, s->prev);
        offer_pair(m, place);
    }
}

static bool push(merger *m, int32_t id) {
    if (token_list_push(m->out, id))
        return true;
    m->status = error_nomem(m->err, "token ids");
    return false;
}

/* A symbol without a token goes out byte by byte. */
static bool push_bytes(merger *m, const char *p, size_t n) {
    const vocab *v = &m->t->vocab;
    for (size_t i = 0; i < n; i++) {
        int32_t id = v->byte_ids[(uint8_t)p[i]];
        if (id < 0 && m->t->kind == TOKENIZER_SPM && m->t->unknown >= 0)
            id = m->t->unknown; /* a vocabulary without bytes has a token for what it doesn't know */
        if ((id < 0 || (uint32_t)id >= v->n) && m->lossy)
            continue;
        if (id < 0 || (uint32_t)id >= v->n) {
            size_t at = m->offset + (size_t)(p + i - m->text);
            m->status = error_set(m->err, MUGA_E_INPUT,
                                  "text, byte %zu: the model's vocabulary has no token for the byte 0x%02X; "
                                  "take it out of the text",
                                  at, (uint8_t)p[i]);
            return false;
        }
        if (!push(m, id))
            return false;
    }
    return true;
}

/* The merged symbols, in order. */
static bool push_symbols(merger *m, const char *p, size_t n) {
    for (uint32_t i = 0; i != NO_SYMBOL; i = m->symbols[i].next) {
        const symbol *s = &m->symbols[i];
        size_t end = s->next == NO_SYMBOL ? n : m->symbols[s->next].from;
        bool is_token = s->id >= 0 && (uint32_t)s->id < m->t->vocab.n;
        if (!(is_token ? push(m, s->id) : push_bytes(m, p + s->from, end - s->from)))
            return false;
    }
    return true;
}

static bool is_newlines(const char *p, size_t n) {
    while (n > 0 && p[n - 1] == '\n')
        n--;
    return n == 0;
}

static bool encode_word(void *ctx, const char *p, size_t n) {
    merger *m = ctx;
    const tokenizer *t = m->t;
    int32_t id = find_symbol(m, p, n);
    m->work++;
    bool is_token = id >= 0 && (uint32_t)id < t->vocab.n;
    if (is_token) {
        if ((t->pre && t->pre->ignore_merges) || (t->kind == TOKENIZER_GEMMA4 && is_newlines(p, n)))
            return push(m, id);
        if (atomic_load_explicit(&t->bpe.whole[id], memory_order_relaxed) == 1)
            return push(m, id);
    }
    if (!reserve(m, n))
        return false;
    m->word = span_of(p, n);
    merge_word(m);
    if (is_token) {
        bool whole = m->symbols[0].id == id && m->symbols[0].next == NO_SYMBOL;
        atomic_store_explicit(&t->bpe.whole[id], whole ? 1 : 2, memory_order_relaxed);
    }
    return push_symbols(m, p, n);
}

/* A line or a whole stretch, in the kinds without words. Where no piece spans two words, merging each by itself comes
 * to the same, and most are then remembered. */
static bool encode_line(void *ctx, const char *p, size_t n) {
    const merger *m = ctx;
    size_t from = 0;
    for (size_t at = 1; at < n && m->t->cuts_at_spaces && !m->marked; at++) {
        if (p[at] != ' ' || p[at - 1] == ' ')
            continue;
        if (!encode_word(ctx, p + from, at - from))
            return false;
        from = at;
    }
    return encode_word(ctx, p + from, n - from);
}

/* SentencePiece's run times cut characters by their first byte after spaces have become U+2581, so in ill-formed text a
 * broken character may take part of a space with it. The ids are theirs: such text is merged in that spelling. */
static bool mark_spaces(merger *m, span text, char **out) {
    char *marked = text.n <= SIZE_MAX / 3 ? malloc(text.n * 3) : NULL;
    size_t w = 0;
    if (!marked) {
        m->status = error_nomem(m->err, "text");
        return false;
    }
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] != ' ') {
            marked[w++] = text.p[i];
            continue;
        }
        memcpy(marked + w, "\xE2\x96\x81", 3);
        w += 3;
    }
    m->marked = true;
    m->text = marked;
    m->word = span_of(marked, w);
    *out = marked;
    return true;
}

muga_status bpe_encode(const tokenizer *t, span text, size_t offset, bool lossy, token_list *out, uint64_t *work,
                       muga_error *err) {
    merger m = {.t = t, .text = text.p, .word = text, .offset = offset, .lossy = lossy, .out = out, .err = err};
    char *marked = NULL;
    if (t->pre)
        pretokenize_run(t->pre, text.p, text.n, t->kind == TOKENIZER_BPE ? encode_word : encode_line, &m);
    else if (utf8_valid(text.p, text.n) || mark_spaces(&m, m.word, &marked))
        encode_line(&m, m.word.p, m.word.n);
    *work += m.work;
    free(marked);
    free(m.symbols);
    free(m.heap);
    return m.status;
}
