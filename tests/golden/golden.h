/* Reading the reference data of ../shared/golden: tab-separated tables and raw f32 files. */
#ifndef TESTS_GOLDEN_H
#define TESTS_GOLDEN_H

#include "support/support.h"

#include "base/mem.h"
#include "base/str.h"
#include "engine/engine.h"

#include <stdio.h>

/* ---- tables ---- */
#define GOLDEN_MAX_COLS 24
typedef struct golden_row {
    const char *cell[GOLDEN_MAX_COLS];
} golden_row;
typedef struct golden_table {
    char *text;
    golden_row head, *rows;
    size_t n_rows;
} golden_table;

static inline golden_row golden_split(char *line) {
    golden_row r = {{0}};
    for (size_t i = 0; line && i < GOLDEN_MAX_COLS; i++) {
        r.cell[i] = line;
        line = strchr(line, '\t');
        if (line)
            *line++ = 0;
    }
    return r;
}

static inline golden_table golden_table_read(const char *relative) {
    golden_table t = {0};
    str text = STR_INIT;
    muga_error err = {0};
    assert_ok(os_read_file(&os_system()->files, shared_path(relative), (size_t)64 << 20, &text, &err), &err);
    t.text = str_take(&text);
    size_t n = 0;
    for (const char *p = t.text; (p = strchr(p, '\n')); p++)
        n++;
    t.rows = mem_alloc_array(n + 1, sizeof *t.rows);
    char *line = t.text;
    for (size_t i = 0; line && *line; i++) {
        char *end = strchr(line, '\n');
        if (end)
            *end++ = 0;
        golden_row r = golden_split(line);
        if (i == 0)
            t.head = r;
        else
            t.rows[t.n_rows++] = r;
        line = end;
    }
    return t;
}

static inline void golden_table_free(golden_table *t) {
    free(t->text);
    free(t->rows);
}

static inline const char *golden_cell(const golden_table *t, const golden_row *r, const char *column) {
    for (size_t i = 0; i < GOLDEN_MAX_COLS && t->head.cell[i]; i++)
        if (strcmp(t->head.cell[i], column) == 0)
            return r->cell[i];
    fail_msg("no column %s", column);
    return NULL;
}

static inline bool golden_matches(const golden_table *t, const golden_row *r, const char *column, const char *value) {
    return strcmp(golden_cell(t, r, column), value) == 0;
}

static inline const golden_row *golden_find(const golden_table *t, const char *model_name, const char *n_ctx,
                                            const char *prompt) {
    for (size_t i = 0; i < t->n_rows; i++)
        if (golden_matches(t, &t->rows[i], "model", model_name) && golden_matches(t, &t->rows[i], "n_ctx", n_ctx) &&
            golden_matches(t, &t->rows[i], "prompt", prompt))
            return &t->rows[i];
    fail_msg("no row for %s %s %s", model_name, n_ctx, prompt);
    return NULL;
}

/* A model at a context limit: what one row of deviation.tsv is about. */
typedef struct golden_case {
    const char *model, *n_ctx;
    const golden_row *limits; /* of deviation.tsv */
} golden_case;

/* The i-th case; false at the end. */
static inline bool golden_case_at(const golden_table *deviation, size_t i, golden_case *out) {
    if (i >= deviation->n_rows)
        return false;
    const golden_row *r = &deviation->rows[i];
    *out = (golden_case){golden_cell(deviation, r, "model"), golden_cell(deviation, r, "n_ctx"), r};
    return true;
}

/* Space-separated ids. */
static inline token_list golden_ids(const char *text) {
    token_list l = TOKEN_LIST_INIT;
    for (const char *p = text; *p;) {
        char *end;
        long v = strtol(p, &end, 10);
        assert_true(end != p && token_list_push(&l, (int32_t)v));
        p = *end ? end + 1 : end;
    }
    return l;
}

static inline float *golden_floats(const char *relative, size_t n) {
    str bytes = STR_INIT;
    muga_error err = {0};
    assert_ok(os_read_file(&os_system()->files, shared_path(relative), (size_t)256 << 20, &bytes, &err), &err);
    assert_int_equal(bytes.len, n * sizeof(float));
    return (float *)(void *)str_take(&bytes);
}

/* ---- running ---- */
static inline engine *golden_open(const char *model_name, bool exact, bool kv_f32, int isa) {
    char path[128];
    snprintf(path, sizeof path, "golden/models/%s.gguf", model_name);
    engine_options o = {
        .isa = isa, .exact = exact, .kv = kv_f32 ? KERNEL_KV_F32 : KERNEL_KV_F16, .n_threads = 2, .ids_only = true};
    engine *e = NULL;
    muga_error err = {0};
    assert_ok(engine_open(shared_path(path), &o, &e, &err), &err);
    return e;
}

typedef struct golden_rows {
    float *v; /* [n][n_vocab] */
    size_t n;
    uint32_t n_vocab;
} golden_rows;

static inline void golden_keep(void *ctx, uint32_t pos, const float *logits) {
    (void)pos;
    golden_rows *r = ctx;
    r->v = mem_resize_array(r->v, (r->n + 1) * r->n_vocab, sizeof(float));
    memcpy(r->v + r->n++ * r->n_vocab, logits, r->n_vocab * sizeof(float));
}

/* Logits of all positions, or of the last. */
static inline golden_rows golden_logits(engine *e, uint32_t n_ctx, const token_list *ids, bool all) {
    golden_rows rows = {.n_vocab = engine_params(e)->n_vocab};
    engine_session *s = NULL;
    muga_error err = {0};
    assert_ok(engine_session_new(e, n_ctx, &s, &err), &err);
    engine_item it = {.session = s,
                      .ids = ids->ids,
                      .n = (uint32_t)ids->n,
                      .want = all ? ENGINE_LOGITS_ALL : ENGINE_LOGITS_LAST,
                      .on_logits = golden_keep,
                      .on_logits_ctx = &rows};
    assert_ok(engine_step(e, &it, 1, &err), &err);
    engine_session_free(s);
    return rows;
}

#endif
