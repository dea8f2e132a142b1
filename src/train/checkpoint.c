/* Checkpoints (checkpoint.h). */
#include "train/checkpoint.h"

#include "base/cursor.h"
#include "base/mem.h"

#define MAX_SETTINGS 4096u
#define ROW_BYTES 40u

static const char magic[8] = {'M', 'U', 'G', 'A', 'C', 'K', 'P', '1'};

muga_status train_rows_push(train_rows *r, train_row row, muga_error *err) {
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 64;
        train_row *more = mem_resize_array(r->at, cap, sizeof more[0]);
        if (!more)
            return error_nomem(err, "the loss curve");
        r->at = more;
        r->cap = cap;
    }
    r->at[r->n++] = row;
    return MUGA_OK;
}

void train_rows_release(train_rows *r) {
    free(r->at);
    *r = (train_rows){0};
}

void train_checkpoint_release(train_checkpoint *c) {
    str_release(&c->settings);
    str_release(&c->state);
    str_release(&c->best);
    train_rows_release(&c->rows);
}

/* ---- writing ---- */

static void put_u64(str *s, uint64_t v) {
    uint8_t b[8];
    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)(v >> 8 * i);
    str_append(s, b, sizeof b);
}

static void put_f64(str *s, double v) {
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_u64(s, bits);
}

static void put_bytes(str *s, const str *v) {
    put_u64(s, v->len);
    str_append(s, str_get(v), v->len);
}

muga_status train_checkpoint_write(const os_files *f, const char *path, const train_checkpoint *c, muga_error *err) {
    str out;
    uint8_t digest[SHA256_BYTES];
    str_init(&out, TRAIN_CHECKPOINT_MAX);
    str_append(&out, magic, sizeof magic);
    str_append(&out, c->base_sha256, SHA256_HEX - 1);
    str_append(&out, c->data_sha256, SHA256_HEX - 1);
    put_bytes(&out, &c->settings);
    put_u64(&out, (uint64_t)c->now_ms);
    put_u64(&out, c->n_done);
    put_u64(&out, c->best_step);
    put_u64(&out, c->n_worse);
    put_f64(&out, c->best_loss);
    put_u64(&out, c->rows.n);
    for (size_t i = 0; i < c->rows.n; i++) {
        const train_row *r = &c->rows.at[i];
        put_u64(&out, r->step);
        put_f64(&out, r->loss);
        put_f64(&out, r->held);
        put_f64(&out, r->lr);
        put_f64(&out, r->grad_norm);
    }
    put_bytes(&out, &c->state);
    put_bytes(&out, &c->best);
    sha256_of(str_get(&out), out.len, digest);
    str_append(&out, digest, sizeof digest);
    muga_status st = str_status(&out, err, "the checkpoint");
    if (!st)
        st = os_write_file_atomic(f, path, out.data, out.len, err);
    str_release(&out);
    return st;
}

/* ---- reading ---- */

static bool take_f64(cursor *c, double *out) {
    uint64_t bits;
    if (!cursor_take_u64(c, &bits))
        return false;
    memcpy(out, &bits, sizeof bits);
    return true;
}

static bool take_hex(cursor *c, char out[SHA256_HEX]) {
    const uint8_t *p;
    if (!cursor_take(c, SHA256_HEX - 1, &p))
        return false;
    for (int i = 0; i < SHA256_HEX - 1; i++)
        if (!strchr("0123456789abcdef", p[i]) || p[i] == 0)
            return false;
    memcpy(out, p, SHA256_HEX - 1);
    out[SHA256_HEX - 1] = 0;
    return true;
}

/* False: not there. A want of memory shows in the str. */
static bool take_bytes(cursor *c, uint64_t max, str *out) {
    const uint8_t *p;
    uint64_t n;
    if (!cursor_take_u64(c, &n) || n > max || !cursor_take(c, n, &p))
        return false;
    str_init(out, (size_t)n + 1);
    str_append(out, p, (size_t)n);
    return true;
}

static bool take_row(cursor *c, train_row *r) {
    return cursor_take_u64(c, &r->step) && take_f64(c, &r->loss) && take_f64(c, &r->held) && take_f64(c, &r->lr) &&
           take_f64(c, &r->grad_norm);
}

static bool take_head(cursor *c, train_checkpoint *out) {
    const uint8_t *p;
    uint64_t now;
    bool ok = cursor_take(c, sizeof magic, &p) && take_hex(c, out->base_sha256) && take_hex(c, out->data_sha256) &&
              take_bytes(c, MAX_SETTINGS, &out->settings) && cursor_take_u64(c, &now) &&
              cursor_take_u64(c, &out->n_done) && cursor_take_u64(c, &out->best_step) &&
              cursor_take_u64(c, &out->n_worse) && take_f64(c, &out->best_loss);
    if (ok)
        out->now_ms = (int64_t)now;
    return ok;
}

static muga_status parse(cursor *c, train_checkpoint *out, muga_error *err) {
    uint64_t n_rows = 0;
    bool ok = take_head(c, out) && cursor_take_u64(c, &n_rows) && n_rows <= cursor_left(c) / ROW_BYTES;
    for (uint64_t i = 0; ok && i < n_rows; i++) {
        train_row row;
        ok = take_row(c, &row);
        if (ok && train_rows_push(&out->rows, row, err))
            return MUGA_E_NOMEM;
    }
    ok = ok && take_bytes(c, cursor_left(c), &out->state) && take_bytes(c, cursor_left(c), &out->best) &&
         cursor_left(c) == 0;
    if (!ok)
        return error_set(err, MUGA_E_INPUT, "the checkpoint is damaged; begin anew with --restart");
    if (out->settings.failed || out->state.failed || out->best.failed)
        return error_nomem(err, "the checkpoint");
    return MUGA_OK;
}

muga_status train_checkpoint_read(const os_files *f, const char *path, train_checkpoint *out, muga_error *err) {
    str bytes;
    uint8_t digest[SHA256_BYTES];
    *out = (train_checkpoint){0};
    str_init(&bytes, TRAIN_CHECKPOINT_MAX);
    muga_status st = os_read_file(f, path, TRAIN_CHECKPOINT_MAX, &bytes, err);
    size_t n = bytes.len - MIN(bytes.len, (size_t)SHA256_BYTES);
    if (!st && (n < sizeof magic || memcmp(bytes.data, magic, sizeof magic) != 0))
        st =
            error_set(err, MUGA_E_INPUT, "%.160s is not a checkpoint of this version; begin anew with --restart", path);
    if (!st) {
        sha256_of(bytes.data, n, digest);
        if (memcmp(digest, bytes.data + n, sizeof digest) != 0)
            st = error_set(err, MUGA_E_INPUT, "%.160s is cut short or damaged; begin anew with --restart", path);
    }
    if (!st) {
        cursor c = cursor_of(bytes.data, n);
        st = parse(&c, out, err);
    }
    str_release(&bytes);
    if (st)
        train_checkpoint_release(out);
    return st;
}

muga_status train_checkpoint_check(const train_checkpoint *c, const char *base_sha256, const char *data_sha256,
                                   const char *settings, muga_error *err) {
    if (strcmp(c->base_sha256, base_sha256) != 0)
        return error_set(err, MUGA_E_INPUT,
                         "the checkpoint is of a run on the model with SHA-256 %.16s, this one has %.16s; give that "
                         "model, or begin anew with --restart",
                         c->base_sha256, base_sha256);
    if (!span_equal_string(span_of(str_get(&c->settings), c->settings.len), settings))
        return error_set(err, MUGA_E_INPUT,
                         "the checkpoint is of a run with %.70s, this one has %.70s; give the same, "
                         "or begin anew with --restart",
                         str_get(&c->settings), settings);
    if (strcmp(c->data_sha256, data_sha256) != 0)
        return error_set(err, MUGA_E_INPUT,
                         "the checkpoint is of a run on other data (SHA-256 %.16s, not %.16s); give "
                         "that data, or begin anew with --restart",
                         c->data_sha256, data_sha256);
    return MUGA_OK;
}
