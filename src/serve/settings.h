/* Private to serve/: the configuration that is in force, and reading it anew while the server serves. */
#ifndef MUGA_SERVE_SETTINGS_H
#define MUGA_SERVE_SETTINGS_H

#include "serve/internal.h"

/* Where the options have no config, all answers are "nothing is set". */
MUGA_MUST_USE muga_status settings_open(serve *s, muga_error *err);
void settings_free(serve *s);
/* From any thread; good until the server closes, also after a reload. NULL: there is none. */
const serve_config *settings_now(serve *s);
/* After the pool is there: what models.options says. */
MUGA_MUST_USE muga_status settings_apply_models(serve *s, muga_error *err);
/* Warns in the log of models that the configuration names and the store doesn't have, and of a store without any; they
 * may come later (`muga create`), so it's no fault. */
void settings_check_models(serve *s);
/* A job that loads the pinned models; s->ready becomes true at its end. */
void settings_warm(void *serve);
/* In the server's thread, on SIGHUP. */
void settings_reload(void *serve);
/* The model that is meant by `name` (an alias, or ""), borrowed; NULL: none. *out: its adapter, where there is one. */
const char *settings_model(serve *s, const char *name, pool_variant *out);
const char *settings_default_model(serve *s); /* NULL: there is none */
/* Do two names mean the same model of the store ("tiny", "tiny:latest")? */
bool settings_is_same(const char *a, const char *b);

#endif
