/* The tool on files, and the walk beneath a folder under it. If this failed, a model that was talked into it could read
 * the keys beside the notes, follow a link out of the folder, hang on a pipe, write over the agent itself, or be shown
 * a name that is not the name it looks like. */
#include "support/support.h"

#include "base/mem.h"
#include "support/tool_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "name: {type: string}"
#define READ "    effect: read\n    files: {folder: notes, op: read, path: ':name'}\n"
#define LIST "    effect: read\n    files: {folder: notes, op: list}\n"
#define WRITE "    effect: write\n    files: {folder: notes, op: write, path: ':name', content: ':text'}\n"
#define NAME_TEXT "name: {type: string}, text: {type: string}"

static void make_folder(const agent_fixture *f, const char *name) {
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void make_link(const agent_fixture *f, const char *target, const char *name) {
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_int_equal(symlink(target, path), 0);
}

/* notes/ with a.txt, sub/b.txt, and all kinds of things that lead elsewhere; outside/secret.txt beside it. */
static void prepare(agent_fixture *f, const char *name) {
    char path[1200];
    fixture_prepare(f, name, NULL);
    make_folder(f, "notes");
    make_folder(f, "notes/sub");
    make_folder(f, "outside");
    fixture_write(f, "notes/a.txt", "first\nsecond");
    fixture_write(f, "notes/sub/b.txt", "below");
    fixture_write(f, "notes/sub/agent.txt", "x");
    fixture_write(f, "outside/secret.txt", "secret");
    make_link(f, "../outside/secret.txt", "notes/link.txt");
    make_link(f, "../outside", "notes/away");
    make_link(f, "a.txt", "notes/inside.txt");
    snprintf(path, sizeof path, "%s/notes/pipe", f->dir);
    assert_int_equal(mkfifo(path, 0600), 0);
}

static void a_file_is_read_whole_or_refused(void **state) {
    (void)state;
    agent_fixture f;
    prepare(&f, "read");
    fixture_write(&f, "notes/latin.txt", "\xE4");
    fixture_write(&f, "notes/long.txt", "0123456789012345678901234567890123456789012345678901234567890123456789");
    tool_begin(&f, NAME, READ "    max_result_bytes: 64\n");
    tool_expect_result(&f, "{'name': 'a.txt'}", "{'path': 'a.txt', 'text': 'first\\nsecond'}");
    tool_expect_failure(&f, "{'name': 'latin.txt'}", "is not text");
    tool_expect_failure(&f, "{'name': 'long.txt'}", "raise max_result_bytes");
    tool_expect_failure(&f, "{'name': 'none.txt'}", "No such file");
    tool_expect_failure(&f, "{}", "name was left out");
    fixture_close(&f);
}

/* Each of these once made some program read what it should not. */
static void no_name_leads_out_of_the_folder(void **state) {
    (void)state;
    static const char *const names[] = {
        "..",
        ".",
        "../outside/secret.txt",
        "sub/../../outside/secret.txt",
        "/etc/passwd",
        "//etc/passwd",
        "./a.txt",
        "sub/./b.txt",
        "sub//b.txt",
        "sub/",
        "/a.txt",
        "link.txt",
        "inside.txt",
        "away/secret.txt",
        "away",
        "pipe",
        "sub",
        "",
        " a.txt",
        "a.txt ",
        "a.txt\\u0000",
        "a.txt\\u0000.png",
        "a\\n.txt",
        "a\\u001b[2K.txt",
        "a\\u202etxt.exe",
        "a\\u200b.txt",
        "a\\u00a0.txt",
        "\\ufeffa.txt",
        "a\\u0085",
        "a\\u2028",
        "..\\u2215outside",
        "%2e%2e/outside/secret.txt",
        "..%2foutside",
        "~/a.txt",
        "$HOME",
        ".muga-0",
        ".ssh/id",
        "sub/.hidden",
        "a.txt/",
        "a.txt/..",
        "a.txt/b",
    };
    for (int deep = 0; deep < 2; deep++) {
        agent_fixture f;
        prepare(&f, deep ? "deep" : "flat");
        tool_begin(&f, NAME,
                   deep ? "    effect: read\n    files: {folder: notes, op: read, path: ':name', subfolders: true}\n"
                        : READ);
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            char text[128];
            snprintf(text, sizeof text, "{'name': '%s'}", names[i]);
            tool_expect_failure(&f, text, "");
        }
        if (deep) {
            tool_expect_result(&f, "{'name': 'sub/b.txt'}", "{'path': 'sub/b.txt', 'text': 'below'}");
        } else {
            tool_expect_failure(&f, "{'name': 'sub/b.txt'}", "holds a '/'");
        }
        tool_expect_failure(&f, "{'name': 'link.txt'}", "is a link, and links are not followed");
        tool_expect_failure(&f, "{'name': 'pipe'}", "not a regular file");
        fixture_close(&f);
    }
}

static void a_long_name_is_refused(void **state) {
    (void)state;
    agent_fixture f;
    char text[3000];
    prepare(&f, "long");
    tool_begin(&f, NAME, "    effect: read\n    files: {folder: notes, op: read, path: ':name', subfolders: true}\n");
    snprintf(text, sizeof text, "{'name': '%0256d'}", 0);
    tool_expect_failure(&f, text, "longer than 255 bytes");
    str deep = STR_INIT;
    str_append_s(&deep, "{'name': '");
    for (int i = 0; i < 600; i++) {
        str_append_s(&deep, "a/");
    }
    str_append_s(&deep, "a'}");
    tool_expect_failure(&f, str_get(&deep), "longer than 1024 bytes");
    str_release(&deep);
    fixture_close(&f);
}

/* The session's value is one component: whoever calls can't become somebody else's folder by a name with a slash. */
static void a_session_value_keeps_people_apart(void **state) {
    (void)state;
    agent_fixture f;
    prepare(&f, "apart");
    make_folder(&f, "notes/1");
    make_folder(&f, "notes/2");
    fixture_write(&f, "notes/1/x.txt", "mine");
    fixture_write(&f, "notes/2/x.txt", "yours");
    tool_begin(&f, NAME,
               "    effect: read\n    files: {folder: notes, op: read, path: ':session_customer/:name', subfolders:"
               " true}\n");
    tool_expect_result(&f, "{'name': 'x.txt'}", "{'path': '1/x.txt', 'text': 'mine'}");
    tool_expect_failure(&f, "{'name': '../2/x.txt'}", "leads out of the folder");
    fixture_close(&f);
}

static void a_listing_shows_what_can_be_named(void **state) {
    (void)state;
    agent_fixture f;
    prepare(&f, "list");
    fixture_write(&f, "notes/.hidden", "x");
    fixture_write(&f, "notes/a\n.txt", "x");
    tool_begin(&f, "", LIST);
    tool_expect_result(&f, "{}",
                       "{'entries': [{'name': 'a.txt', 'type': 'file', 'bytes': 12}, {'name': 'away', 'type':"
                       " 'other'}, {'name': 'inside.txt', 'type': 'other'}, {'name': 'link.txt', 'type': 'other'},"
                       " {'name': 'pipe', 'type': 'other'}, {'name': 'sub', 'type': 'folder'}], 'unnamed': 2}");
    fixture_close(&f);
    prepare(&f, "list-few");
    tool_begin(&f, NAME, "    effect: read\n    files: {folder: notes, op: list, path: ':name', max_entries: 2}\n");
    tool_expect_result(&f, "{'name': 'sub'}",
                       "{'entries': [{'name': 'agent.txt', 'type': 'file', 'bytes': 1}, {'name': 'b.txt', 'type':"
                       " 'file', 'bytes': 5}]}");
    tool_expect_failure(&f, "{'name': 'away'}", "is a link");
    tool_expect_failure(&f, "{'name': 'a.txt'}", "Not a directory");
    fixture_write(&f, "notes/sub/c.txt", "x");
    tool_expect_failure(&f, "{'name': 'sub'}", "more than 2 entries, the most that is taken; raise files.max_entries");
    fixture_close(&f);
}

static void expect_file(const agent_fixture *f, const char *name, const char *text) {
    char path[1200];
    str got = STR_INIT;
    muga_error err;
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_ok(os_read_file(&os_system()->files, path, 1000, &got, &err), &err);
    assert_string_equal(str_get(&got), text);
    str_release(&got);
}

static void a_write_makes_files_and_replaces_only_where_told(void **state) {
    (void)state;
    agent_fixture f;
    prepare(&f, "write");
    tool_begin(&f, NAME_TEXT, WRITE);
    tool_expect_result(&f, "{'name': 'new.txt', 'text': 'caf\\u00e9'}", "{'path': 'new.txt', 'bytes': 5}");
    expect_file(&f, "notes/new.txt", "caf\xC3\xA9");
    tool_expect_failure(&f, "{'name': 'a.txt', 'text': 'x'}", "something of this name is there; take another name");
    expect_file(&f, "notes/a.txt", "first\nsecond");
    tool_expect_failure(&f, "{'name': 'b.txt', 'text': 'x\\u0000y'}", "holds a NUL");
    tool_expect_failure(&f, "{'name': '../agent.yaml', 'text': 'x'}", "holds a '/'");
    fixture_close(&f);
    prepare(&f, "replace");
    tool_begin(
        &f, NAME_TEXT,
        "    effect: write\n    max_result_bytes: 64\n    files: {folder: notes, op: write, path: ':name', content:"
        " 'Note: :text!', replace: true, subfolders: true}\n");
    tool_expect_result(&f, "{'name': 'a.txt', 'text': 'x'}", "{'bytes': 8}");
    expect_file(&f, "notes/a.txt", "Note: x!");
    static const char *const refused[] = {"link.txt",     "inside.txt",      "pipe",         "sub", "away/secret.txt",
                                          "away/new.txt", "nowhere/new.txt", "../agent.yaml"};
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        char text[100];
        snprintf(text, sizeof text, "{'name': '%s', 'text': 'evil'}", refused[i]);
        tool_expect_failure(&f, text, "");
    }
    expect_file(&f, "outside/secret.txt", "secret");
    fixture_close(&f);
}

static void definitions_that_give_too_much_away_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *keys, *part;
    } cases[] = {
        {"    effect: read\n    files: {folder: ../x, op: list}\n", "files.folder: folder ../x must lie in"},
        {"    effect: read\n    files: {folder: ., op: list}\n", "must lie in the agent's data folder"},
        {"    effect: read\n    files: {folder: gone, op: list}\n", "is not there; make it first"},
        {"    effect: read\n    files: {folder: notes/a.txt, op: list}\n", "is not a folder"},
        {"    effect: read\n    files: {folder: notes, op: read}\n", "key 'path' is missing"},
        {"    effect: read\n    files: {folder: notes, op: read, path: ../a.txt}\n", "files.path: the name begins"},
        {"    effect: read\n    files: {folder: notes, op: read, path: ':nam'}\n", ":nam is neither a parameter"},
        {"    effect: read\n    files: {folder: notes, op: read, path: ':session_x'}\n", "neither a parameter"},
        {"    effect: write\n    files: {folder: notes, op: read, path: ':name'}\n", "effect: op: list and read"},
        {"    effect: read\n    files: {folder: notes, op: write, path: ':name', content: x}\n", "say effect: write"},
        {"    effect: write\n    files: {folder: notes, op: write, path: ':name'}\n", "key 'content' is missing"},
        {"    effect: read\n    files: {folder: notes, op: list, replace: true}\n", "belongs to op: write"},
        {"    effect: read\n    files: {folder: notes, op: read, path: x, max_entries: 2}\n", "belongs to op: list"},
        {"    effect: write\n    files: {folder: /, op: write, path: ':name', content: x}\n", "the agent's own def"},
        {"    effect: read\n    files: {folder: notes, op: delete}\n", "none of list, read, write"},
    };
    agent_fixture f;
    prepare(&f, "refused");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        tool_expect_refusal(&f, NAME, cases[i].keys, cases[i].part);
    }
    fixture_close(&f);
}

static void muga_s_own_record_is_out_of_reach(void **state) {
    (void)state;
    agent_fixture f;
    prepare(&f, "own");
    tool_begin(&f, NAME, "    effect: read\n    files: {folder: /, op: read, path: ':name', subfolders: true}\n");
    tool_expect_failure(&f, "{'name': 'etc/hostname'}", "holds muga's own record, which no tool may touch");
    fixture_close(&f);
}

/* Somebody swaps a folder for a link and back, as fast as they can, while it is read: never the secret. */
static void a_folder_swapped_for_a_link_is_not_followed(void **state) {
    (void)state;
    agent_fixture f;
    char sub[1200], away[1200], spare[1200];
    prepare(&f, "race");
    fixture_write(&f, "outside/b.txt", "secret");
    snprintf(sub, sizeof sub, "%s/notes/sub", f.dir);
    snprintf(away, sizeof away, "%s/notes/away", f.dir);
    snprintf(spare, sizeof spare, "%s/notes/spare", f.dir);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 20000; i++) {
            (void)(rename(sub, spare) || rename(away, sub) || rename(sub, away) || rename(spare, sub));
        }
        _exit(0);
    }
    const os_files *files = &os_system()->files;
    char root[1200];
    snprintf(root, sizeof root, "%s/notes", f.dir);
    for (int i = 0; i < 20000; i++) {
        str text = STR_INIT;
        if (files->read_beneath(files->self, root, "sub/b.txt", 100, &text, NULL) == MUGA_OK) {
            assert_string_equal(str_get(&text), "below");
        }
        str_release(&text);
    }
    int end;
    assert_int_equal(waitpid(child, &end, 0), child);
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_whole_or_refused),
        cmocka_unit_test(no_name_leads_out_of_the_folder),
        cmocka_unit_test(a_long_name_is_refused),
        cmocka_unit_test(a_session_value_keeps_people_apart),
        cmocka_unit_test(a_listing_shows_what_can_be_named),
        cmocka_unit_test(a_write_makes_files_and_replaces_only_where_told),
        cmocka_unit_test(definitions_that_give_too_much_away_are_refused),
        cmocka_unit_test(muga_s_own_record_is_out_of_reach),
        cmocka_unit_test(a_folder_swapped_for_a_link_is_not_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
