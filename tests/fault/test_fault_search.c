/* Every allocation failed in turn while a folder is indexed and searched. If this failed, a machine short of memory
 * could crash in a search, leak, or be shown less than there is as if it were all. */
#include "support/support.h"

#include "agent/search_index.h"
#include "base/mem.h"
#include "os/sandbox.h"
#include "support/agent_fixture.h"
#include "support/faultmalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static muga_status open_meanings(void *self, const char *model, uint32_t *n_dim, char id[SHA256_HEX], muga_error *err) {
    (void)self;
    (void)model;
    (void)err;
    *n_dim = 2;
    snprintf(id, SHA256_HEX, "meanings");
    return MUGA_OK;
}

static muga_status embed_meaning(void *self, const char *model, span text, float *vector, muga_error *err) {
    (void)self;
    (void)model;
    (void)err;
    vector[0] = memchr(text.p, 'y', text.n) ? 1 : 0;
    vector[1] = 1;
    return MUGA_OK;
}

typedef struct place {
    search_source source;
    char index[1200];
} place;

/* The index is made anew; what is found is written out. */
static muga_status run_once(const place *p, str *out, muga_error *err) {
    search_index *x = NULL;
    search_report report;
    search_hit hits[2 * SEARCH_LISTED];
    size_t n = 0;
    muga_status st = search_index_open(p->index, &p->source, &x, err);
    st = st == MUGA_OK ? search_index_update(x, &report, err) : st;
    st = st == MUGA_OK ? search_index_find(x, "who pays for shoes", hits, &n, err) : st;
    if (st == MUGA_OK) {
        str_printf(out, "%d files, %d passages, %d left\n", (int)report.n_file, (int)report.n_chunk, (int)report.left);
    }
    for (size_t i = 0; i < n && st == MUGA_OK; i++) {
        json_t *passage = NULL;
        st = search_index_passage(x, hits[i].id, &passage, err);
        if (st == MUGA_OK) {
            json_write(passage, out);
        }
        json_decref(passage);
    }
    search_index_close(x);
    return st == MUGA_OK ? str_status(out, err, "what was found") : st;
}

static void remove_index(const place *p) {
    static const char *const endings[] = {"", "-journal", "-wal", "-shm"};
    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        char path[1300];
        snprintf(path, sizeof path, "%s%s", p->index, endings[i]);
        unlink(path);
    }
}

static void every_allocation_of_a_search_may_fail(void **state) {
    (void)state;
    static const char *const suffixes[] = {".md"};
    static const agent_embedder embedder = {open_meanings, embed_meaning, NULL, NULL};
    agent_fixture f;
    muga_error err;
    char folder[1100];
    str real = STR_INIT, whole = STR_INIT;
    fixture_prepare(&f, "fault-search", NULL);
    snprintf(folder, sizeof folder, "%s/docs", f.dir);
    assert_int_equal(mkdir(folder, 0755), 0);
    fixture_write(&f, "docs/returns.md", "# Returns\n\nShoes within 30 days.\n\n## Costs\n\nWe pay for the parcel.\n");
    fixture_write(&f, "docs/hours.md", "Open from nine to five.\n");
    assert_ok(os_real_path(folder, &real, &err), &err);
    for (int vectors = 0; vectors < 2; vectors++) {
        place p = {.source = {.files = f.env.files,
                              .folder = str_get(&real),
                              .endings = suffixes,
                              .n_ending = 1,
                              .embedder = vectors ? &embedder : NULL,
                              .model = vectors ? "meanings" : NULL}};
        snprintf(p.index, sizeof p.index, "%s/x.index", f.dir);
        remove_index(&p);
        str_clear(&whole);
        assert_ok(run_once(&p, &whole, &err), &err);
        bool reached = true;
        size_t n = 1;
        for (; reached; n++) {
            str found = STR_INIT;
            remove_index(&p);
            long live = fault_live();
            fault_fail_at(n);
            muga_status st = run_once(&p, &found, &err);
            reached = fault_hit();
            fault_fail_at(0);
            /* It fails, or all is found. FTS5 takes a lack of memory for a missing table now and then. */
            bool right = st == MUGA_OK ? strcmp(str_get(&found), str_get(&whole)) == 0 : reached && *err.message;
            if (!right) {
                fail_msg("allocation %zu: status %d, %s; found %s instead of %s", n, st, st ? err.message : "",
                         str_get(&found), str_get(&whole));
            }
            str_release(&found);
            if (fault_live() != live) {
                fail_msg("allocation %zu: %ld blocks leaked", n, fault_live() - live);
            }
        }
        assert_in_range(n, 100, 20000);
    }
    str_release(&real);
    str_release(&whole);
    fixture_close(&f);
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) { /* thousands of synced commits */
        setenv("TMPDIR", "/dev/shm", 1);
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_of_a_search_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
