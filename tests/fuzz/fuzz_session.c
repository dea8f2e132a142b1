/* Saved sessions: one that is read has ids of the vocabulary and goes on by a token, or finds that its keys and values
 * aren't numbers; one that isn't is bad input with a message, and its session is empty.
 *
 * Input: changes to a good file of the small model, six bytes each: u32 place (modulo its size), what is done there (0
 * put, 1 add, 2 cut the file, 3 leave the digest at its end wrong), and the byte. */
#include "fuzz.h"

#include "base/hash.h"
#include "engine/saved.h"

#include <unistd.h>

enum { CHANGE_BYTES = 6, N_TOK = 70 };

static const char digest[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static engine *e;
static str good;

/* ---- a file in memory ---- */

static span now;
static size_t n_read_so_far;

static muga_status open_it(void *self, const char *path, os_mode mode, os_file **out, muga_error *err) {
    (void)self, (void)path, (void)mode, (void)err;
    n_read_so_far = 0;
    *out = NULL;
    return MUGA_OK;
}

static muga_status read_it(void *self, os_file *f, void *p, size_t n, size_t *n_read, muga_error *err) {
    (void)self, (void)f, (void)err;
    *n_read = MIN(n, now.n - n_read_so_far);
    memcpy(p, now.p + n_read_so_far, *n_read);
    n_read_so_far += *n_read;
    return MUGA_OK;
}

static void close_it(void *self, os_file *f) {
    (void)self, (void)f;
}

static muga_status stat_it(void *self, const char *path, os_stat *out, muga_error *err) {
    (void)self, (void)path, (void)err;
    *out = (os_stat){.type = OS_TYPE_FILE, .size = now.n};
    return MUGA_OK;
}

/* ---- */

static void make_good(void) {
    char path[] = "/tmp/fuzz-session-XXXXXX";
    engine_options o = {.isa = -1, .n_threads = 1};
    engine_session *s;
    muga_error err;
    int32_t ids[N_TOK];
    int fd = mkstemp(path);
    fuzz_need(fd >= 0);
    close(fd);
    for (int i = 0; i < N_TOK; i++)
        ids[i] = i * 5;
    fuzz_need(!engine_open("tests/data/tiny.gguf", &o, &e, &err));
    fuzz_need(!engine_session_new(e, 128, &s, &err) && !engine_session_feed(s, ids, N_TOK, &err));
    fuzz_need(!saved_write(s, &os_system()->files, path, digest, "note", 4, &err));
    fuzz_need(!os_read_file(&os_system()->files, path, 1 << 24, &good, &err));
    unlink(path);
    engine_session_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!e)
        make_good();
    size_t n = good.len;
    bool resign = true;
    uint8_t *bytes = fuzz_copy(good.data, n);
    for (size_t i = 0; i + CHANGE_BYTES <= size; i += CHANGE_BYTES) {
        uint32_t place = data[i] | (uint32_t)data[i + 1] << 8 | (uint32_t)data[i + 2] << 16;
        place = (uint32_t)((place | (uint32_t)data[i + 3] << 24) % good.len);
        uint8_t what = data[i + 4] % 4, byte = data[i + 5];
        if (what < 2)
            bytes[place] = (uint8_t)(what ? bytes[place] + byte : byte);
        else if (what == 2)
            n = MIN(n, place);
        else
            resign = false;
    }
    if (resign && n >= SHA256_BYTES)
        sha256_of(bytes, n - SHA256_BYTES, bytes + n - SHA256_BYTES);
    uint8_t *exact = fuzz_copy(bytes, n);
    now = span_of((const char *)exact, n);
    const os_files files = {.open = open_it, .read = read_it, .close = close_it, .stat = stat_it};
    engine_session *s;
    muga_error err;
    str note = STR_INIT;
    fuzz_need(!engine_session_new(e, 128, &s, &err));
    muga_status st = saved_read(s, &files, "it", digest, &note, &err);
    if (st) {
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
        fuzz_need(engine_session_count(s) == 0 && note.len == 0);
    } else {
        int32_t next = 1;
        for (uint32_t i = 0; i < engine_session_count(s); i++)
            fuzz_need((uint32_t)engine_session_ids(s)[i] < engine_params(e)->n_vocab);
        st = engine_session_feed(s, &next, 1, &err);
        fuzz_need(!st || st == MUGA_E_NONFINITE || st == MUGA_E_LIMIT);
    }
    engine_session_free(s);
    str_release(&note);
    free(exact);
    free(bytes);
    return 0;
}
