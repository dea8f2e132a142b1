/* A tool on the files of one folder: list it, read a file, write one. Owns: what a name may look like, the bounds, what
 * folder may be given away at all. Refuses: names that lead out of the folder or that a person could not tell apart on
 * a screen, links, what is no regular file or no text, muga's own records, and to write where the agent is defined.
 *
 * A write: its content whole under a name of the call's own, a note in the journal, one step into its place. So after a
 * crash it is known whether that step was taken.
 *
 * Two walls: what a value may bring into a name is checked here, and the walk to the file (os/beneath.c) follows no
 * link and no "..", whatever the name. */
#include "agent/internal.h"
#include "agent/tool_text.h"

#include "base/utf8.h"

#include <stdio.h>
#include <utf8proc.h>

#define ENTRIES_DEFAULT 200
#define COMPONENT_MAX_BYTES 255
#define MAX_ANCESTORS 64
#define DRAFT_SIZE (AGENT_ID_SIZE + 8)

typedef enum { FILES_LIST, FILES_READ, FILES_WRITE } files_op;

typedef struct tool_files {
    const agent_env *env;
    const manifest_tool *def;
    files_op op;
    char *folder;
    tool_text path, content; /* content: of a write */
    bool subfolders, replace;
    size_t max_entries;
} tool_files;

/* ---- names ---- */

/* Nothing that is not seen, or that turns the text around it. */
static bool is_visible(uint32_t cp) {
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return cp == ' '; /* a no-break space looks like one and is another name */
    default: return true;
    }
}

/* What is wrong with a component as part of a name; NULL: nothing. */
static const char *fault_of(const char *p, size_t n) {
    if (n == 0) {
        return "is empty, or holds an empty part";
    }
    if (n > COMPONENT_MAX_BYTES) {
        return "is longer than 255 bytes";
    }
    if (p[0] == '.') {
        return "begins with a dot, or leads out of the folder";
    }
    if (p[0] == ' ' || p[n - 1] == ' ') {
        return "begins or ends with a blank";
    }
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        size_t k = utf8_decode(p + i, n - i, &cp);
        if (k == 0 || !is_visible(cp)) {
            return "holds characters that can't be seen";
        }
        i += k;
    }
    return NULL;
}

static const char *fault_of_path(const char *p, size_t n) {
    for (const char *end = p + n;;) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        const char *fault = fault_of(p, (size_t)((slash ? slash : end) - p));
        if (fault || !slash) {
            return fault;
        }
        p = slash + 1;
    }
}

/* The name for this call: values stand for one component each, unless subfolders: true. */
static bool make_name(const tool_files *t, const tool_call *c, str *out, tool_run *run) {
    for (size_t i = 0; i < t->path.n_parts; i++) {
        const tool_text_part *p = &t->path.parts[i];
        str_append(out, p->literal.p, p->literal.n);
        size_t from = out->len;
        if (p->name && !tool_text_write_value(p, c, out, run)) {
            return false;
        }
        if (p->name && !out->failed && memchr(str_get(out) + from, '/', out->len - from) &&
            (!t->subfolders || p->of_session)) {
            return tool_fail(run, "%.80s holds a '/'; give a name in this folder", p->name);
        }
    }
    if (out->failed) {
        return tool_fail(run, "out of memory");
    }
    const char *fault = t->path.n_parts > 0 ? fault_of_path(str_get(out), out->len) : NULL;
    return fault ? tool_fail(run, "the name %s; give another", fault) : true;
}

/* ---- folders that no tool gets ---- */

/* Is `inner` the folder `outer` or somewhere below it? Looked at by identity, so links don't matter. */
static muga_status is_below(const os_files *files, const char *outer, const char *inner, bool *below, muga_error *err) {
    os_stat wanted, at, last = {.inode = 0};
    str path = STR_INIT;
    *below = false;
    muga_status st = files->stat(files->self, outer, &wanted, err);
    str_append_s(&path, inner);
    for (int i = 0; st == MUGA_OK && i < MAX_ANCESTORS; i++) {
        st = str_status(&path, err, inner);
        st = st == MUGA_OK ? files->stat(files->self, str_get(&path), &at, err) : st;
        *below = *below ||
                 (st == MUGA_OK && at.type == OS_TYPE_DIR && at.device == wanted.device && at.inode == wanted.inode);
        if (*below || at.type != OS_TYPE_DIR || (at.device == last.device && at.inode == last.inode)) {
            break; /* found, or the root */
        }
        last = at;
        str_append_s(&path, "/..");
    }
    str_release(&path);
    return st;
}

/* The folder of muga.db holds the record and the keys. */
static bool refuse_own_records(const tool_files *t, const tool_call *c, tool_run *run) {
    const char *path = c->session ? store_path(c->session->store) : "", *slash = strrchr(path, '/');
    char *home = slash ? mem_copy_bytes(path, MAX((size_t)(slash - path), (size_t)1)) : mem_copy_string(".");
    bool below = false;
    muga_error why = {MUGA_E_NOMEM, "out of memory"};
    muga_status st = home ? MUGA_OK : MUGA_E_NOMEM;
    if (st == MUGA_OK && *path) {
        st = is_below(t->env->files, t->folder, home, &below, &why);
    }
    free(home);
    if (st != MUGA_OK) {
        return tool_fail(run, "%s", why.message);
    }
    return below ? tool_fail(run, "folder %.100s holds muga's own record, which no tool may touch; take another",
                             t->folder)
                 : true;
}

/* ---- running ---- */

static bool is_text(const str *s) {
    return utf8_valid(str_get(s), s->len) && !memchr(str_get(s), '\0', s->len);
}

/* {"path": "a.txt", "text": "..."} */
static bool run_read(const tool_files *t, const char *name, tool_run *out) {
    const os_files *files = t->env->files;
    str text = STR_INIT;
    muga_error why;
    bool ok = files->read_beneath(files->self, t->folder, name, t->def->max_result_bytes, &text, &why) == MUGA_OK;
    if (!ok) {
        tool_fail(out, why.status == MUGA_E_LIMIT ? "%s; raise max_result_bytes" : "%s", why.message);
    } else if (!is_text(&text)) {
        ok = tool_fail(out, "%.180s is not text (UTF-8), and only text is read", name);
    } else {
        ok = tool_give(out, t->def, json_pack("{s:s, s:s%}", "path", name, "text", str_get(&text), text.len));
    }
    str_release(&text);
    return ok;
}

static json_t *describe(const os_entry *e) {
    const char *type = e->info.type == OS_TYPE_FILE ? "file" : e->info.type == OS_TYPE_DIR ? "folder" : "other";
    return e->info.type == OS_TYPE_FILE
               ? json_pack("{s:s, s:s, s:I}", "name", e->name, "type", type, "bytes", (json_int_t)e->info.size)
               : json_pack("{s:s, s:s}", "name", e->name, "type", type);
}

/* {"entries": [{"name", "type", "bytes"}], "unnamed": n}: those whose names no call could give are only counted. */
static bool run_list(const tool_files *t, const char *name, tool_run *out) {
    const os_files *files = t->env->files;
    os_entry *list = NULL;
    size_t n = 0;
    json_int_t unnamed = 0;
    muga_error why;
    if (files->list_beneath(files->self, t->folder, name, t->max_entries, &list, &n, &why) != MUGA_OK) {
        return tool_fail(out, why.status == MUGA_E_LIMIT ? "%s; raise files.max_entries" : "%s", why.message);
    }
    json_t *entries = json_array(), *result = NULL;
    bool ok = entries != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        if (fault_of(list[i].name, strlen(list[i].name))) {
            unnamed++;
        } else {
            ok = json_array_append_new(entries, describe(&list[i])) == 0;
        }
    }
    if (ok) {
        result = unnamed ? json_pack("{s:O, s:I}", "entries", entries, "unnamed", unnamed)
                         : json_pack("{s:O}", "entries", entries);
    }
    json_decref(entries);
    os_entries_free(list, n);
    return tool_give(out, t->def, result);
}

static bool make_content(const tool_files *t, const tool_call *c, str *out, tool_run *run) {
    for (size_t i = 0; i < t->content.n_parts; i++) {
        const tool_text_part *p = &t->content.parts[i];
        str_append(out, p->literal.p, p->literal.n);
        if (p->name && !tool_text_write_value(p, c, out, run)) {
            return false;
        }
    }
    return out->failed     ? tool_fail(run, "out of memory")
           : !is_text(out) ? tool_fail(run, "the content holds a NUL, which no text file has")
                           : true;
}

/* No other call has it. */
static void name_draft(const tool_call *c, char out[DRAFT_SIZE]) {
    snprintf(out, DRAFT_SIZE, ".muga-%s", c->id);
}

typedef struct noting {
    const tool_call *c;
    const json_t *result;
} noting;

static muga_status note(void *ctx, bool ready, muga_error *err) {
    const noting *x = ctx;
    store *s = x->c->session->store;
    muga_status st = store_begin(s, err);
    if (st == MUGA_OK) {
        st = tool_prepare(x->c, ready ? x->result : NULL, err);
        store_end(s, &st, err);
    }
    return st;
}

/* {"path": "a.txt", "bytes": n}; 64 bytes is the least that max_result_bytes can say, and it must fit once it is done.
 */
static json_t *describe_write(const tool_files *t, const char *name, size_t n) {
    json_int_t bytes = (json_int_t)n;
    bool fits = strlen(name) + 64 < t->def->max_result_bytes;
    return fits ? json_pack("{s:s, s:I}", "path", name, "bytes", bytes) : json_pack("{s:I}", "bytes", bytes);
}

static bool run_write(const tool_files *t, const tool_call *c, const char *name, tool_run *out) {
    const os_files *files = t->env->files;
    str content = STR_INIT;
    muga_error why;
    char draft[DRAFT_SIZE];
    bool placed = false;
    name_draft(c, draft);
    bool ok = make_content(t, c, &content, out);
    json_t *result = ok ? describe_write(t, name, content.len) : NULL;
    ok = ok && (result || tool_fail(out, "out of memory"));
    if (ok) {
        noting n = {c, result};
        const os_beneath_write w = {.root = t->folder,
                                    .name = name,
                                    .bytes = str_get(&content),
                                    .n = content.len,
                                    .replace = t->replace,
                                    .draft = draft,
                                    .note = note,
                                    .ctx = &n};
        ok = files->write_beneath(files->self, &w, &placed, &why) == MUGA_OK || tool_fail(out, "%s", why.message);
        out->in_doubt = !ok && placed && !t->def->idempotent; /* it is there, and a power cut may undo it */
    }
    if (ok) {
        ok = tool_give(out, t->def, json_incref(result));
        out->in_doubt = !ok;
    }
    json_decref(result);
    str_release(&content);
    return ok;
}

static void run_call(void *tool, const tool_call *c, tool_run *out) {
    const tool_files *t = tool;
    str name = STR_INIT;
    out->final = true; /* what fails here fails again */
    if (refuse_own_records(t, c, out) && make_name(t, c, &name, out)) {
        switch (t->op) {
        case FILES_LIST: run_list(t, str_get(&name), out); break;
        case FILES_READ: run_read(t, str_get(&name), out); break;
        case FILES_WRITE: run_write(t, c, str_get(&name), out); break;
        }
    }
    str_release(&name);
}

/* The draft is there until it is the file. Before the note it never was anything else. */
static muga_status settle_call(void *tool, const tool_call *c, const json_t *prepared, tool_settled *settled,
                               json_t **result, muga_error *err) {
    const tool_files *t = tool;
    const os_files *files = t->env->files;
    if (t->op != FILES_WRITE || !prepared) {
        return tool_settle_read(tool, c, prepared, settled, result, err);
    }
    str name = STR_INIT, path = STR_INIT;
    char draft[DRAFT_SIZE];
    tool_run run = {.ok = false};
    os_stat info;
    *result = NULL;
    *settled = SETTLED_UNKNOWN;
    muga_status st = make_name(t, c, &name, &run) ? MUGA_OK : error_set(err, MUGA_E_INPUT, "%s", run.reason);
    if (st == MUGA_OK) {
        const char *slash = strrchr(str_get(&name), '/');
        name_draft(c, draft);
        str_append(&path, str_get(&name), slash ? (size_t)(slash + 1 - str_get(&name)) : 0);
        str_append_s(&path, draft);
        st = str_status(&path, err, "a path");
    }
    if (st == MUGA_OK) {
        st = files->look_beneath(files->self, t->folder, str_get(&path), &info, err);
    }
    if (st == MUGA_OK) {
        *settled = info.type == OS_TYPE_NONE ? SETTLED_RAN : SETTLED_NOT_RUN;
        *result = info.type == OS_TYPE_NONE ? json_incref(json_borrow(prepared)) : NULL;
    }
    str_release(&name);
    str_release(&path);
    return st;
}

/* ---- opening ---- */

static void close_tool(void *tool) {
    tool_files *t = tool;
    if (t) {
        tool_text_release(&t->path);
        tool_text_release(&t->content);
        free(t->folder);
        free(t);
    }
}

static muga_status find_folder(tool_setup *s, tool_files *t, const char *name, muga_error *err) {
    str path = STR_INIT;
    os_stat info;
    bool below = false;
    snprintf(s->place, sizeof s->place, "/files/folder");
    if (name[0] != '/' && fault_of_path(name, strlen(name))) {
        return tool_fault(s, "/files/folder", err,
                          "folder %.100s must lie in the agent's data folder; or give an absolute path", name);
    }
    str_printf(&path, "%s%s%s", name[0] == '/' ? "" : s->m->data_dir, name[0] == '/' ? "" : "/", name);
    t->folder = str_take(&path);
    if (!t->folder) {
        return error_nomem(err, "a path");
    }
    const os_files *files = s->env->files;
    muga_status st = files->stat(files->self, t->folder, &info, err);
    if (st == MUGA_OK && info.type != OS_TYPE_DIR) {
        return error_set(err, info.type == OS_TYPE_NONE ? MUGA_E_NOT_FOUND : MUGA_E_INPUT, "folder %s %s", t->folder,
                         info.type == OS_TYPE_NONE ? "is not there; make it first" : "is not a folder");
    }
    if (st == MUGA_OK && t->op == FILES_WRITE) {
        st = is_below(files, t->folder, s->m->dir, &below, err);
    }
    return st == MUGA_OK && below ? error_set(err, MUGA_E_POLICY,
                                              "folder %s holds the agent's own definition, which no tool may change; "
                                              "take another",
                                              t->folder)
                                  : st;
}

static muga_status check_keys(tool_setup *s, const json_t *v, files_op op, muga_error *err) {
    if ((op == FILES_WRITE) != (s->def->effect == EFFECT_WRITE)) {
        return tool_fault(s, "/effect", err,
                          op == FILES_WRITE ? "op: write changes files; say effect: write"
                                            : "op: list and read change nothing; say effect: read");
    }
    if (op != FILES_LIST && !json_object_get(v, "path")) {
        return tool_fault(s, "/files", err, "key 'path' is missing: which file, as in path: \":name\"");
    }
    if (op == FILES_WRITE && !json_object_get(v, "content")) {
        return tool_fault(s, "/files", err, "key 'content' is missing: what to write, as in content: \":text\"");
    }
    for (size_t i = 0; op != FILES_WRITE && i < 2; i++) {
        const char *key = i ? "replace" : "content", *place = i ? "/files/replace" : "/files/content";
        if (json_object_get(v, key)) {
            return tool_fault(s, place, err, "belongs to op: write; remove it");
        }
    }
    return op != FILES_LIST && json_object_get(v, "max_entries")
               ? tool_fault(s, "/files/max_entries", err, "belongs to op: list; remove it")
               : MUGA_OK;
}

static muga_status fill_tool(tool_setup *s, tool_files *t, const json_t *v, muga_error *err) {
    const char *path = json_get_string(v, "path"), *content = json_get_string(v, "content");
    muga_status st = check_keys(s, v, t->op, err);
    if (st == MUGA_OK && path) {
        st = tool_text_parse(s, "/files/path", path, &t->path, err);
    }
    if (st == MUGA_OK && path && t->path.n_parts == 1 && fault_of_path(path, strlen(path))) {
        st = tool_fault(s, "/files/path", err, "the name %s; give another", fault_of_path(path, strlen(path)));
    }
    if (st == MUGA_OK && content) {
        st = tool_text_parse(s, "/files/content", content, &t->content, err);
    }
    return st == MUGA_OK ? find_folder(s, t, json_get_string(v, "folder"), err) : st;
}

static muga_status open_tool(tool_setup *s, void **out, muga_error *err) {
    const json_t *v = json_object_get(s->def->json, "files");
    const char *op = json_get_string(v, "op");
    tool_files *t = calloc(1, sizeof *t);
    if (!t) {
        return error_nomem(err, "a tool");
    }
    t->env = s->env;
    t->def = s->def;
    t->op = strcmp(op, "list") == 0 ? FILES_LIST : strcmp(op, "read") == 0 ? FILES_READ : FILES_WRITE;
    t->subfolders = json_get_bool(v, "subfolders", false);
    t->replace = json_get_bool(v, "replace", false);
    s->untrusted = s->untrusted && t->op != FILES_WRITE; /* a write gives a name and a number back */
    t->max_entries = (size_t)json_get_int(v, "max_entries", ENTRIES_DEFAULT);
    muga_status st = fill_tool(s, t, v, err);
    if (st == MUGA_OK) {
        *out = t;
    } else {
        close_tool(t);
    }
    return st;
}

/* Laid out as in docs/schema/agent.schema.json. */
static const char files_schema[] =
    "{\n"
    "            \"type\": \"object\", \"required\": [\"folder\", \"op\"], \"additionalProperties\": false,\n"
    "            \"properties\": {\n"
    "              \"folder\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1000, \"description\": \"a "
    "folder in the agent's data folder, or an absolute path\"},\n"
    "              \"op\": {\"enum\": [\"list\", \"read\", \"write\"]},\n"
    "              \"path\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1000, \"description\": \"which "
    "file, beneath the folder; :name is a parameter, :session_name a session value\"},\n"
    "              \"content\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 10000, \"description\": "
    "\"what to write, with values like path\"},\n"
    "              \"replace\": {\"type\": \"boolean\", \"description\": \"write over a file that is there\"},\n"
    "              \"subfolders\": {\"type\": \"boolean\", \"description\": \"a parameter may hold '/'\"},\n"
    "              \"max_entries\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 100000}\n"
    "            }\n"
    "          }";

const tool_kind tool_kind_files = {.keys = {{"files", files_schema}},
                                   .untrusted = true, /* files come from anywhere */
                                   .open = open_tool,
                                   .run = run_call,
                                   .settle = settle_call,
                                   .close = close_tool};
