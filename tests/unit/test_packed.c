/* Would break: a start takes weights or tokens from a packed file that is damaged, another model's, another version's
 * or half written, and computes something else without a word; or a start fails where there is merely no place for one.
 *
 * What a model computes with a packed file is compared bit by bit with what it computes without. */
#include "support/packed_fixture.h"

#include "base/mem.h"
#include "hub/hub.h"
#include "model/tokenizer_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char source[512], packed[512];

/* A copy of the small source, and no packed file. */
static int set_up(void **state) {
    (void)state;
    str bytes = STR_INIT;
    snprintf(source, sizeof source, "%s", scratch_path("model.gguf"));
    snprintf(packed, sizeof packed, "%s", scratch_path("kept/packed"));
    (void)unlink(packed);
    read_all(source_path("tests/data/tiny.gguf"), &bytes);
    write_all(source, bytes.data, bytes.len);
    str_release(&bytes);
    return 0;
}

static engine *open_options(engine_options o) {
    engine *e = NULL;
    muga_error err = {0};
    o.isa = -1;
    o.n_threads = 1;
    assert_ok(engine_open(source, &o, &e, &err), &err);
    return e;
}

static engine *open_packed(void) {
    return open_options((engine_options){.packed = packed, .packed_source = source});
}

/* Opens with the packed file: the note says `expected`, and what is computed is right. */
static void assert_start(const char *expected) {
    uint8_t want[SHA256_BYTES], got[SHA256_BYTES];
    engine *plain = open_options((engine_options){0}), *e = open_packed();
    assert_string_equal(engine_packed(plain), "");
    if (!strstr(engine_packed(e), expected))
        fail_msg("expected \"%s\": %s", expected, engine_packed(e));
    digest(plain, want);
    digest(e, got);
    assert_memory_equal(want, got, sizeof want);
    engine_free(plain);
    engine_free(e);
}

static void made_once_and_mapped_from_then_on(void **state) {
    (void)state;
    str first = STR_INIT, later = STR_INIT;
    muga_error err;
    assert_start("packed now and kept");
    read_all(packed, &first);
    assert_start("mapped from");
    assert_start("mapped from");
    read_all(packed, &later);
    assert_int_equal(first.len, later.len);
    assert_memory_equal(first.data, later.data, first.len);
    assert_ok(packed_check(packed, &err), &err);
    assert_ok(packed_check_source(&os_system()->files, packed, &err), &err);
    assert_int_equal(count_entries(scratch_path("kept")), 3); /* ".", "..", the file */
    str_release(&first);
    str_release(&later);
}

/* ---- damage ---- */

/* The head's digest made right again after its bytes were changed. */
static void sign_head(str *bytes) {
    uint32_t counts[3];
    memcpy(counts, bytes->data + 24, sizeof counts);
    size_t n = 36 + counts[2] + (size_t)counts[0] * 40 + (size_t)counts[1] * 112;
    if (n + SHA256_BYTES <= bytes->len)
        sha256_of(bytes->data, n, (uint8_t *)bytes->data + n);
}

/* Every byte of the head, flipped: with its digest as it was, and with one that fits. Only what is no matter of trust
 * (the path that the house keeper reads) may pass. */
static void no_byte_of_the_head_may_change(void **state) {
    (void)state;
    muga_error err;
    str good = STR_INIT;
    uint32_t counts[3];
    gguf_file *file;
    engine_free(open_packed());
    read_all(packed, &good);
    memcpy(counts, good.data + 24, sizeof counts);
    size_t n_path = counts[2], n_head = 36 + n_path + (size_t)counts[0] * 40 + (size_t)counts[1] * 112;
    assert_true(counts[0] == 1 && counts[1] > 10 && n_path == strlen(source) && n_head < good.len);
    assert_ok(gguf_open(source, &file, &err), &err);
    for (size_t at = 0; at < n_head + SHA256_BYTES; at++)
        for (int signed_again = 0; signed_again < 2; signed_again++) {
            packed_file *p;
            str bad = STR_INIT;
            str_append(&bad, good.data, good.len);
            bad.data[at] ^= 1;
            if (signed_again)
                sign_head(&bad);
            write_all(packed, bad.data, bad.len);
            str_release(&bad);
            assert_ok(packed_new(file, &p, &err), &err);
            muga_status st = packed_map(p, packed, &err);
            bool in_items = at >= 36 + n_path + (size_t)counts[0] * 40 && at < n_head;
            bool harmless = signed_again && ((at >= 36 && at < 36 + n_path) || in_items || at >= n_head);
            if (st != MUGA_E_INPUT && !harmless)
                fail_msg("byte %zu of the head%s: status %d", at, signed_again ? ", signed again" : "", st);
            packed_free(p);
        }
    gguf_close(file);
    str_release(&good);
}

/* What the head says of an item, changed and signed again: the item is not the one that loading asks for, or out of
 * bounds; the file is then given up as a whole and made again. */
static void items_are_held_against_what_loading_needs(void **state) {
    (void)state;
    str good = STR_INIT;
    uint32_t counts[3];
    engine_free(open_packed());
    read_all(packed, &good);
    memcpy(counts, good.data + 24, sizeof counts);
    size_t first = 36 + counts[2] + (size_t)counts[0] * 40;
    for (uint32_t i = 0; i < counts[1]; i++)
        for (size_t at = 0; at < 112;
             at += at < 64 ? 63 : 4) { /* name, kind, type, parts, 0, rows, cols, offset, bytes */
            str bad = STR_INIT;
            if (at >= 96 && at < 104)
                continue; /* offsets: below */
            str_append(&bad, good.data, good.len);
            bad.data[first + i * 112 + at] ^= 0x40;
            sign_head(&bad);
            write_all(packed, bad.data, bad.len);
            str_release(&bad);
            engine *e = open_packed();
            if (!strstr(engine_packed(e), "packed now"))
                fail_msg("item %u, byte %zu: %s", i, at, engine_packed(e));
            engine_free(e);
        }
    str_release(&good);
    assert_start("mapped from");
}

static void offsets_stay_inside_and_apart(void **state) {
    (void)state;
    str good = STR_INIT;
    uint32_t counts[3];
    engine_free(open_packed());
    read_all(packed, &good);
    memcpy(counts, good.data + 24, sizeof counts);
    size_t second = 36 + counts[2] + (size_t)counts[0] * 40 + 112 + 96;
    uint64_t was;
    memcpy(&was, good.data + second, sizeof was);
    const uint64_t offsets[] = {0, was - 64, was + 1, good.len, good.len - 64, UINT64_MAX, UINT64_MAX - 63, was << 32};
    for (size_t i = 0; i < ARRAY_LEN(offsets); i++) {
        str bad = STR_INIT;
        str_append(&bad, good.data, good.len);
        memcpy(bad.data + second, &offsets[i], sizeof offsets[i]);
        sign_head(&bad);
        write_all(packed, bad.data, bad.len);
        str_release(&bad);
        engine *e = open_packed();
        if (!strstr(engine_packed(e), "packed now"))
            fail_msg("offset %llu: %s", (unsigned long long)offsets[i], engine_packed(e));
        engine_free(e);
    }
    str_release(&good);
}

static void a_file_cut_short_anywhere_is_made_again(void **state) {
    (void)state;
    str good = STR_INIT;
    engine_free(open_packed());
    read_all(packed, &good);
    for (size_t i = 0; i < 40; i++) {
        write_all(packed, good.data, i < 20 ? i * 9 : good.len * (i - 19) / 21);
        assert_start("packed now and kept");
    }
    str longer = STR_INIT;
    str_append(&longer, good.data, good.len);
    str_append_c(&longer, 'x');
    write_all(packed, longer.data, longer.len);
    assert_start("packed now and kept");
    assert_start("mapped from");
    str_release(&longer);
    str_release(&good);
}

static void damaged_content_is_found_by_who_looks(void **state) {
    (void)state;
    muga_error err;
    str bytes = STR_INIT;
    engine_free(open_packed());
    read_all(packed, &bytes);
    bytes.data[bytes.len / 2] ^= 1;
    write_all(packed, bytes.data, bytes.len);
    assert_status(packed_check(packed, &err), MUGA_E_INPUT, &err, "digest");
    str_release(&bytes);
}

/* Tables that lie, with every digest right: wrong ids perhaps, never a byte out of bounds (this runs under the address
 * sanitizer), never without end. */
static void hostile_tables_do_no_harm(void **state) {
    (void)state;
    str good = STR_INIT;
    uint32_t counts[3];
    engine_free(open_packed());
    read_all(packed, &good);
    memcpy(counts, good.data + 24, sizeof counts);
    const char *items = good.data + 36 + counts[2] + (size_t)counts[0] * 40;
    static const int fills[] = {0xFF, 0x01, 0x7F};
    for (uint32_t i = counts[1] - 4; i < counts[1]; i++) /* bytes, begin, slots, merges */
        for (size_t k = 0; k < ARRAY_LEN(fills); k++) {
            static const char text[] = "Where is my order A10023? <|im_end|> \xC3\xBC";
            uint64_t place[2];
            str bad = STR_INIT;
            token_list l = TOKEN_LIST_INIT;
            memcpy(place, items + i * 112 + 96, sizeof place);
            assert_true(strncmp(items + i * 112, "tokenizer.", 10) == 0 && place[1] > 0);
            str_append(&bad, good.data, good.len);
            memset(bad.data + place[0], fills[k], place[1]);
            write_all(packed, bad.data, bad.len);
            str_release(&bad);
            engine *e = NULL;
            engine_options o = {.isa = -1, .n_threads = 1, .packed = packed, .packed_source = source};
            muga_error err = {0};
            muga_status st = engine_open(source, &o, &e, &err);
            if (st)
                continue; /* special names too long, say */
            st = tokenizer_encode(engine_tokenizer(e), text, strlen(text), (tokenizer_flags){.parse_special = true}, &l,
                                  &err);
            for (size_t j = 0; j < l.n; j++)
                assert_in_range(l.ids[j], 0, tokenizer_count(engine_tokenizer(e)) - 1);
            token_list_release(&l);
            engine_free(e);
        }
    str_release(&good);
}

/* ---- the tokenizer's tables, as version 1 has them ---- */

static uint64_t mix(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)(a ^ 0x9E3779B97F4A7C15u) * (b ^ 0xD6E8FEB86659FD93u);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_of(uint64_t seed, const uint8_t *p, size_t n) {
    uint64_t h = seed ^ n, rest = 0, word;
    uint32_t half[2];
    for (size_t at = 0; n >= 8 && at + 8 < n; at += 8) {
        memcpy(&word, p + at, 8);
        h = mix(h, word);
    }
    if (n >= 8) {
        memcpy(&rest, p + n - 8, 8);
    } else if (n >= 4) {
        memcpy(&half[0], p, 4);
        memcpy(&half[1], p + n - 4, 4);
        rest = (uint64_t)half[0] << 32 | half[1];
    } else if (n > 0) {
        rest = (uint64_t)p[0] << 16 | (uint64_t)p[n / 2] << 8 | p[n - 1];
    }
    return mix(h, rest);
}

/* Is the entry at `at` found from where its search begins, without a free one between? */
#define assert_reached(slots, mask, home, at, is_free)                                                                 \
    do {                                                                                                               \
        for (uint64_t i_ = (home) & (mask); i_ != (at); i_ = (i_ + 1) & (mask))                                        \
            assert_false(is_free((slots)[i_]));                                                                        \
    } while (0)
#define slot_is_free(s) ((s) == 0)
#define merge_is_free(m) ((m).rank == 0)

/* A change of the hash, of the order of a search or of a table's fields is one of TOKENIZER_TABLES: raise it, then
 * change this test. Else older files would be searched wrongly, and give other tokens without a word. */
static void tables_are_searched_as_their_version_says(void **state) {
    (void)state;
    packed_item items[5];
    tokenizer_facts facts;
    static const char *const names[] = {"facts", "bytes", "begin", "slots", "merges"};
    static const uint32_t sizes[] = {sizeof(tokenizer_facts), 1, 4, 8, sizeof(bpe_merge)};
    uint32_t counts[3], n_pieces = 0, n_merges = 0;
    str good = STR_INIT;
    engine_free(open_packed());
    read_all(packed, &good);
    memcpy(counts, good.data + 24, sizeof counts);
    const char *table = good.data + 36 + counts[2] + (size_t)counts[0] * 40 + (size_t)(counts[1] - 5) * 112;
    for (size_t i = 0; i < ARRAY_LEN(items); i++, table += 112) {
        uint64_t place[2];
        assert_string_equal(table + strlen("tokenizer."), names[i]);
        memcpy(place, table + 96, sizeof place);
        items[i].data = good.data + place[0];
        items[i].cols = place[1] / sizes[i];
    }
    assert_int_equal(TOKENIZER_TABLES, 1);
    assert_int_equal(sizeof(tokenizer_facts), 1056);
    memcpy(&facts, items[0].data, sizeof facts);
    uint64_t seed = (uint64_t)facts.seed[1] << 32 | facts.seed[0];
    const uint8_t *bytes = items[1].data;
    uint32_t *begin = mem_alloc_array((size_t)items[2].cols, sizeof *begin);
    uint64_t *slots = mem_alloc_array((size_t)items[3].cols, sizeof *slots), slot_mask = items[3].cols - 1;
    bpe_merge *merges = mem_alloc_array((size_t)items[4].cols, sizeof *merges);
    assert_true(begin && slots && merges && facts.tables == 1);
    memcpy(begin, items[2].data, items[2].cols * sizeof *begin);
    memcpy(slots, items[3].data, items[3].cols * sizeof *slots);
    memcpy(merges, items[4].data, items[4].cols * sizeof *merges);
    for (uint64_t at = 0; at <= slot_mask; at++) {
        uint32_t symbol = (uint32_t)slots[at] - 1;
        if (slots[at] == 0)
            continue;
        assert_true(symbol < facts.n_symbols);
        uint64_t hash = hash_of(seed, bytes + begin[symbol], begin[symbol + 1] - begin[symbol]);
        assert_int_equal(hash >> 32, slots[at] >> 32);
        assert_reached(slots, slot_mask, (uint32_t)hash, at, slot_is_free);
        n_pieces++;
    }
    for (uint64_t at = 0; at < items[4].cols; at++) {
        const bpe_merge *m = &merges[at];
        if (m->rank == 0)
            continue;
        uint64_t hash = mix(seed, (uint64_t)(uint32_t)m->left << 32 | (uint32_t)m->right);
        assert_reached(merges, items[4].cols - 1, (uint32_t)hash, at, merge_is_free);
        n_merges++;
    }
    assert_true(n_pieces > 256 && n_merges > 20);
    free(begin);
    free(slots);
    free(merges);
    str_release(&good);
}

/* ---- the source ---- */

static void another_source_is_noticed(void **state) {
    (void)state;
    muga_error err;
    struct stat info;
    str bytes = STR_INIT;
    char copy[520];
    engine_free(open_packed());
    assert_int_equal(stat(source, &info), 0);
    const struct timespec times[2] = {info.st_atim, info.st_mtim};
    read_all(source, &bytes);

    assert_int_equal(utimensat(AT_FDCWD, source, NULL, 0), 0); /* touched */
    assert_status(packed_check_source(&os_system()->files, packed, &err), MUGA_E_NOT_FOUND, &err, "another one");
    assert_start("packed now and kept");
    assert_start("mapped from");

    snprintf(copy, sizeof copy, "%s.copy", source); /* another file of the same bytes and time in its place */
    write_all(copy, bytes.data, bytes.len);
    assert_int_equal(utimensat(AT_FDCWD, copy, times, 0), 0);
    assert_int_equal(rename(copy, source), 0);
    assert_start("packed now and kept");
    assert_start("mapped from");

    bytes.data[bytes.len - 1] ^= 1; /* written to in place, and the time set back */
    write_all(source, bytes.data, bytes.len);
    assert_int_equal(utimensat(AT_FDCWD, source, times, 0), 0);
    assert_start("packed now and kept");

    assert_int_equal(unlink(source), 0);
    assert_status(packed_check_source(&os_system()->files, packed, &err), MUGA_E_NOT_FOUND, &err, "gone");
    str_release(&bytes);
}

static void another_version_is_made_again(void **state) {
    (void)state;
    for (size_t at = 8; at <= 12; at += 4) { /* of the format, of the layout */
        str bytes = STR_INIT;
        engine_free(open_packed());
        read_all(packed, &bytes);
        bytes.data[at]++;
        sign_head(&bytes);
        write_all(packed, bytes.data, bytes.len);
        str_release(&bytes);
        assert_start("another version");
    }
}

/* ---- overrides ---- */

static void overrides_write_nothing_and_compute_the_same(void **state) {
    (void)state;
    static const char *const change[] = {"llama.rope.freq_base=50", "tokenizer.ggml.add_bos_token=bool:true"};
    uint8_t want[SHA256_BYTES], got[SHA256_BYTES];
    engine_options o = {.overrides = change, .n_overrides = 2, .packed = packed, .packed_source = source};
    engine *e = open_options(o);
    assert_non_null(strstr(engine_packed(e), "overridden"));
    assert_int_not_equal(access(packed, F_OK), 0);
    digest(e, want);
    engine_free(e);
    engine_free(open_packed());
    e = open_options(o); /* panels from the file, tokenizer and positions from the overridden keys */
    assert_non_null(strstr(engine_packed(e), "mapped"));
    digest(e, got);
    assert_memory_equal(want, got, sizeof want);
    engine_free(e);
    assert_start("mapped from");
}

/* ---- nowhere to write ---- */

static muga_status fail_write(void *self, os_file *f, const void *p, size_t n, muga_error *err) {
    (void)self;
    (void)f;
    (void)p;
    return error_set(err, MUGA_E_ENV, "write of %zu bytes: no space left", n);
}

static void where_nothing_can_be_written_it_works_all_the_same(void **state) {
    (void)state;
    char in_the_way[600];
    os_files full = os_system()->files;
    full.write = fail_write;
    engine *e = open_options((engine_options){.packed = packed, .packed_source = source, .files = &full});
    assert_non_null(strstr(engine_packed(e), "in memory"));
    assert_non_null(strstr(engine_packed(e), "no space left"));
    engine_free(e);
    assert_int_equal(count_entries(scratch_path("kept")), 2);
    snprintf(in_the_way, sizeof in_the_way, "%s/below/packed", source); /* a file where a folder would have to be */
    e = open_options((engine_options){.packed = in_the_way, .packed_source = source});
    assert_non_null(strstr(engine_packed(e), "in memory"));
    engine_free(e);
    assert_start("packed now and kept");
}

/* Killed at any moment, a writer leaves a whole file or none; two at once leave one. */
static void killed_and_concurrent_writers_leave_it_whole(void **state) {
    (void)state;
    for (int i = 0; i < 12; i++) {
        pid_t children[2];
        muga_error err;
        (void)unlink(packed);
        for (size_t k = 0; k < ARRAY_LEN(children); k++) {
            children[k] = fork();
            assert_true(children[k] >= 0);
            if (children[k] == 0) {
                engine *e = NULL;
                engine_options o = {.isa = -1, .n_threads = 1, .packed = packed, .packed_source = source};
                _exit(engine_open(source, &o, &e, NULL) ? 1 : 0);
            }
        }
        if (i % 2 == 0)
            (void)usleep((useconds_t)i * 300);
        for (size_t k = 0; k < ARRAY_LEN(children); k++) {
            int status;
            if (i % 2 == 0)
                assert_int_equal(kill(children[k], SIGKILL), 0);
            assert_int_equal(waitpid(children[k], &status, 0), children[k]);
            if (i % 2 == 1)
                assert_int_equal(status, 0);
        }
        if (access(packed, F_OK) == 0)
            assert_ok(packed_check(packed, &err), &err);
        else
            assert_true(i % 2 == 0);
    }
    engine_free(open_packed());
    assert_start("mapped from");
}

/* ---- the store ---- */

typedef struct seen {
    hub_packed_state state[8];
    size_t n;
} seen;

static void see(void *ctx, const char *name, hub_packed_state state, uint64_t bytes, const char *why) {
    seen *s = ctx;
    assert_true(strlen(name) > 60 && s->n < ARRAY_LEN(s->state) && bytes > 0);
    assert_true(state == HUB_PACKED_WHOLE || strlen(why) > 8);
    s->state[s->n++] = state;
}

static seen keep_house(const hub *h) {
    seen s = {.n = 0};
    muga_error err;
    assert_ok(hub_packed_check(h, see, &s, &err), &err);
    return s;
}

static void the_store_keeps_them_with_their_models(void **state) {
    (void)state;
    hub h;
    muga_error err;
    char *blob = NULL, *of_blob = NULL, *of_path = NULL;
    str bytes = STR_INIT;
    assert_ok(hub_open(&os_system()->files, scratch_path("home"), &h, &err), &err);
    assert_int_equal(keep_house(&h).n, 0);
    assert_ok(hub_add(&h, "tiny", source, "a test", &err), &err);
    assert_ok(hub_resolve(&h, "tiny", &blob, &err), &err);
    assert_ok(hub_packed_path(&h, blob, &of_blob, &err), &err);
    assert_ok(hub_packed_path(&h, source, &of_path, &err), &err);
    assert_non_null(strstr(of_blob, "/packed/sha256-"));
    assert_non_null(strstr(of_path, "/packed/path-"));
    engine *e = NULL;
    engine_options o = {.isa = -1, .n_threads = 1, .packed = of_blob, .packed_source = blob};
    assert_ok(engine_open(blob, &o, &e, &err), &err);
    engine_free(e);
    engine_free(open_options((engine_options){.packed = of_path, .packed_source = source}));
    seen s = keep_house(&h);
    assert_true(s.n == 2 && s.state[0] == HUB_PACKED_WHOLE && s.state[1] == HUB_PACKED_WHOLE);

    read_all(of_blob, &bytes); /* damaged: removed, and so found once */
    bytes.data[bytes.len / 2] ^= 1;
    write_all(of_blob, bytes.data, bytes.len);
    assert_int_equal(unlink(source), 0);
    s = keep_house(&h);
    assert_true(s.n == 2 && s.state[0] == HUB_PACKED_STALE && s.state[1] == HUB_PACKED_DAMAGED); /* "path" < "sha256" */
    assert_int_equal(keep_house(&h).n, 0);

    assert_ok(engine_open(blob, &o, &e, &err), &err);
    engine_free(e);
    assert_int_equal(access(of_blob, F_OK), 0);
    assert_ok(hub_remove(&h, "tiny", &err), &err);
    assert_int_not_equal(access(of_blob, F_OK), 0);
    str_release(&bytes);
    free(blob);
    free(of_blob);
    free(of_path);
    hub_close(&h);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* hundreds of synced writes */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(made_once_and_mapped_from_then_on, set_up),
        cmocka_unit_test_setup(no_byte_of_the_head_may_change, set_up),
        cmocka_unit_test_setup(items_are_held_against_what_loading_needs, set_up),
        cmocka_unit_test_setup(offsets_stay_inside_and_apart, set_up),
        cmocka_unit_test_setup(a_file_cut_short_anywhere_is_made_again, set_up),
        cmocka_unit_test_setup(damaged_content_is_found_by_who_looks, set_up),
        cmocka_unit_test_setup(hostile_tables_do_no_harm, set_up),
        cmocka_unit_test_setup(tables_are_searched_as_their_version_says, set_up),
        cmocka_unit_test_setup(another_source_is_noticed, set_up),
        cmocka_unit_test_setup(another_version_is_made_again, set_up),
        cmocka_unit_test_setup(overrides_write_nothing_and_compute_the_same, set_up),
        cmocka_unit_test_setup(where_nothing_can_be_written_it_works_all_the_same, set_up),
        cmocka_unit_test_setup(killed_and_concurrent_writers_leave_it_whole, set_up),
        cmocka_unit_test_setup(the_store_keeps_them_with_their_models, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
