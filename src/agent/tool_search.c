/* A tool that finds passages in a folder of text files. Owns: its definition, the folder's bounds, the result with its
 * sources. Refuses: another parameter than `query`, effect: write, a folder that is everything or the kernel's, a model
 * where nothing can make vectors. What it finds was written by whoever wrote the files: untrusted.
 *
 * The index lies in the agent's data, search-NAME.index, and is brought up to date by each call (search_index.c). */
#include "agent/internal.h"
#include "agent/search_index.h"

#include "os/sandbox.h"

#include <stdio.h>

enum { MAX_ENDINGS = 16, RESULTS_DEFAULT = 5 };

typedef struct tool_search {
    const agent_env *env;
    const manifest_tool *def;
    char *folder, *index_path;
    const char *model; /* NULL: words alone */
    const char *endings[MAX_ENDINGS];
    size_t n_ending;
    size_t n_result;
    uint64_t deadline_us;
    search_index *index; /* opened by the first call */
} tool_search;

static void close_tool(void *tool) {
    tool_search *t = tool;
    if (t) {
        search_index_close(t->index);
        free(t->folder);
        free(t->index_path);
        free(t);
    }
}

/* ---- the definition ---- */

static muga_status check_parameters(tool_setup *s, muga_error *err) {
    const json_t *properties = json_object_get(s->def->parameters, "properties"),
                 *query = json_object_get(properties, "query"),
                 *required = json_object_get(s->def->parameters, "required");
    const char *type = json_get_string(query, "type"), *first = json_string_value(json_array_get(required, 0));
    if (s->def->effect != EFFECT_READ) {
        return tool_fault(s, "/effect", err, "a search changes nothing; say effect: read");
    }
    if (json_object_size(properties) != 1 || !type || strcmp(type, "string") != 0 || !first ||
        strcmp(first, "query") != 0) {
        return tool_fault(s, "/parameters", err,
                          "a search takes one thing; write properties: {query: {type: string}}, required: [query]");
    }
    return MUGA_OK;
}

/* In the agent's data or else in its own folder. Without links, so that what lies in it can be told from what a link
 * leads to. */
static muga_status find_folder(tool_setup *s, tool_search *t, const char *name, muga_error *err) {
    static const char *const kernel[] = {"/proc", "/sys", "/dev"};
    str path = STR_INIT, real = STR_INIT;
    os_stat info;
    str_printf(&path, "%s%s%s", name[0] == '/' ? "" : s->m->data_dir, name[0] == '/' ? "" : "/", name);
    muga_status st = str_status(&path, err, "a folder");
    if (st == MUGA_OK) {
        st = s->env->files->stat(s->env->files->self, str_get(&path), &info, err);
    }
    if (st == MUGA_OK && info.type == OS_TYPE_NONE && name[0] != '/') {
        str_clear(&path);
        str_printf(&path, "%s/%s", s->m->dir, name);
        st = str_status(&path, err, "a folder");
    }
    if (st == MUGA_OK && strstr(name, "..")) {
        st = tool_fault(s, "/search/folder", err, "'%.100s' must not hold '..'", name);
    }
    if (st == MUGA_OK) {
        st = os_real_path(str_get(&path), &real, err);
    }
    if (st == MUGA_OK) {
        st = s->env->files->stat(s->env->files->self, str_get(&real), &info, err);
    }
    if (st == MUGA_OK && info.type != OS_TYPE_DIR) {
        st = tool_fault(s, "/search/folder", err, "'%.100s' is no folder", name);
    }
    for (size_t i = 0; i < ARRAY_LEN(kernel) && st == MUGA_OK; i++) {
        size_t n = strlen(kernel[i]);
        const char *p = str_get(&real);
        if (strcmp(p, "/") == 0 || (strncmp(p, kernel[i], n) == 0 && (p[n] == '/' || p[n] == '\0'))) {
            st = tool_fault(s, "/search/folder", err, "'%.100s' is no folder of documents", name);
        }
    }
    t->folder = st == MUGA_OK ? str_take(&real) : NULL;
    str_release(&path);
    str_release(&real);
    return st == MUGA_OK && !t->folder ? error_nomem(err, "a folder") : st;
}

static void read_definition(tool_search *t, const json_t *search) {
    static const char *const usual[] = {".md", ".markdown", ".txt"};
    const json_t *endings = json_object_get(search, "files");
    t->n_ending = endings ? MIN(json_array_size(endings), (size_t)MAX_ENDINGS) : ARRAY_LEN(usual);
    for (size_t i = 0; i < t->n_ending; i++) {
        t->endings[i] = endings ? json_string_value(json_array_get(endings, i)) : usual[i];
    }
    t->n_result = (size_t)json_get_int(search, "results", RESULTS_DEFAULT);
    t->model = json_get_string(search, "model");
}

static muga_status open_tool(tool_setup *s, void **out, muga_error *err) {
    const json_t *search = json_object_get(s->def->json, "search");
    muga_status st = check_parameters(s, err);
    tool_search *t = st == MUGA_OK ? calloc(1, sizeof *t) : NULL;
    if (!t) {
        return st == MUGA_OK ? error_nomem(err, "a tool") : st;
    }
    t->env = s->env;
    t->def = s->def;
    read_definition(t, search);
    snprintf(s->place, sizeof s->place, "/search/folder");
    st = find_folder(s, t, json_get_string(search, "folder"), err);
    if (st == MUGA_OK && t->model && !s->env->embedder) {
        st = tool_fault(s, "/search/model", err, "this program makes no vectors; leave model out to search by words");
    }
    if (st == MUGA_OK && t->model && s->env->embedder->find) {
        snprintf(s->place, sizeof s->place, "/search/model");
        st = s->env->embedder->find(s->env->embedder->self, t->model, err);
    }
    if (st == MUGA_OK) {
        str path = STR_INIT;
        str_printf(&path, "%s/search-%s.index", s->m->data_dir, s->def->name);
        t->index_path = str_take(&path);
        st = t->index_path ? MUGA_OK : error_nomem(err, "a tool");
    }
    if (st != MUGA_OK) {
        close_tool(t);
        return st;
    }
    *out = t;
    return MUGA_OK;
}

/* ---- a call ---- */

static bool is_late(void *ctx) {
    const tool_search *t = ctx;
    return t->env->clock->monotonic_us(t->env->clock->self) > t->deadline_us;
}

static muga_status open_index(tool_search *t, muga_error *err) {
    search_source source = {.files = t->env->files,
                            .folder = t->folder,
                            .endings = t->endings,
                            .n_ending = t->n_ending,
                            .embedder = t->model ? t->env->embedder : NULL,
                            .model = t->model,
                            .is_late = is_late,
                            .is_late_ctx = t};
    return t->index ? MUGA_OK : search_index_open(t->index_path, &source, &t->index, err);
}

/* As many of the best as asked for, and as fit; how many were left out for their length is said. */
static muga_status write_matches(tool_search *t, const search_hit *hits, size_t n, json_t *matches, size_t *n_left,
                                 muga_error *err) {
    size_t room = t->def->max_result_bytes - MIN(t->def->max_result_bytes, (size_t)256), wanted = MIN(n, t->n_result);
    muga_status st = MUGA_OK;
    *n_left = 0;
    for (size_t i = 0; i < wanted && st == MUGA_OK; i++) {
        json_t *passage = NULL;
        str written = STR_INIT;
        st = search_index_passage(t->index, hits[i].id, &passage, err);
        if (st == MUGA_OK) {
            json_write(passage, &written);
            st = str_status(&written, err, "a result");
        }
        if (st == MUGA_OK && written.len + 1 > room) {
            *n_left = wanted - i;
            i = wanted;
        } else if (st == MUGA_OK) {
            room -= written.len + 1;
            st = json_array_append(matches, passage) == 0 ? MUGA_OK : error_nomem(err, "a result");
        }
        str_release(&written);
        json_decref(passage);
    }
    return st;
}

static muga_status search(tool_search *t, const char *query, tool_run *out, muga_error *err) {
    search_hit hits[2 * SEARCH_LISTED];
    search_report report;
    size_t n = 0, n_left = 0;
    json_t *matches = json_array();
    muga_status st = matches ? open_index(t, err) : error_nomem(err, "a result");
    if (st == MUGA_OK) {
        st = search_index_update(t->index, &report, err);
    }
    if (st == MUGA_OK && report.left > 0) {
        st = error_set(
            err, MUGA_E_LIMIT,
            "indexing %.80s took longer than %lld ms (timeout_ms); %lld files or passages are left; call again",
            t->folder, (long long)t->def->timeout_ms, (long long)report.left);
    }
    if (st == MUGA_OK) {
        st = search_index_find(t->index, query, hits, &n, err);
    }
    if (st == MUGA_OK) {
        st = write_matches(t, hits, n, matches, &n_left, err);
    }
    if (st == MUGA_OK && n_left > 0 && json_array_size(matches) == 0) {
        st = error_set(err, MUGA_E_LIMIT, "a passage is longer than max_result_bytes (%zu); raise it",
                       t->def->max_result_bytes);
    }
    if (st == MUGA_OK) {
        json_t *result = json_pack("{s:O, s:s, s:I, s:I, s:I}", "matches", matches, "by",
                                   t->model ? "words and meaning" : "words", "left_out", (json_int_t)n_left, "files",
                                   (json_int_t)report.n_file, "files_skipped", (json_int_t)report.skipped);
        tool_give(out, t->def, result);
    }
    json_decref(matches);
    return st;
}

static void run_call(void *tool, const tool_call *c, tool_run *out) {
    tool_search *t = tool;
    muga_error why;
    const char *query = json_get_string(c->arguments, "query");
    t->deadline_us = t->env->clock->monotonic_us(t->env->clock->self) + (uint64_t)t->def->timeout_ms * 1000;
    if (search(t, query ? query : "", out, &why) != MUGA_OK) {
        tool_fail(out, "%s", why.message);
    }
}

/* Laid out as in docs/schema/agent.schema.json. */
static const char search_schema[] =
    "{\n"
    "            \"type\": \"object\", \"required\": [\"folder\"], \"additionalProperties\": false,\n"
    "            \"description\": \"finds passages in a folder of text files\",\n"
    "            \"properties\": {\n"
    "              \"folder\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1000, \"description\": \"in the "
    "agent's data or its folder, or absolute\"},\n"
    "              \"files\": {\"type\": \"array\", \"minItems\": 1, \"maxItems\": 16, \"items\": {\"type\": "
    "\"string\", \"pattern\": \"^\\\\.[A-Za-z0-9.]{1,16}$\"}, \"description\": \"endings like .md; .md, .markdown and "
    ".txt if not given\"},\n"
    "              \"results\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 20},\n"
    "              \"model\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 1000, \"description\": \"an "
    "embedding model's name or path; without one, words alone\"}\n"
    "            }\n"
    "          }";

const tool_kind tool_kind_search = {.keys = {{"search", search_schema}},
                                    .untrusted = true,
                                    .open = open_tool,
                                    .run = run_call,
                                    .settle = tool_settle_read,
                                    .close = close_tool};
