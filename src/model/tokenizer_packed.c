/* The tokenizer's tables to a packed file and back: pieces, their hash table, the merges. Types, scores, special tokens
 * and what the keys say are read from the model each time, they cost little.
 *
 * What whoever uses a table relies on is checked: here how many elements it has; where an element is read, that a piece
 * lies inside the bytes (vocab_piece) and that a slot names a symbol there is (vocab_find, find_merge). So a table that
 * lies, or is written to while it is in use, gives wrong ids, but never a byte out of bounds. */
#include "model/tokenizer_internal.h"

#include <stdio.h>

static packed_item table_of(const char *name, uint32_t elem_bytes, uint64_t n, const void *data) {
    packed_item item = {.kind = PACKED_TABLE, .type = elem_bytes, .n_parts = 1, .rows = 1, .cols = n, .data = data};
    snprintf(item.name, sizeof item.name, "tokenizer.%s", name);
    item.bytes = n * elem_bytes;
    return item;
}

/* A table that isn't there has no elements. */
static void add(packed_file *p, const char *name, uint32_t elem_bytes, uint64_t n, const void *data) {
    static const uint8_t none;
    packed_item item = table_of(name, elem_bytes, data ? n : 0, data ? data : &none);
    packed_add(p, &item);
}

void tokenizer_packed_add(tokenizer *t, packed_file *p) {
    const vocab *v = &t->vocab;
    t->facts = (tokenizer_facts){.tables = TOKENIZER_TABLES,
                                 .kind = (uint32_t)t->kind,
                                 .n = v->n,
                                 .n_symbols = v->n_symbols,
                                 .longest = v->longest,
                                 .cuts_at_spaces = t->cuts_at_spaces,
                                 .seed = {(uint32_t)v->seed, (uint32_t)(v->seed >> 32)}};
    memcpy(t->facts.byte_ids, v->byte_ids, sizeof v->byte_ids);
    add(p, "facts", sizeof t->facts, 1, &t->facts);
    add(p, "bytes", 1, v->n_bytes, v->bytes);
    add(p, "begin", sizeof v->begin[0], (uint64_t)v->n_symbols + 1, v->begin);
    add(p, "slots", sizeof v->slots[0], (uint64_t)v->slot_mask + 1, v->slots);
    add(p, "merges", sizeof t->bpe.slots[0], (uint64_t)t->bpe.slot_mask + 1, t->bpe.slots);
}

static bool find(packed_file *p, const char *name, uint32_t elem_bytes, packed_item *out) {
    *out = table_of(name, elem_bytes, 0, NULL);
    return packed_find(p, out) && out->cols < UINT32_MAX;
}

static bool facts_fit(const tokenizer *t, const tokenizer_facts *f) {
    if (f->tables != TOKENIZER_TABLES || f->kind != (uint32_t)t->kind || f->n != t->vocab.n || f->n_symbols < f->n ||
        f->n_symbols >= INT32_MAX)
        return false;
    for (int b = 0; b < 256; b++) {
        bool none = f->byte_ids[b] == VOCAB_NONE && t->kind != TOKENIZER_BPE;
        if (!none && (uint32_t)f->byte_ids[b] >= f->n_symbols)
            return false;
    }
    return true;
}

static bool is_power_of_two(uint64_t n) {
    return n > 0 && (n & (n - 1)) == 0;
}

bool tokenizer_packed_find(tokenizer *t, packed_file *p) {
    vocab *v = &t->vocab;
    packed_item facts, bytes, begin, slots, merges;
    if (!find(p, "facts", sizeof t->facts, &facts) || !find(p, "bytes", 1, &bytes) ||
        !find(p, "begin", sizeof v->begin[0], &begin) || !find(p, "slots", sizeof v->slots[0], &slots) ||
        !find(p, "merges", sizeof t->bpe.slots[0], &merges) || facts.cols != 1)
        return false;
    tokenizer_facts *f = &t->facts;
    memcpy(f, facts.data, sizeof *f);
    bool merged = t->kind != TOKENIZER_SPM;
    if (!facts_fit(t, f) || begin.cols != (uint64_t)f->n_symbols + 1 || !is_power_of_two(slots.cols) ||
        (merged ? !is_power_of_two(merges.cols) : merges.cols != 0))
        return false;
    v->borrowed = true;
    v->n_symbols = f->n_symbols;
    v->longest = f->longest;
    v->seed = (uint64_t)f->seed[1] << 32 | f->seed[0];
    v->n_bytes = (size_t)bytes.cols;
    v->bytes = (char *)(uintptr_t)bytes.data; /* read only, as vocab.borrowed says */
    v->begin = (uint32_t *)(uintptr_t)begin.data;
    v->slots = (uint64_t *)(uintptr_t)slots.data;
    v->slot_mask = (uint32_t)slots.cols - 1;
    memcpy(v->byte_ids, f->byte_ids, sizeof v->byte_ids);
    t->cuts_at_spaces = f->cuts_at_spaces != 0;
    if (merged) {
        t->bpe.slots = (bpe_merge *)(uintptr_t)merges.data;
        t->bpe.slot_mask = (uint32_t)merges.cols - 1;
    }
    return true;
}
