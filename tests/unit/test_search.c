/* The search tool: passages, their index, the manifest's side. If this failed, an agent would cite lines that don't say
 * what it says, find what is no longer there, miss what was just written, follow a link out of its folder, or let what
 * a person types be read as an operator. */
#include "support/agent_fixture.h"
#include "support/make_arch.h"
#include "support/support.h"
#include "support/tool_fixture.h"

#include "agent/search_index.h"
#include "agent/tool.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "os/sandbox.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- passages ---- */

static void expect_chunks(const char *text, const char *expected) {
    str said = STR_INIT;
    search_cursor c = search_begin(span_of_string(text));
    search_chunk k;
    while (search_next(&c, &k)) {
        str_printf(&said, "%d-%d [%.*s] %.*s|", (int)k.line_from, (int)k.line_to, (int)k.heading.n, k.heading.p,
                   (int)MIN(k.text.n, (size_t)20), k.text.p);
    }
    assert_string_equal(str_get(&said), expected);
    str_release(&said);
}

static void passages_follow_headings_and_say_their_lines(void **state) {
    (void)state;
    expect_chunks("", "");
    expect_chunks("\n \n\t\r\n", "");
    expect_chunks("one", "1-1 [] one|");
    expect_chunks("\n\none\ntwo\n\n", "3-4 [] one\ntwo|");
    expect_chunks("intro\n# A\ntext\n\n## B b ##\nmore\n", "1-1 [] intro|2-3 [A] # A\ntext|5-6 [B b] ## B b ##\nmore|");
    expect_chunks("# A\n```\n# no heading\n```\nb\n", "1-5 [A] # A\n```\n# no heading|");
    expect_chunks("#no\n####### no\n#\n", "1-3 [] #no\n####### no\n#|");
}

static void long_passages_are_cut_between_lines_and_words(void **state) {
    (void)state;
    str text = STR_INIT;
    for (int i = 0; i < 100; i++) {
        str_printf(&text, "line %02d of a paragraph that goes on for a while\n", i);
    }
    for (int i = 0; i < 1000; i++) {
        str_append_s(&text, "w\xC3\xB6rter ");
    }
    for (int i = 0; i < 1000; i++) {
        str_append_s(&text, "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC");
    }
    search_cursor c = search_begin(span_of(str_get(&text), text.len));
    search_chunk k;
    size_t total = 0;
    int64_t next = 1;
    while (search_next(&c, &k)) {
        assert_true(k.text.n <= 1600);
        assert_true(k.line_from == next || k.line_from == 101);
        assert_true(k.line_to >= k.line_from && k.line_to <= 101);
        for (size_t i = 0; i < k.text.n; i++) {
            total += k.text.p[i] != ' ' && k.text.p[i] != '\n';
        }
        assert_true((k.text.p[0] & 0xC0) != 0x80); /* never in the middle of a character */
        next = k.line_to + 1;
    }
    size_t all = 0;
    for (size_t i = 0; i < text.len; i++) {
        all += text.data[i] != ' ' && text.data[i] != '\n';
    }
    assert_int_equal(total, all); /* nothing lost, nothing twice */
    str_release(&text);
}

/* ---- the tool ---- */

static void make_folder(const agent_fixture *f, const char *name) {
    char path[1100];
    muga_error err;
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_ok(f->env.files->mkdirs(f->env.files->self, path, &err), &err);
}

static void write_manifest(const agent_fixture *f, const char *parameters, const char *keys) {
    str text = STR_INIT;
    str_printf(&text,
               "%stools:\n  - name: t\n    description: d\n    approval: never\n    parameters: {type: object, %s,"
               " additionalProperties: false}\n%s",
               tool_head, parameters, keys);
    fixture_write(f, "agent.yaml", str_get(&text));
    str_release(&text);
}

#define QUERY "properties: {query: {type: string, maxLength: 500}}, required: [query]"

static void load(agent_fixture *f, const char *keys) {
    muga_error err;
    str text = STR_INIT;
    str_printf(&text, "    search: {folder: docs%s}\n    effect: read\n", keys);
    write_manifest(f, QUERY, str_get(&text));
    str_release(&text);
    assert_ok(manifest_load(&f->env, f->dir, NULL, &f->m, &err), &err);
    assert_ok(store_open(f->store_path, NULL, &f->store, &err), &err);
    fixture_begin(f, 1, "hi");
}

static void prepare_docs(agent_fixture *f, const char *name) {
    fixture_prepare(f, name, NULL);
    make_folder(f, "docs/more");
    fixture_write(f, "docs/returns.md",
                  "# Returns\n\nYou may return shoes within 30 days.\n\n## Costs\n\nWe pay for "
                  "the parcel.\n");
    fixture_write(f, "docs/more/hours.txt", "Open from nine to five.\nClosed on Sunday.\n");
    fixture_write(f, "docs/image.png", "parcel parcel parcel");
}

static void open_docs(agent_fixture *f, const char *name, const char *keys) {
    prepare_docs(f, name);
    load(f, keys);
}

/* The sources of what is found, in order, with a comma between. */
static void expect_sources(agent_fixture *f, const char *query, const char *expected) {
    json_t *arguments = json_pack("{s:s}", "query", query), *m;
    str said = STR_INIT, written = STR_INIT;
    muga_error err;
    call_result r;
    size_t i;
    assert_ok(executor_call(f->session, "t", arguments, &r, &err), &err);
    if (r.outcome != CALL_FINISHED) {
        fail_msg("%s: %s: %s", query, call_outcome_name(r.outcome), r.reason);
    }
    json_array_foreach(json_object_get(r.result, "matches"), i, m) {
        str_printf(&said, "%s%s", i > 0 ? "," : "", json_get_string(m, "source"));
    }
    json_write(r.result, &written);
    if (strcmp(str_get(&said), expected) != 0) {
        fail_msg("'%s' finds %s instead of %s: %s", query, str_get(&said), expected, str_get(&written));
    }
    str_release(&said);
    str_release(&written);
    json_decref(arguments);
    call_result_release(&r);
}

static void passages_are_found_with_file_and_lines(void **state) {
    (void)state;
    agent_fixture f;
    open_docs(&f, "found", "");
    assert_true(f.m->tools[0].untrusted);
    assert_false(f.m->tools[0].leaves_machine);
    tool_expect_result(&f, "{'query': 'who pays for a parcel?'}",
                       "{'matches': [{'source': 'returns.md:5-7', 'heading': 'Costs', 'text': '## Costs\\n\\nWe pay "
                       "for the parcel.'}], 'by': 'words', 'left_out': 0, 'files': 2, 'files_skipped': 0}");
    expect_sources(&f, "Sunday", "more/hours.txt:1-2");
    expect_sources(&f, "SHOES", "returns.md:1-3");
    expect_sources(&f, "shoes sunday", "more/hours.txt:1-2,returns.md:1-3");
    expect_sources(&f, "elephants", "");
    expect_sources(&f, "", "");
    fixture_close(&f);
    open_docs(&f, "one-result", ", results: 1");
    expect_sources(&f, "shoes parcel sunday return", "returns.md:1-3");
    fixture_close(&f);
    open_docs(&f, "endings", ", files: [.png]");
    expect_sources(&f, "parcel", "image.png:1-1");
    fixture_close(&f);
}

static void nothing_a_person_types_is_an_operator(void **state) {
    (void)state;
    static const char *const queries[] = {
        "parcel\" OR \"x", "NOT parcel",          "parcel*",   "text:parcel", "(parcel",
        "parcel' --",      "NEAR(parcel pay, 1)", "^parcel +", "\"",          "- - -"};
    agent_fixture f;
    open_docs(&f, "operators", "");
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        expect_sources(&f, queries[i], strstr(queries[i], "parcel") ? "returns.md:5-7" : "");
    }
    str many = STR_INIT;
    for (int i = 0; i < 240; i++) {
        str_append_s(&many, "a ");
    }
    expect_sources(&f, str_get(&many), "");
    str_release(&many);
    fixture_close(&f);
}

static void what_changed_is_found_and_what_went_is_not(void **state) {
    (void)state;
    agent_fixture f;
    char path[1100], other[1100];
    open_docs(&f, "changed", "");
    expect_sources(&f, "elephants", "");
    fixture_write(&f, "docs/new.md", "We sell elephants.\n");
    expect_sources(&f, "elephants", "new.md:1-1");
    fixture_write(&f, "docs/new.md", "\n\nWe sell giraffes.\n");
    expect_sources(&f, "elephants giraffes", "new.md:3-3");
    snprintf(path, sizeof path, "%s/docs/new.md", f.dir);
    snprintf(other, sizeof other, "%s/docs/more/moved.md", f.dir);
    assert_int_equal(rename(path, other), 0);
    expect_sources(&f, "giraffes", "more/moved.md:3-3");
    assert_int_equal(unlink(other), 0);
    expect_sources(&f, "giraffes", "");
    expect_sources(&f, "sunday", "more/hours.txt:1-2");
    fixture_reopen(&f);
    expect_sources(&f, "sunday", "more/hours.txt:1-2");
    fixture_close(&f);
}

/* Reads are counted: a file is read again only when its size or times changed, whatever it holds. */
static void an_unchanged_file_is_not_read_again(void **state) {
    (void)state;
    static const char *const endings[] = {".md", ".txt"};
    agent_fixture f;
    char folder[1100], index_path[1100], file[1100];
    search_index *x;
    search_report report;
    muga_error err;
    str real = STR_INIT;
    prepare_docs(&f, "counted");
    snprintf(folder, sizeof folder, "%s/docs", f.dir);
    assert_ok(os_real_path(folder, &real, &err), &err);
    snprintf(index_path, sizeof index_path, "%s/x.index", f.dir);
    snprintf(file, sizeof file, "%s/docs/returns.md", f.dir);
    search_source source = {
        .files = f.env.files, .folder = str_get(&real), .endings = endings, .n_ending = ARRAY_LEN(endings)};
    for (int round = 0; round < 4; round++) {
        if (round == 2) { /* the same words, written again */
            fixture_write(&f, "docs/returns.md",
                          "# Returns\n\nYou may return shoes within 30 days.\n\n## Costs\n\nWe "
                          "pay for the parcel.\n");
        }
        assert_ok(search_index_open(index_path, &source, &x, &err), &err);
        assert_ok(search_index_update(x, &report, &err), &err);
        assert_int_equal(report.read, round == 0 ? 2 : round == 2 ? 1 : 0);
        assert_int_equal(report.n_file, 2);
        assert_int_equal(report.n_chunk, 3);
        search_index_close(x);
    }
    str_release(&real);
    fixture_close(&f);
}

static void links_and_what_is_not_text_are_left_out_and_counted(void **state) {
    (void)state;
    agent_fixture f;
    char path[1100], secret[1100];
    prepare_docs(&f, "links");
    fixture_write(&f, "secret.md", "The secret word is parcel.\n");
    snprintf(secret, sizeof secret, "%s/secret.md", f.dir);
    snprintf(path, sizeof path, "%s/docs/link.md", f.dir);
    assert_int_equal(symlink(secret, path), 0);
    snprintf(path, sizeof path, "%s/docs/loop", f.dir);
    assert_int_equal(symlink(f.dir, path), 0);
    snprintf(path, sizeof path, "%s/docs/dangling.md", f.dir);
    assert_int_equal(symlink("/nowhere", path), 0);
    fixture_write(&f, "docs/.hidden.md", "parcel\n");
    fixture_write(&f, "docs/bytes.md", "parcel \xFF\xFE\n");
    load(&f, "");
    tool_expect_result(&f, "{'query': 'parcel'}",
                       "{'matches': [{'source': 'returns.md:5-7', 'heading': 'Costs', 'text': '## Costs\\n\\nWe pay "
                       "for the parcel.'}], 'by': 'words', 'left_out': 0, 'files': 2, 'files_skipped': 3}");
    fixture_close(&f);
}

static void results_keep_to_their_size(void **state) {
    (void)state;
    agent_fixture f;
    str text = STR_INIT;
    prepare_docs(&f, "size");
    for (int i = 0; i < 20; i++) {
        str_printf(&text, "# Part %d\n\nparcel %0400d\n\n", i, i);
    }
    fixture_write(&f, "docs/long.md", str_get(&text));
    str_release(&text);
    load(&f, ", results: 20}\n    max_result_bytes: 2000\n    retry: {times: 1");
    call_result r = tool_call_run(&f, "{'query': 'parcel'}");
    assert_int_equal(r.outcome, CALL_FINISHED);
    size_t n = json_array_size(json_object_get(r.result, "matches"));
    assert_true(n >= 2 && n < 20);
    assert_int_equal(json_get_int(r.result, "left_out", -1), (json_int_t)(20 - n));
    call_result_release(&r);
    fixture_close(&f);
}

static void a_file_that_is_no_index_is_left_alone(void **state) {
    (void)state;
    agent_fixture f;
    char path[1100];
    prepare_docs(&f, "no-index");
    fixture_write(&f, "search-t.index",
                  "something else, of more than a hundred bytes, so that it can be no database "
                  "header by chance; something else, of more than a hundred bytes\n");
    load(&f, "");
    tool_expect_failure(&f, "{'query': 'parcel'}", "delete it");
    snprintf(path, sizeof path, "%s/search-t.index", f.dir);
    assert_int_equal(unlink(path), 0);
    fixture_sql(path, "CREATE TABLE mine(x); INSERT INTO mine VALUES (1)");
    tool_expect_failure(&f, "{'query': 'parcel '}", "no search index");
    assert_int_equal(fixture_count(path, "SELECT count(*) FROM mine"), 1);
    fixture_close(&f);
}

static void definitions_that_could_not_search_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *parameters, *keys, *part;
    } cases[] = {
        {"properties: {}", "    search: {folder: docs}\n    effect: read\n", "a search takes one thing"},
        {"properties: {query: {type: string}}", "    search: {folder: docs}\n    effect: read\n", "required"},
        {"properties: {query: {type: integer}}, required: [query]", "    search: {folder: docs}\n    effect: read\n",
         "a search takes one thing"},
        {QUERY, "    search: {folder: docs}\n    effect: write\n", "effect: read"},
        {QUERY, "    search: {}\n    effect: read\n", "folder"},
        {QUERY, "    search: {folder: none}\n    effect: read\n", "none"},
        {QUERY, "    search: {folder: ../x}\n    effect: read\n", "'..'"},
        {QUERY, "    search: {folder: /}\n    effect: read\n", "no folder of documents"},
        {QUERY, "    search: {folder: /proc/self}\n    effect: read\n", "no folder of documents"},
        {QUERY, "    search: {folder: docs/returns.md}\n    effect: read\n", "is no folder"},
        {QUERY, "    search: {folder: docs, files: [md]}\n    effect: read\n", "files"},
        {QUERY, "    search: {folder: docs, results: 21}\n    effect: read\n", "results"},
        {QUERY, "    search: {folder: docs, model: m}\n    effect: read\n", "makes no vectors"},
    };
    agent_fixture f;
    muga_error err;
    prepare_docs(&f, "refused");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        write_manifest(&f, cases[i].parameters, cases[i].keys);
        muga_status st = manifest_load(&f.env, f.dir, NULL, &f.m, &err);
        if (st == MUGA_OK || !strstr(err.message, cases[i].part)) {
            fail_msg("%s: '%s' instead of '%s'", cases[i].keys, st ? err.message : "taken", cases[i].part);
        }
    }
    fixture_close(&f);
}

/* ---- with vectors ---- */

/* A model of two meanings: money and time. */
typedef struct meanings {
    int n_text;
    const char *id;
} meanings;

static muga_status open_meanings(void *self, const char *name, uint32_t *n_dim, char id[SHA256_HEX], muga_error *err) {
    (void)err;
    assert_string_equal(name, "meanings");
    *n_dim = 2;
    snprintf(id, SHA256_HEX, "%s", ((meanings *)self)->id);
    return MUGA_OK;
}

static muga_status embed_meaning(void *self, const char *name, span text, float *vector, muga_error *err) {
    (void)name;
    char copy[2048];
    ((meanings *)self)->n_text++;
    if (text.n > 400) {
        return error_set(err, MUGA_E_LIMIT, "too long for this model");
    }
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    bool money = strstr(copy, "pay") || strstr(copy, "price"), time = strstr(copy, "nine") || strstr(copy, "when");
    vector[0] = money ? 1 : 0;
    vector[1] = time && !money ? 1 : 0;
    return MUGA_OK;
}

static muga_status find_meanings(void *self, const char *name, muga_error *err) {
    (void)self;
    return strcmp(name, "meanings") == 0 ? MUGA_OK
                                         : error_set(err, MUGA_E_NOT_FOUND, "no model '%s' in the store", name);
}

static void a_model_that_is_missing_is_told_when_the_manifest_is_loaded(void **state) {
    (void)state;
    agent_fixture f;
    meanings world = {.id = "first"};
    agent_embedder e = {open_meanings, embed_meaning, &world, find_meanings};
    prepare_docs(&f, "missing");
    f.env.embedder = &e;
    muga_error err;
    load(&f, ", model: meanings");
    fixture_let_go(&f);
    write_manifest(&f, QUERY, "    search: {folder: docs, model: elsewhere}\n    effect: read\n");
    assert_status(manifest_load(&f.env, f.dir, NULL, &f.m, &err), MUGA_E_NOT_FOUND, &err,
                  "key tools[0].search.model: no model 'elsewhere' in the store");
    assert_int_equal(world.n_text, 0);
    fixture_close(&f);
}

static void words_and_meaning_are_fused(void **state) {
    (void)state;
    agent_fixture f;
    meanings world = {.id = "first"};
    agent_embedder e = {open_meanings, embed_meaning, &world, NULL};
    prepare_docs(&f, "meaning");
    f.env.embedder = &e;
    load(&f, ", model: meanings, results: 2");
    expect_sources(&f, "when?", "more/hours.txt:1-2,returns.md:1-3"); /* by meaning alone; then the rest as it lies */
    assert_int_equal(world.n_text, 4);                                /* three passages and the question */
    expect_sources(&f, "the price of shoes", "returns.md:5-7,returns.md:1-3");
    assert_int_equal(world.n_text, 5);
    fixture_write(&f, "docs/long.md",
                  "price price price price price price price price price price price price price "
                  "price price price price price price price price price price price price price "
                  "price price price price price price price price price price price price price "
                  "price price price price price price price price price price price price price "
                  "price price price price price price price price price price price price\n");
    expect_sources(&f, "price", "long.md:1-1,returns.md:5-7"); /* longer than the model takes: by its beginning */
    fixture_reopen(&f);
    int before = world.n_text;
    expect_sources(&f, "price", "long.md:1-1,returns.md:5-7");
    assert_int_equal(world.n_text, before + 1);
    world.id = "second"; /* another model under the same name: its vectors are made again */
    fixture_reopen(&f);
    before = world.n_text;
    expect_sources(&f, "price", "long.md:1-1,returns.md:5-7");
    assert_true(world.n_text >= before + 5);
    fixture_close(&f);
}

/* A real encoder of random weights, whose tokens are bytes. */
static muga_status open_encoder(void *self, const char *name, uint32_t *n_dim, char id[SHA256_HEX], muga_error *err) {
    (void)name;
    (void)err;
    *n_dim = engine_embed_dims(self);
    snprintf(id, SHA256_HEX, "encoder");
    return MUGA_OK;
}

static muga_status embed_bytes(void *self, const char *name, span text, float *vector, muga_error *err) {
    token_list ids = TOKEN_LIST_INIT;
    (void)name;
    for (size_t i = 0; i < MIN(text.n, (size_t)40); i++) {
        assert_true(token_list_push(&ids, (unsigned char)text.p[i] % MAKE_ARCH_VOCAB));
    }
    muga_status st = engine_embed_ids(self, &ids, 1, vector, err);
    token_list_release(&ids);
    return st;
}

static void a_real_model_finds_the_passage_that_is_asked_for(void **state) {
    (void)state;
    static const make_change nothing[] = {{0}};
    agent_fixture f;
    engine *e = NULL;
    muga_error err;
    str bytes = STR_INIT;
    const char *path = scratch_path("encoder.gguf");
    engine_options o = ENGINE_OPTIONS_DEFAULT;
    o.ids_only = true;
    assert_true(make_arch("bert", nothing, &bytes));
    assert_ok(os_write_file_atomic(&os_system()->files, path, bytes.data, bytes.len, &err), &err);
    assert_ok(engine_open(path, &o, &e, &err), &err);
    agent_embedder encoder = {open_encoder, embed_bytes, e, NULL};
    prepare_docs(&f, "encoder");
    fixture_write(&f, "docs/one.txt", "::::////....");
    fixture_write(&f, "docs/two.txt", "----++++====");
    f.env.embedder = &encoder;
    load(&f, ", model: encoder, results: 1");
    expect_sources(&f, "\n::::////....", "one.txt:1-1"); /* no word in it: by its vector alone, which is the same */
    expect_sources(&f, "\n----++++====", "two.txt:1-1");
    fixture_reopen(&f);
    expect_sources(&f, "\n::::////.... ", "one.txt:1-1");
    fixture_close(&f);
    engine_free(e);
    str_release(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passages_follow_headings_and_say_their_lines),
        cmocka_unit_test(long_passages_are_cut_between_lines_and_words),
        cmocka_unit_test(passages_are_found_with_file_and_lines),
        cmocka_unit_test(nothing_a_person_types_is_an_operator),
        cmocka_unit_test(what_changed_is_found_and_what_went_is_not),
        cmocka_unit_test(an_unchanged_file_is_not_read_again),
        cmocka_unit_test(links_and_what_is_not_text_are_left_out_and_counted),
        cmocka_unit_test(results_keep_to_their_size),
        cmocka_unit_test(a_file_that_is_no_index_is_left_alone),
        cmocka_unit_test(definitions_that_could_not_search_are_refused),
        cmocka_unit_test(a_model_that_is_missing_is_told_when_the_manifest_is_loaded),
        cmocka_unit_test(words_and_meaning_are_fused),
        cmocka_unit_test(a_real_model_finds_the_passage_that_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
