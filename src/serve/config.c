/* A config: values from all sources, the struct made of them, reading anew. Refuses what is wrong by file and line, by
 * variable or by flag.
 *
 * Idea: each setting has one value, as JSON in its one form (config_private.h), with where it came from; a later source
 * replaces it. The struct is made of the values at the end, so that a reload is: read all again, put back what can't
 * change while it serves, make the struct. */
#include "serve/config_private.h"

#include "agent/agent.h"
#include "agent/check.h"
#include "kernel/kernel.h"

#include <math.h>
#include <stdio.h>

#define CONFIG_MAX_BYTES ((size_t)1 << 20)
#define DEFAULT_PORT "8484"

/* ---- values ---- */

static muga_status put(serve_config *c, size_t i, json_t *v, config_source source, const char *origin,
                       muga_error *err) {
    char *copy = mem_copy_string(origin);
    if (!copy) {
        json_decref(v);
        return error_nomem(err, "configuration");
    }
    config_value *at = &c->parts->v[i];
    json_decref(at->v);
    free(at->origin);
    *at = (config_value){v, source, copy};
    return MUGA_OK;
}

static muga_status put_defaults(serve_config *c, muga_error *err) {
    size_t n;
    const config_setting *rows = config_settings(&n);
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < n && !st; i++) {
        config_why why;
        if (rows[i].otherwise && config_read_text(&rows[i], rows[i].otherwise, &c->parts->v[i].v, &why))
            st = error_set(err, MUGA_E_NOMEM, "%s: %s", rows[i].key, why.text);
    }
    return st;
}

/* ---- the file ---- */

/* "/limits/body_bytes" of "limits.body_bytes". */
static void write_pointer(const char *key, char out[64]) {
    snprintf(out, 64, "/%s", key);
    char *dot = strchr(out, '.');
    if (dot)
        *dot = '/';
}

static const json_t *look_up(const json_t *root, const char *key) {
    char section[64];
    const char *dot = strchr(key, '.');
    if (!dot)
        return json_object_get(root, key);
    snprintf(section, sizeof section, "%.*s", (int)(dot - key), key);
    return json_object_get(json_object_get(root, section), dot + 1);
}

static muga_status read_model(const check_place *at, const json_t *in, const str *pointer, json_t **out,
                              muga_error *err) {
    size_t n;
    const config_setting *rows = config_model_settings(&n);
    muga_status st = (*out = json_object()) ? MUGA_OK : error_nomem(err, "configuration");
    for (size_t i = 0; i < n && !st; i++) {
        const json_t *member = json_object_get(in, rows[i].key);
        config_why why;
        json_t *v = NULL;
        char place[512];
        snprintf(place, sizeof place, "%s/%s", str_get(pointer), rows[i].key);
        if (member && (st = config_read_json(&rows[i], member, &v, &why)))
            st = check_fail(at, st, place, err, "%s", why.text);
        else if (member && json_object_set_new(*out, rows[i].key, v))
            st = error_nomem(err, "configuration");
    }
    return st;
}

static muga_status read_models(const check_place *at, const json_t *in, json_t **out, muga_error *err) {
    const char *name;
    json_t *one;
    muga_status st = (*out = json_object()) ? MUGA_OK : error_nomem(err, "configuration");
    json_object_foreach(json_borrow(in), name, one) {
        json_t *made = NULL;
        str pointer = STR_INIT;
        str_append_s(&pointer, "/models/options");
        check_push_token(&pointer, name);
        if (!st)
            st = read_model(at, one, &pointer, &made, err);
        if (!st && json_object_set(*out, name, made))
            st = error_nomem(err, "configuration");
        json_decref(made);
        str_release(&pointer);
    }
    if (st) {
        json_decref(*out);
        *out = NULL;
    }
    return st;
}

static muga_status put_file_value(serve_config *c, const check_place *at, size_t i, const json_t *in, muga_error *err) {
    size_t n;
    const config_setting *s = &config_settings(&n)[i];
    char pointer[64], origin[128];
    config_why why;
    json_t *v = NULL;
    write_pointer(s->key, pointer);
    muga_status st = s->kind == CONFIG_MODELS ? read_models(at, in, &v, err) : config_read_json(s, in, &v, &why);
    if (st)
        return s->kind == CONFIG_MODELS ? st : check_fail(at, st, pointer, err, "%s", why.text);
    snprintf(origin, sizeof origin, "%s:%lld", at->file, (long long)yaml_line(at->places, pointer));
    return put(c, i, v, CONFIG_FILE, origin, err);
}

static muga_status check_file(const check_place *at, const json_t *root, muga_error *err) {
    str text = STR_INIT;
    json_t *schema = NULL;
    muga_status st = config_schema_write(&text, err);
    if (!st)
        st = json_parse(str_get(&text), text.len, "serve.schema.json", &schema, err);
    if (!st)
        st = check_schema(at, schema, root, err);
    json_decref(schema);
    str_release(&text);
    return st;
}

static muga_status put_file(serve_config *c, const config_sources *s, muga_error *err) {
    str text = STR_INIT;
    json_t *root = NULL, *places = NULL;
    char name[96];
    os_stat info = {.type = OS_TYPE_NONE};
    muga_status st = s->file ? s->files->stat(s->files->self, s->file, &info, err) : MUGA_OK;
    if (st || (info.type == OS_TYPE_NONE && !s->must_exist))
        return st;
    size_t n = strlen(s->file);
    snprintf(name, sizeof name, "%s%s", n < sizeof name ? "" : "...", s->file + (n < sizeof name ? 0 : n - 80));
    if (info.type == OS_TYPE_NONE)
        return error_set(err, MUGA_E_NOT_FOUND, "%s: there is no such file", name);
    st = os_read_file(s->files, s->file, CONFIG_MAX_BYTES, &text, err);
    if (!st)
        st = yaml_parse_places(str_get(&text), text.len, name, &root, &places, err);
    check_place at = {name, places};
    if (!st && !json_is_null(root))
        st = check_file(&at, root, err);
    size_t n_rows;
    const config_setting *rows = config_settings(&n_rows);
    for (size_t i = 0; i < n_rows && !st; i++) {
        const json_t *in = look_up(root, rows[i].key);
        if (in)
            st = put_file_value(c, &at, i, in, err);
    }
    json_decref(root);
    json_decref(places);
    str_release(&text);
    return st;
}

/* ---- variables and flags ---- */

static bool find_setting(const char *key, size_t *out) {
    size_t n;
    const config_setting *rows = config_settings(&n);
    for (*out = 0; *out < n; ++*out)
        if (!strcmp(rows[*out].key, key))
            return true;
    return false;
}

static muga_status unknown_key(const config_given *g, muga_status status, muga_error *err) {
    size_t n;
    const config_setting *rows = config_settings(&n);
    json_t *keys = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(keys, json_string(rows[i].key)); /* fewer: a worse hint */
    const char *near = check_nearest(keys, g->key);
    muga_status st = error_set(err, status, "%s: there is no setting '%.60s'%s%s%s; `muga config` lists them", g->from,
                               g->key, near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
    json_decref(keys);
    return st;
}

/* Flags may be given several times: texts and aliases are added to those of flags before, anything else replaces. */
static muga_status join(config_value *before, config_source source, const config_setting *s, json_t *v) {
    if (before->source != source || (s->kind != CONFIG_TEXTS && s->kind != CONFIG_ALIASES))
        return MUGA_OK;
    json_t *all = json_clone(before->v);
    bool failed = !all || (s->kind == CONFIG_TEXTS ? json_array_extend(all, v) : json_object_update(all, v));
    failed = failed ||
             (s->kind == CONFIG_TEXTS ? json_array_clear(v) || json_array_extend(v, all) : json_object_update(v, all));
    json_decref(all);
    return failed ? MUGA_E_NOMEM : MUGA_OK;
}

static muga_status put_given(serve_config *c, const config_given *list, size_t n, config_source source,
                             muga_error *err) {
    muga_status status = source == CONFIG_FLAG ? MUGA_E_USAGE : MUGA_E_INPUT;
    for (size_t k = 0; k < n; k++) {
        size_t i, n_rows;
        config_why why;
        json_t *v;
        if (!find_setting(list[k].key, &i))
            return unknown_key(&list[k], status, err);
        const config_setting *s = &config_settings(&n_rows)[i];
        muga_status st = config_read_text(s, list[k].value, &v, &why);
        if (st)
            return error_set(err, st == MUGA_E_NOMEM ? st : status, "%s: %s %s", list[k].from, s->key, why.text);
        if (join(&c->parts->v[i], source, s, v)) {
            json_decref(v);
            return error_nomem(err, "configuration");
        }
        if (s->kind == CONFIG_TEXTS && json_array_size(v) > CONFIG_MAX_TEXTS) {
            json_decref(v);
            return error_set(err, status, "%s: more than %u values", list[k].from, CONFIG_MAX_TEXTS);
        }
        if ((st = put(c, i, v, source, list[k].from, err)))
            return st;
    }
    return MUGA_OK;
}

/* ---- the struct ---- */

static const json_t *value(const serve_config *c, size_t i) {
    return c->parts->v[i].v;
}

static const char *text(const serve_config *c, size_t i) {
    return json_string_value(value(c, i));
}

static uint64_t number(const serve_config *c, size_t i) {
    return (uint64_t)json_integer_value(value(c, i));
}

static uint32_t short_number(const serve_config *c, size_t i) { /* the table's ranges fit, in ms too */
    return (uint32_t)json_integer_value(value(c, i));
}

static int64_t forever_ms(const json_t *v) {
    int64_t ms = json_integer_value(v);
    return ms < 0 ? CONFIG_FOREVER_MS : ms;
}

static int choice(const config_setting *s, const char *word) {
    int k = 0;
    for (const char *p = s->choices; *p; p += strspn(p, " "), k++) {
        size_t n = strcspn(p, " ");
        if (strlen(word) == n && !memcmp(p, word, n))
            break;
        p += n;
    }
    return k;
}

static int chosen(const serve_config *c, size_t i) {
    size_t n;
    return choice(&config_settings(&n)[i], text(c, i));
}

static bool fill_texts(serve_config *c, size_t i, config_texts *out) {
    size_t k, n = json_array_size(value(c, i));
    json_t *one;
    *out = (config_texts){arena_alloc(&c->parts->mem, (n + 1) * sizeof *out->v), 0};
    if (!out->v)
        return false;
    json_array_foreach(json_borrow(value(c, i)), k, one) out->v[out->n++] = json_string_value(one);
    return true;
}

/* "localhost" -> "localhost:8484", "[::1]", "::1" likewise; http:// before it and a slash behind are what
 * variables for clients have. */
static const char *full_address(serve_config *c, const char *where) {
    if (!strncmp(where, "unix:", 5))
        return where;
    if (!strncmp(where, "http://", 7))
        where += 7;
    size_t n = strcspn(where, "/");
    const char *colon = memchr(where, ':', n), *end = memrchr(where, ']', n);
    bool many = colon && memchr(colon + 1, ':', n - (size_t)(colon + 1 - where));
    bool bare = many && where[0] != '[';
    bool has_port = end ? end + 1 < where + n : colon && !bare;
    return arena_printf(&c->parts->mem, "%s%.*s%s%s", bare ? "[" : "", (int)n, where, bare ? "]" : "",
                        has_port ? "" : ":" DEFAULT_PORT);
}

static bool fill_listen(serve_config *c) {
    if (!fill_texts(c, SET_LISTEN, &c->listen))
        return false;
    for (size_t i = 0; i < c->listen.n; i++)
        if (!(c->listen.v[i] = full_address(c, c->listen.v[i])))
            return false;
    return true;
}

static bool fill_aliases(serve_config *c) {
    const json_t *map = value(c, SET_ALIASES);
    const char *name;
    json_t *model;
    c->aliases = arena_alloc(&c->parts->mem, (json_object_size(map) + 1) * sizeof *c->aliases);
    if (!c->aliases)
        return false;
    json_object_foreach(json_borrow(map), name, model)
        c->aliases[c->n_aliases++] = (config_alias){name, json_string_value(model)};
    return true;
}

/* "FILE" or "FILE:SCALE". */
static bool fill_adapter(serve_config *c, config_model *m, const char *said) {
    const char *colon = strrchr(said, ':');
    char *end = NULL;
    m->adapter_scale = colon && colon[1] ? strtof(colon + 1, &end) : 1;
    bool scaled = end && !*end && isfinite(m->adapter_scale) && colon > said;
    if (!scaled)
        m->adapter_scale = 1;
    m->adapter = arena_copy_bytes(&c->parts->mem, said, scaled ? (size_t)(colon - said) : strlen(said));
    return m->adapter != NULL;
}

static bool is_pinned(const serve_config *c, const char *name) {
    for (size_t i = 0; i < c->pinned.n; i++)
        if (!strcmp(c->pinned.v[i], name))
            return true;
    return false;
}

static bool fill_model(serve_config *c, const char *name, const json_t *said, config_model *m) {
    size_t n;
    const config_setting *rows = config_model_settings(&n);
    const char *kv = json_get_string(said, "kv"), *drafts = json_get_string(said, "drafts"),
               *adapter = json_get_string(said, "adapter");
    *m = (config_model){.name = name, .settings = c->all, .adapter_scale = 1};
    m->settings.n_ctx = (uint32_t)json_get_int(said, "context", c->all.n_ctx);
    m->settings.n_threads = (int)json_get_int(said, "threads", c->all.n_threads);
    m->settings.exact = json_get_bool(said, "exact", c->all.exact);
    m->settings.pinned = is_pinned(c, name);
    for (size_t i = 0; i < n; i++) {
        if (kv && !strcmp(rows[i].key, "kv"))
            m->settings.kv = choice(&rows[i], kv);
        if (drafts && !strcmp(rows[i].key, "drafts"))
            m->settings.drafts = (llm_drafts)choice(&rows[i], drafts);
    }
    if (json_object_get(said, "keep_alive"))
        m->settings.keep_alive_ms = forever_ms(json_object_get(said, "keep_alive"));
    return !adapter || fill_adapter(c, m, adapter);
}

/* Those of models.options, and the pinned ones besides. */
static bool fill_models(serve_config *c) {
    const json_t *map = value(c, SET_OPTIONS);
    const char *name;
    json_t *said;
    bool ok = fill_texts(c, SET_PINNED, &c->pinned);
    c->models = ok ? arena_alloc(&c->parts->mem, (json_object_size(map) + c->pinned.n + 1) * sizeof *c->models) : NULL;
    if (!c->models)
        return false;
    json_object_foreach(json_borrow(map), name, said) ok = ok && fill_model(c, name, said, &c->models[c->n_models++]);
    for (size_t i = 0; i < c->pinned.n && ok; i++)
        if (!json_object_get(map, c->pinned.v[i]))
            ok = fill_model(c, c->pinned.v[i], NULL, &c->models[c->n_models++]);
    return ok;
}

static void fill_limits(serve_config *c) {
    c->limits = (server_limits){.header_line_bytes = number(c, SET_HEADER_BYTES),
                                .n_headers = number(c, SET_HEADERS),
                                .target_bytes = number(c, SET_TARGET_BYTES),
                                .body_bytes = number(c, SET_BODY_BYTES),
                                .output_bytes = number(c, SET_OUTPUT_BYTES),
                                .n_connections = short_number(c, SET_CONNECTIONS),
                                .n_connections_peer = short_number(c, SET_CONNECTIONS_PEER),
                                .header_ms = short_number(c, SET_HEADER_TIME),
                                .body_ms = short_number(c, SET_BODY_TIME),
                                .idle_ms = short_number(c, SET_IDLE_TIME),
                                .write_ms = short_number(c, SET_WRITE_TIME)};
    c->n_running = short_number(c, SET_RUNNING);
    c->n_waiting = short_number(c, SET_WAITING);
    c->n_shared = short_number(c, SET_SHARED);
    c->drain_ms = short_number(c, SET_DRAIN);
}

static muga_status fill(serve_config *c, muga_error *err) {
    fill_limits(c);
    c->certificate = text(c, SET_CERTIFICATE);
    c->private_key = text(c, SET_PRIVATE_KEY);
    c->memory_bytes = number(c, SET_MEMORY);
    c->all = (pool_settings){.n_ctx = short_number(c, SET_CONTEXT),
                             .n_threads = (int)number(c, SET_THREADS),
                             .kv = chosen(c, SET_KV),
                             .exact = json_is_true(value(c, SET_EXACT)),
                             .drafts = (llm_drafts)chosen(c, SET_DRAFTS),
                             .keep_alive_ms = forever_ms(value(c, SET_KEEP_ALIVE))};
    c->packed = json_is_true(value(c, SET_PACKED));
    c->model = text(c, SET_MODEL);
    c->anonymous = text(c, SET_ANONYMOUS);
    c->usage_days = short_number(c, SET_USAGE_DAYS);
    c->log_level = (log_level)chosen(c, SET_LOG_LEVEL);
    c->log_format = chosen(c, SET_LOG_FORMAT);
    c->log_contents = json_is_true(value(c, SET_LOG_CONTENTS));
    c->metrics = json_is_true(value(c, SET_METRICS));
    c->metrics_open = json_is_true(value(c, SET_METRICS_OPEN));
    if (!fill_listen(c) || !fill_texts(c, SET_HOSTS, &c->hosts) || !fill_texts(c, SET_ORIGINS, &c->origins) ||
        !fill_texts(c, SET_AGENTS, &c->agents) || !fill_aliases(c) || !fill_models(c))
        return error_nomem(err, "configuration");
    if (!c->listen.n)
        return error_set(err, MUGA_E_INPUT, "listen: at least one address; leave it out for 127.0.0.1:" DEFAULT_PORT);
    if (!c->certificate != !c->private_key) {
        const config_value *given = &c->parts->v[c->certificate ? SET_CERTIFICATE : SET_PRIVATE_KEY];
        return error_set(err, given->source == CONFIG_FLAG ? MUGA_E_USAGE : MUGA_E_INPUT,
                         "%s (%s) needs tls.%s beside it", c->certificate ? "tls.certificate" : "tls.key",
                         given->origin, c->certificate ? "key" : "certificate");
    }
    return MUGA_OK;
}

/* ---- face ---- */

static muga_status gather(const config_sources *s, serve_config **out, muga_error *err) {
    serve_config *c = calloc(1, sizeof *c);
    *out = c;
    if (!c || !(c->parts = calloc(1, sizeof *c->parts)))
        return error_nomem(err, "configuration");
    arena_init(&c->parts->mem, (size_t)16 << 20);
    muga_status st = put_defaults(c, err);
    if (!st)
        st = put_file(c, s, err);
    if (!st)
        st = put_given(c, s->environment, s->n_environment, CONFIG_ENVIRONMENT, err);
    if (!st)
        st = put_given(c, s->flags, s->n_flags, CONFIG_FLAG, err);
    return st;
}

static muga_status finish(muga_status st, serve_config **out, muga_error *err) {
    if (!st)
        st = fill(*out, err);
    if (st) {
        config_free(*out);
        *out = NULL;
    }
    return st;
}

muga_status config_load(const config_sources *s, serve_config **out, muga_error *err) {
    return finish(gather(s, out, err), out, err);
}

void config_free(serve_config *c) {
    if (!c)
        return;
    for (size_t i = 0; c->parts && i < CONFIG_N; i++) {
        json_decref(c->parts->v[i].v);
        free(c->parts->v[i].origin);
    }
    if (c->parts)
        arena_release(&c->parts->mem);
    free(c->parts);
    free(c);
}

static const char *source_name(config_source s) {
    static const char *const names[] = {"default", "file", "environment", "flag"};
    return names[s];
}

static json_t *pack_setting(const config_setting *s, const config_value *v) {
    return json_pack("{s:s,s:o,s:s,s:s,s:b}", "key", s->key, "value", config_show(s, v->v), "source",
                     source_name(v->source), "origin", v->origin ? v->origin : "", "restart", (int)s->restart);
}

muga_status config_list(const serve_config *c, json_t **out, muga_error *err) {
    size_t n;
    const config_setting *rows = config_settings(&n);
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; i < n && ok; i++)
        ok = !json_array_append_new(list, pack_setting(&rows[i], &c->parts->v[i]));
    *out = ok ? list : NULL;
    if (ok)
        return MUGA_OK;
    json_decref(list);
    return error_nomem(err, "the list of settings");
}

/* Where a changed setting needs a restart, the value in force is put back. */
static muga_status compare(const serve_config *now, serve_config *next, json_t *changes, muga_error *err) {
    size_t n;
    const config_setting *rows = config_settings(&n);
    for (size_t i = 0; i < n; i++) {
        const config_value *was = &now->parts->v[i];
        config_value *is = &next->parts->v[i];
        if (was->v == is->v || (was->v && is->v && json_equal(json_borrow(was->v), is->v)))
            continue;
        json_t *one = json_pack("{s:s,s:o,s:o,s:s,s:b}", "key", rows[i].key, "from", config_show(&rows[i], was->v),
                                "to", config_show(&rows[i], is->v), "origin", is->origin ? is->origin : "default",
                                "restart", (int)rows[i].restart);
        if (json_array_append_new(changes, one))
            return error_nomem(err, "the list of changes");
        if (!rows[i].restart)
            continue;
        char *origin = was->origin ? mem_copy_string(was->origin) : NULL;
        if (was->origin && !origin)
            return error_nomem(err, "configuration");
        json_decref(is->v);
        free(is->origin);
        *is = (config_value){json_incref(was->v), was->source, origin};
    }
    return MUGA_OK;
}

muga_status config_reload(const serve_config *now, const config_sources *s, serve_config **out, json_t **changes,
                          muga_error *err) {
    muga_status st = gather(s, out, err);
    *changes = json_array();
    if (!st)
        st = *changes ? compare(now, *out, *changes, err) : error_nomem(err, "the list of changes");
    st = finish(st, out, err);
    if (st) {
        json_decref(*changes);
        *changes = NULL;
    }
    return st;
}

const char *config_model_name(const serve_config *c, const char *name) {
    if (!name || !*name)
        return c->model;
    size_t n = strlen(name), tag = n > 7 && !strcmp(name + n - 7, ":latest") ? n - 7 : n;
    for (size_t i = 0; i < c->n_aliases; i++) {
        size_t len = strlen(c->aliases[i].name);
        if (!strcmp(c->aliases[i].name, name) || (len == tag && !memcmp(c->aliases[i].name, name, tag)))
            return c->aliases[i].model;
    }
    return name;
}
