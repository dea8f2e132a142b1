/* Writing and reading of saved sessions; saved.h has the format and what is refused. */
#include "engine/saved.h"
#include "base/cursor.h"
#include "base/hash.h"
#include "engine/internal.h"

#include <stdio.h>

#define VERSION 2u
#define NAME_BYTES 32u
#define HEX_BYTES 64u
#define HEAD_BYTES                                                                                                     \
    (8u + (7u + MODEL_MAX_KINDS) * 4u + (1u + MODEL_MAX_KINDS) * 8u + NAME_BYTES + 2u * HEX_BYTES + 4u + SHA256_BYTES)

static const char magic[8] = {'M', 'U', 'G', 'A', 'S', 'E', 'S', 'S'};

typedef struct head {
    uint32_t version, n_tok, n_ctx, kv, act, page_positions, n_kinds, n_dropped[MODEL_MAX_KINDS];
    uint64_t page_bytes[MODEL_MAX_KINDS], n_note;
    char arithmetic[NAME_BYTES + 1], model[HEX_BYTES + 1], adapter[HEX_BYTES + 1];
    uint32_t scale_bits;
    uint8_t overrides[SHA256_BYTES];
} head;

/* What a file of this session has to say; n_tok, n_dropped and n_note are left to the caller. */
static head head_of_session(const engine_session *s, const char *model_sha256) {
    const engine *e = engine_session_engine(s);
    head h = {.version = VERSION,
              .n_ctx = engine_session_ctx(s),
              .kv = e->kv,
              .act = e->o.exact ? KERNEL_ACT_F32 : KERNEL_ACT_INT8,
              .page_positions = KERNEL_KV_BLOCK,
              .n_kinds = model_kinds(e->model)};
    for (uint32_t k = 0; k < h.n_kinds; k++)
        h.page_bytes[k] = model_page_bytes(e->model, e->kv, k);
    float scale;
    const engine_adapter *a = engine_session_adapter(s, &scale);
    snprintf(h.arithmetic, sizeof h.arithmetic, "%s", KERNEL_ARITHMETIC);
    snprintf(h.model, sizeof h.model, "%s", model_sha256);
    snprintf(h.adapter, sizeof h.adapter, "%s", a ? engine_adapter_sha256(a) : "");
    memcpy(&h.scale_bits, &scale, sizeof scale);
    sha256 digest;
    sha256_init(&digest);
    for (size_t i = 0; i < e->o.n_overrides; i++) /* each with its NUL: no two lists give the same bytes */
        sha256_update(&digest, e->o.overrides[i], strlen(e->o.overrides[i]) + 1);
    sha256_final(&digest, h.overrides);
    return h;
}

/* ---- writing ---- */

typedef struct writer {
    os_output out;
    sha256 digest;
    muga_status st;
    muga_error *err;
} writer;

static void put(writer *w, const void *p, size_t n) {
    if (w->st || n == 0)
        return;
    sha256_update(&w->digest, p, n);
    w->st = os_output_write(&w->out, p, n, w->err);
}

static void put_number(writer *w, uint64_t v, size_t n_bytes) {
    uint8_t b[8];
    for (size_t i = 0; i < n_bytes; i++)
        b[i] = (uint8_t)(v >> (8 * i));
    put(w, b, n_bytes);
}

static void put_head(writer *w, const head *h) {
    put(w, magic, sizeof magic);
    const uint32_t numbers[] = {h->version, h->n_tok, h->n_ctx, h->kv, h->act, h->page_positions, h->n_kinds};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        put_number(w, numbers[i], 4);
    for (size_t k = 0; k < MODEL_MAX_KINDS; k++)
        put_number(w, h->n_dropped[k], 4);
    for (size_t k = 0; k < MODEL_MAX_KINDS; k++)
        put_number(w, h->page_bytes[k], 8);
    put_number(w, h->n_note, 8);
    put(w, h->arithmetic, NAME_BYTES);
    put(w, h->model, HEX_BYTES);
    put(w, h->adapter, HEX_BYTES);
    put_number(w, h->scale_bits, 4);
    put(w, h->overrides, sizeof h->overrides);
}

/* The page that isn't full, as a copy that ends where the session does: what was cut back may still lie behind. */
static void put_last_page(writer *w, const engine_session *s, uint32_t kind, uint32_t i, size_t bytes) {
    const engine *e = engine_session_engine(s);
    void *copy = w->st ? NULL : mem_alloc_aligned(bytes, 64);
    if (!w->st && !copy)
        w->st = error_nomem(w->err, "a page of a session");
    if (copy) {
        memcpy(copy, session_page(s, kind, i), bytes);
        model_page_clear(e->model, e->kv, kind, copy, engine_session_count(s) % KERNEL_KV_BLOCK, KERNEL_KV_BLOCK);
        put(w, copy, bytes);
    }
    free(copy);
}

static void put_pages(writer *w, const engine_session *s, const head *h, uint32_t kind) {
    uint32_t n_full = h->n_tok / KERNEL_KV_BLOCK;
    for (uint32_t i = h->n_dropped[kind]; i < n_full; i++)
        put(w, session_page(s, kind, i), h->page_bytes[kind]);
    if (h->n_tok % KERNEL_KV_BLOCK != 0)
        put_last_page(w, s, kind, n_full, h->page_bytes[kind]);
}

muga_status saved_write(const engine_session *s, const os_files *files, const char *path, const char *model_sha256,
                        const void *note, size_t n_note, muga_error *err) {
    uint8_t digest[SHA256_BYTES];
    if (n_note > SAVED_MAX_NOTE)
        return error_set(err, MUGA_E_LIMIT, "%s: %zu bytes beside the session; at most %llu are kept", path, n_note,
                         (unsigned long long)SAVED_MAX_NOTE);
    writer w = {.err = err};
    head h = head_of_session(s, model_sha256);
    h.n_tok = engine_session_count(s);
    for (uint32_t k = 0; k < h.n_kinds; k++)
        h.n_dropped[k] = session_dropped(s, k);
    h.n_note = n_note;
    sha256_init(&w.digest);
    w.st = os_output_open(files, path, &w.out, err);
    put_head(&w, &h);
    put(&w, note, n_note);
    for (uint32_t i = 0; i < h.n_tok; i++)
        put_number(&w, (uint32_t)engine_session_ids(s)[i], 4);
    for (uint32_t k = 0; k < h.n_kinds; k++)
        put_pages(&w, s, &h, k);
    sha256 copy = w.digest;
    sha256_final(&copy, digest);
    put(&w, digest, sizeof digest);
    if (!w.st)
        w.st = os_output_commit(&w.out, err);
    os_output_close(&w.out);
    return w.st;
}

/* ---- reading ---- */

typedef struct reader {
    const os_files *files;
    os_file *file;
    const char *path;
    sha256 digest;
    muga_error *err;
} reader;

/* Exactly n bytes. */
static muga_status get(reader *r, void *p, size_t n) {
    uint8_t *to = p;
    for (size_t at = 0; at < n;) {
        size_t got = 0;
        muga_status st = r->files->read(r->files->self, r->file, to + at, n - at, &got, r->err);
        if (st)
            return st;
        if (got == 0)
            return error_set(r->err, MUGA_E_INPUT, "%s: the saved session ends early; it was cut short", r->path);
        at += got;
    }
    sha256_update(&r->digest, p, n);
    return MUGA_OK;
}

static void take_text(cursor *c, size_t n, char *out) {
    const uint8_t *p = NULL;
    (void)cursor_take(c, n, &p); /* the whole head was read */
    memcpy(out, p, n);
    out[n] = 0;
}

static muga_status get_head(reader *r, head *h) {
    uint8_t bytes[HEAD_BYTES];
    muga_status st = get(r, bytes, sizeof bytes);
    if (st)
        return st;
    cursor c = cursor_of(bytes, sizeof bytes);
    const uint8_t *p = NULL;
    uint32_t *const numbers[] = {&h->version, &h->n_tok, &h->n_ctx, &h->kv, &h->act, &h->page_positions, &h->n_kinds};
    bool ok = cursor_take(&c, sizeof magic, &p);
    if (!ok || memcmp(p, magic, sizeof magic) != 0)
        return error_set(r->err, MUGA_E_INPUT, "%s: not a saved session", r->path);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        ok = ok && cursor_take_u32(&c, numbers[i]);
    for (size_t k = 0; k < MODEL_MAX_KINDS; k++)
        ok = ok && cursor_take_u32(&c, &h->n_dropped[k]);
    for (size_t k = 0; k < MODEL_MAX_KINDS; k++)
        ok = ok && cursor_take_u64(&c, &h->page_bytes[k]);
    ok = ok && cursor_take_u64(&c, &h->n_note);
    take_text(&c, NAME_BYTES, h->arithmetic);
    take_text(&c, HEX_BYTES, h->model);
    take_text(&c, HEX_BYTES, h->adapter);
    ok = ok && cursor_take_u32(&c, &h->scale_bits) && cursor_take(&c, SHA256_BYTES, &p);
    memcpy(h->overrides, p, SHA256_BYTES);
    return ok ? MUGA_OK : error_set(r->err, MUGA_E_INTERNAL, "a saved session's head has another size than its fields");
}

/* Text of a stranger, for a message: what isn't plain becomes '?'. */
static const char *plain(char *text) {
    for (char *p = text; *p; p++)
        *p = *p > ' ' && *p < 127 ? *p : '?';
    return *text ? text : "none";
}

static muga_status check_head(const reader *r, head *h, const engine_session *s, const char *model_sha256) {
    head want = head_of_session(s, model_sha256);
    const model *m = engine_session_engine(s)->model;
    if (h->version != VERSION)
        return error_set(r->err, MUGA_E_INPUT, "%s: a saved session of version %u; this program reads version %u",
                         r->path, h->version, VERSION);
    if (strcmp(h->model, want.model) != 0)
        return error_set(r->err, MUGA_E_INPUT, "%s: saved with another model (SHA-256 %.12s..., this one has %.12s...)",
                         r->path, plain(h->model), want.model);
    if (strcmp(h->adapter, want.adapter) != 0 || h->scale_bits != want.scale_bits)
        return error_set(r->err, MUGA_E_INPUT, "%s: saved with another adapter or strength (%.12s, now %.12s)", r->path,
                         plain(h->adapter), plain(want.adapter));
    if (strcmp(h->arithmetic, want.arithmetic) != 0 || h->act != want.act)
        return error_set(r->err, MUGA_E_INPUT, "%s: saved under other arithmetic (%s, activations %u; now %s, %u)",
                         r->path, plain(h->arithmetic), h->act, KERNEL_ARITHMETIC, want.act);
    if (h->kv != want.kv || h->n_kinds != want.n_kinds || h->page_positions != want.page_positions ||
        memcmp(h->page_bytes, want.page_bytes, sizeof h->page_bytes) != 0)
        return error_set(r->err, MUGA_E_INPUT, "%s: keys and values are kept otherwise (%s; now %s): use the same --kv",
                         r->path, h->kv < KERNEL_KV_COUNT ? kernel_kv_name((kernel_kv_type)h->kv) : "unknown",
                         kernel_kv_name((kernel_kv_type)want.kv));
    if (memcmp(h->overrides, want.overrides, sizeof h->overrides) != 0)
        return error_set(r->err, MUGA_E_INPUT, "%s: saved with other --override values", r->path);
    if (model_context_is_long(m, h->n_ctx) != model_context_is_long(m, want.n_ctx))
        return error_set(r->err, MUGA_E_INPUT,
                         "%s: saved with a context of %u, which this model treats otherwise than %u", r->path, h->n_ctx,
                         want.n_ctx);
    if (h->n_tok > want.n_ctx)
        return error_set(r->err, MUGA_E_LIMIT, "%s: holds %u tokens, more than the context of %u; make it larger",
                         r->path, h->n_tok, want.n_ctx);
    if (h->n_note > SAVED_MAX_NOTE)
        return error_set(r->err, MUGA_E_INPUT, "%s: %llu bytes beside the session; at most %llu are read", r->path,
                         (unsigned long long)h->n_note, (unsigned long long)SAVED_MAX_NOTE);
    return MUGA_OK;
}

static muga_status get_note(reader *r, uint64_t n, str *note) {
    char part[4096];
    muga_status st = MUGA_OK;
    for (uint64_t at = 0, n_now; at < n && !st; at += n_now) {
        n_now = MIN(n - at, sizeof part);
        st = get(r, part, n_now);
        if (!st)
            str_append(note, part, n_now);
        if (!st && note->failed)
            st = str_status(note, r->err, "what was saved beside the session");
    }
    return st;
}

static muga_status get_ids(reader *r, uint32_t n, uint32_t n_vocab, int32_t *ids) {
    muga_status st = MUGA_OK;
    for (uint32_t i = 0; i < n && !st; i++) {
        uint8_t b[4];
        uint32_t id = 0;
        st = get(r, b, sizeof b);
        cursor c = cursor_of(b, sizeof b);
        if (!st && (!cursor_take_u32(&c, &id) || id >= n_vocab))
            st = error_set(r->err, MUGA_E_INPUT, "%s: token id %u at position %u is not in the vocabulary of %u",
                           r->path, id, i, n_vocab);
        ids[i] = (int32_t)id;
    }
    return st;
}

/* The digest, and nothing after it. */
static muga_status get_end(reader *r) {
    uint8_t want[SHA256_BYTES], got[SHA256_BYTES], more;
    size_t n = 0;
    sha256 copy = r->digest;
    sha256_final(&copy, want);
    muga_status st = get(r, got, sizeof got);
    if (!st && memcmp(want, got, sizeof got) != 0)
        st = error_set(r->err, MUGA_E_INPUT, "%s: the saved session is damaged (its digest is another)", r->path);
    if (!st)
        st = r->files->read(r->files->self, r->file, &more, 1, &n, r->err);
    if (!st && n > 0)
        st = error_set(r->err, MUGA_E_INPUT, "%s: the saved session has bytes after its end", r->path);
    return st;
}

static muga_status get_pages(reader *r, engine_session *s, const head *h, uint32_t kind) {
    muga_status st = MUGA_OK;
    for (uint32_t i = h->n_dropped[kind]; !st && i * KERNEL_KV_BLOCK < h->n_tok; i++) {
        void *page = session_page(s, kind, i);
        pages_mark_written(&engine_session_engine(s)->pages, page);
        st = get(r, page, h->page_bytes[kind]);
    }
    return st;
}

static muga_status get_all(reader *r, engine_session *s, const char *model_sha256, str *note) {
    const engine *e = engine_session_engine(s);
    head h = {0};
    int32_t *ids = NULL;
    muga_status st = get_head(r, &h);
    if (!st)
        st = check_head(r, &h, s, model_sha256);
    if (!st)
        st = get_note(r, h.n_note, note);
    if (!st && !(ids = mem_alloc_array(h.n_tok, sizeof *ids)))
        st = error_nomem(r->err, "the saved session's tokens");
    if (!st)
        st = get_ids(r, h.n_tok, engine_params(e)->n_vocab, ids);
    if (!st && !session_leave_out(s, h.n_tok, h.n_dropped))
        st = error_set(r->err, MUGA_E_INPUT,
                       "%s: the saved session leaves out its first pages (%u and %u), some of which the model sees",
                       r->path, h.n_dropped[0], h.n_dropped[1]);
    if (!st)
        st = session_reserve(s, h.n_tok, h.n_tok, r->err);
    for (uint32_t k = 0; k < h.n_kinds && !st; k++)
        st = get_pages(r, s, &h, k);
    if (!st)
        st = get_end(r);
    session_put_tokens(s, ids, st ? 0 : h.n_tok);
    free(ids);
    return st;
}

muga_status saved_read(engine_session *s, const os_files *files, const char *path, const char *model_sha256, str *note,
                       muga_error *err) {
    reader r = {.files = files, .path = path, .err = err};
    if (engine_session_count(s) > 0 || session_cursor(s))
        return error_set(err, MUGA_E_USAGE, "a saved session is read into an empty one that doesn't share its pages");
    sha256_init(&r.digest);
    os_stat stat;
    muga_status st = files->stat(files->self, path, &stat, err);
    if (!st && stat.type != OS_TYPE_FILE)
        st = stat.type == OS_TYPE_NONE ? error_set(err, MUGA_E_NOT_FOUND, "%s: there is no such saved session", path)
                                       : error_set(err, MUGA_E_INPUT, "%s: not a saved session", path);
    if (!st)
        st = files->open(files->self, path, OS_READ, &r.file, err);
    if (st)
        return st;
    size_t before = note->len;
    st = get_all(&r, s, model_sha256, note);
    if (st)
        str_truncate(note, before);
    files->close(files->self, r.file);
    return st;
}
