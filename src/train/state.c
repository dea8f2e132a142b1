/* A trainer's state as bytes:
 *
 *   magic "MUGATRN2" | numbers (u64) | steps made (u64) | the options results depend on | digest of the pairs' names |
 *   numbers, first moments, second moments (f32 each) | SHA-256 of all before it
 *
 * in the machine's order of bytes, which is little-endian on every machine muga runs on. Bytes come from outside: the
 * length, the checksum and every option are looked at before anything changes. */
#include "train/trainer.h"

#include "base/hash.h"
#include "base/mem.h"

#include <stdio.h>

#define MAGIC "MUGATRN2"
#define HEAD_BYTES (8 + 2 * 8)

/* An option as it is written: 8 bytes each, floats by their bits. */
typedef struct option {
    const char *name;
    uint64_t value;
    bool is_float;
} option;

enum { N_OPTIONS = 14 };

static uint64_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static uint64_t names_digest(const train_layout *l) {
    uint64_t h = 0;
    for (uint32_t i = 0; i < l->n_places; i++)
        if (l->places[i].a != TRAIN_NO_PAIR)
            h = hash64(l->places[i].w->name, strlen(l->places[i].w->name), h);
    return h;
}

static void list_options(const trainer *t, option out[N_OPTIONS]) {
    const train_options *o = &t->o;
    const option all[N_OPTIONS] = {{"rank", o->rank, false},
                                   {"targets", names_digest(&t->layout), false},
                                   {"alpha", bits_of(o->alpha), true},
                                   {"seed", o->seed, false},
                                   {"lr", bits_of(o->lr), true},
                                   {"lr_end", bits_of(o->lr_end), true},
                                   {"n_warmup", o->n_warmup, false},
                                   {"n_steps", o->n_steps, false},
                                   {"beta1", bits_of(o->beta1), true},
                                   {"beta2", bits_of(o->beta2), true},
                                   {"epsilon", bits_of(o->epsilon), true},
                                   {"weight_decay", bits_of(o->weight_decay), true},
                                   {"clip_norm", bits_of(o->clip_norm), true},
                                   {"max_tok", o->max_tok, false}};
    memcpy(out, all, sizeof all);
}

size_t train_state_bytes(const trainer *t) {
    return HEAD_BYTES + N_OPTIONS * 8 + 3 * t->layout.n_params * sizeof(float) + SHA256_BYTES;
}

muga_status train_save(const trainer *t, str *out, muga_error *err) {
    size_t from = out->len, n = t->layout.n_params;
    uint64_t head[2] = {n, t->n_steps};
    option options[N_OPTIONS];
    uint8_t sum[SHA256_BYTES];
    list_options(t, options);
    str_append(out, MAGIC, 8);
    str_append(out, head, sizeof head);
    for (int i = 0; i < N_OPTIONS; i++)
        str_append(out, &options[i].value, 8);
    str_append(out, t->params, n * sizeof(float));
    str_append(out, t->moment1, n * sizeof(float));
    str_append(out, t->moment2, n * sizeof(float));
    if (!out->failed)
        sha256_of(out->data + from, out->len - from, sum);
    if (!out->failed)
        str_append(out, sum, sizeof sum);
    return str_status(out, err, "the state of a training run");
}

static muga_status refuse_option(const option *mine, uint64_t theirs, muga_error *err) {
    uint32_t bits[2] = {(uint32_t)theirs, (uint32_t)mine->value};
    float f[2];
    memcpy(f, bits, sizeof f);
    if (strcmp(mine->name, "targets") == 0)
        return error_set(err, MUGA_E_INPUT, "the saved run trained other matrices; give the targets it was begun with");
    if (mine->is_float)
        return error_set(err, MUGA_E_INPUT, "the saved run has %s %g, this one %g; give the one it was begun with",
                         mine->name, (double)f[0], (double)f[1]);
    return error_set(err, MUGA_E_INPUT, "the saved run has %s %llu, this one %llu; give the one it was begun with",
                     mine->name, (unsigned long long)theirs, (unsigned long long)mine->value);
}

/* The options first: of a run with another rank the length is another, too, and that says less. */
static muga_status check_head(const trainer *t, const uint8_t *p, size_t n, muga_error *err) {
    option options[N_OPTIONS];
    uint64_t theirs;
    list_options(t, options);
    if (n < HEAD_BYTES + N_OPTIONS * 8 + SHA256_BYTES || memcmp(p, MAGIC, 8) != 0)
        return error_set(err, MUGA_E_INPUT, "this is no saved training run, or only the beginning of one");
    for (int i = 0; i < N_OPTIONS; i++) {
        memcpy(&theirs, p + HEAD_BYTES + 8 * i, sizeof theirs);
        if (theirs != options[i].value)
            return refuse_option(&options[i], theirs, err);
    }
    memcpy(&theirs, p + 8, sizeof theirs);
    if (theirs != t->layout.n_params)
        return error_set(err, MUGA_E_INPUT, "the saved run trained %llu numbers, this one has %zu; its base is another",
                         (unsigned long long)theirs, t->layout.n_params);
    if (n != train_state_bytes(t))
        return error_set(err, MUGA_E_INPUT, "the saved run has %zu bytes, not %zu; it was cut short", n,
                         train_state_bytes(t));
    return MUGA_OK;
}

muga_status train_restore(trainer *t, const void *bytes, size_t n, muga_error *err) {
    const uint8_t *p = bytes;
    size_t part = t->layout.n_params * sizeof(float);
    uint8_t sum[SHA256_BYTES];
    muga_status st = check_head(t, p, n, err);
    if (st)
        return st;
    sha256_of(p, n - SHA256_BYTES, sum);
    if (memcmp(sum, p + n - SHA256_BYTES, SHA256_BYTES) != 0)
        return error_set(err, MUGA_E_INPUT, "the saved run is damaged: its checksum is another; take an earlier one");
    memcpy(&t->n_steps, p + 16, sizeof t->n_steps);
    p += HEAD_BYTES + N_OPTIONS * 8;
    memcpy(t->params, p, part);
    memcpy(t->moment1, p + part, part);
    memcpy(t->moment2, p + 2 * part, part);
    return MUGA_OK;
}
