/* The configuration in force. A reload is read by a job, since the file may lie on a slow disk, and put in force by one
 * store of a pointer; configs before it are kept until the end, because who reads takes no lock. */
#include "serve/settings.h"
#include "serve/jobs.h"

typedef struct settings_list {
    serve_config *c;
    struct settings_list *next;
} settings_list;

struct settings {
    _Atomic(const serve_config *) now;
    settings_list *made; /* by reloads */
    atomic_bool reloading;
};

muga_status settings_open(serve *s, muga_error *err) {
    s->settings = mem_alloc_array(1, sizeof *s->settings);
    if (!s->settings)
        return error_nomem(err, "the configuration");
    atomic_store(&s->settings->now, s->options->config);
    return MUGA_OK;
}

void settings_free(serve *s) {
    for (settings_list *l = s->settings ? s->settings->made : NULL, *next; l; l = next) {
        next = l->next;
        config_free(l->c);
        free(l);
    }
    free(s->settings);
}

const serve_config *settings_now(serve *s) {
    return atomic_load(&s->settings->now);
}

/* ---- models ---- */

const char *settings_default_model(serve *s) {
    const serve_config *c = settings_now(s);
    return c ? c->model : NULL;
}

muga_status settings_apply_models(serve *s, muga_error *err) {
    const serve_config *c = settings_now(s);
    muga_status st = MUGA_OK;
    for (size_t i = 0; c && i < c->n_models && !st; i++) {
        st = pool_set(s->pool, config_model_name(c, c->models[i].name), &c->models[i].settings, err);
        if (st)
            st = error_prefix(err, st, "models.options, pinned");
    }
    return st;
}

bool settings_is_same(const char *a, const char *b) {
    char full_a[HUB_NAME_BYTES], full_b[HUB_NAME_BYTES];
    return !hub_full_name(a, full_a, NULL) && !hub_full_name(b, full_b, NULL) && !strcmp(full_a, full_b);
}

const char *settings_model(serve *s, const char *name, pool_variant *out) {
    const serve_config *c = settings_now(s);
    *out = (pool_variant){0};
    if (!c)
        return name;
    const char *model = config_model_name(c, name);
    for (size_t i = 0; model && i < c->n_models; i++)
        if (c->models[i].adapter &&
            (settings_is_same(c->models[i].name, name ? name : model) || settings_is_same(c->models[i].name, model)))
            *out = (pool_variant){.adapter = c->models[i].adapter, .scale = c->models[i].adapter_scale};
    return model;
}

static void check_model(serve *s, const char *key, const char *model) {
    muga_error err = {0};
    os_stat ignored;
    muga_status st = hub_stamp(s->options->hub, model, &ignored, &err);
    if (!st)
        return;
    st = error_prefix(&err, st, "%s", key);
    log_error(s->options->log, LOG_WARNING, "model_missing", st, &err);
}

void settings_check_models(serve *s) {
    const serve_config *c = settings_now(s);
    json_t *all = NULL;
    if (c && c->model)
        check_model(s, "models.default", config_model_name(c, c->model));
    for (size_t i = 0; c && i < c->n_aliases; i++)
        check_model(s, "models.aliases", c->aliases[i].model);
    if (!hub_list(s->options->hub, &all, NULL) && json_array_size(all) == 0)
        log_write(s->options->log, LOG_WARNING, "no_models",
                  "the store has no model yet; `muga create NAME --from FILE` makes one of a GGUF file", NULL, 0);
    json_decref(all);
}

void settings_warm(void *ctx) {
    serve *s = ctx;
    const serve_config *c = settings_now(s);
    for (size_t i = 0; c && i < c->pinned.n && !atomic_load(&s->draining); i++) {
        pool_lent lent;
        pool_variant v;
        muga_error err = {0};
        const char *model = settings_model(s, c->pinned.v[i], &v);
        muga_status st = pool_take(s->pool, model, v.adapter ? &v : NULL, NULL, &lent, &err);
        if (st) {
            serve_note(s, "pinned_model", &err);
            continue;
        }
        log_field f[] = {LOG_S("model", lent.name), LOG_US("ms", lent.load_us)};
        log_write(s->options->log, LOG_INFO, "model_loaded", NULL, f, ARRAY_LEN(f));
        pool_give(s->pool, &lent, -1);
    }
    atomic_store(&s->ready, true);
    serve_notify(s, "READY=1");
}

/* ---- reading anew ---- */

static void log_changes(serve *s, const json_t *changes) {
    size_t i;
    const json_t *one;
    json_array_foreach(changes, i, one) {
        log_field f[] = {LOG_S("key", json_get_string(one, "key")), LOG_V("from", json_object_get(one, "from")),
                         LOG_V("to", json_object_get(one, "to")), LOG_S("origin", json_get_string(one, "origin"))};
        bool restart = json_get_bool(one, "restart", false);
        log_write(s->options->log, restart ? LOG_WARNING : LOG_INFO,
                  restart ? "config_needs_restart" : "config_changed", restart ? json_get_string(one, "key") : NULL, f,
                  ARRAY_LEN(f));
    }
}

/* In the server's thread, whose lists these are. */
static void allow(void *ctx) {
    serve *s = ctx;
    const serve_config *c = settings_now(s);
    server_allow(s->server, c->hosts.v, c->hosts.n, c->origins.v, c->origins.n);
}

static muga_status read_anew(serve *s, muga_error *err) {
    const serve_options *o = s->options;
    settings_list *kept = mem_alloc_array(1, sizeof *kept);
    json_t *changes = NULL;
    if (!kept)
        return error_nomem(err, "the configuration");
    muga_status st = o->reload(o->ctx, settings_now(s), &kept->c, &changes, err);
    if (st) {
        free(kept);
        return st;
    }
    const serve_config *c = kept->c;
    kept->next = s->settings->made;
    s->settings->made = kept;
    atomic_store(&s->settings->now, c);
    log_set(o->log, c->log_level, c->log_format == CONFIG_LOG_TEXT ? LOG_TEXT : LOG_JSON, c->log_contents);
    log_changes(s, changes);
    json_decref(changes);
    settings_check_models(s);
    return server_post(s->server, allow, s) ? MUGA_OK : error_nomem(err, "the configuration");
}

static void reload_job(void *ctx) {
    serve *s = ctx;
    muga_error err = {0};
    muga_status st = read_anew(s, &err);
    /* before the line in the log: who sees that finds it counted */
    metrics_add(s->metrics, METRIC_CONFIG_RELOADS, METRIC_LABELS(st ? "failed" : "ok"), 1);
    if (st)
        log_error(s->options->log, LOG_ERROR, "config_refused", st, &err);
    else
        log_write(s->options->log, LOG_INFO, "config_read", NULL, NULL, 0);
    atomic_store(&s->settings->reloading, false);
    serve_notify(s, "READY=1");
}

void settings_reload(void *ctx) {
    serve *s = ctx;
    muga_error err = {0};
    if (!s->options->reload || !settings_now(s) || atomic_exchange(&s->settings->reloading, true))
        return;
    serve_notify(s, "RELOADING=1");
    if (jobs_run_first(s->jobs, reload_job, s, &err)) {
        serve_note(s, "config_refused", &err);
        atomic_store(&s->settings->reloading, false);
    }
}
