/* Kept turns as training data (learning.h). Owns: which become lines, in what order. Refuses: too few, all of one kind.
 *
 * The same turns give the same bytes, so that a training run that was broken off can go on. */
#include "agent/learning.h"

#include "agent/internal.h"

#include <stdio.h>

#define BESIDE_MAX_BYTES ((size_t)1 << 30)

typedef struct maker {
    const intent *x;
    json_t *words;   /* object: what is said already, or stands in a task */
    json_t *answers; /* object: the different ones */
    learning_data *out;
    muga_error *err;
} maker;

/* ---- beside ---- */

static size_t count_lines(const str *text) {
    size_t n = 0;
    for (size_t at = 0; at < text->len;) {
        const char *end = memchr(text->data + at, '\n', text->len - at);
        size_t len = end ? (size_t)(end - text->data) - at : text->len - at;
        n += strspn(text->data + at, " \t\r") < len;
        at += len + 1;
    }
    return n;
}

/* The first, so that a line number in an error is the file's. */
static muga_status add_beside(const agent_env *env, const manifest *m, learning_data *out, muga_error *err) {
    const char *name = json_get_string(json_object_get(m->learning, "adapter"), "beside");
    const check_place at = {"agent.yaml", m->places};
    str path = STR_INIT;
    if (!name) {
        return MUGA_OK;
    }
    if (name[0] == '/' || strstr(name, "..")) {
        return check_fail(&at, MUGA_E_INPUT, "/learning/adapter/beside", err,
                          "the data must lie in the agent's folder");
    }
    str_printf(&path, "%s/%s", m->dir, name);
    muga_status st = str_status(&path, err, "a path");
    st = st == MUGA_OK ? os_read_file(env->files, str_get(&path), BESIDE_MAX_BYTES, &out->lines, err) : st;
    if (st == MUGA_OK) {
        out->n_beside = count_lines(&out->lines);
        if (out->lines.len > 0 && out->lines.data[out->lines.len - 1] != '\n') {
            str_append_c(&out->lines, '\n');
        }
    }
    str_release(&path);
    return st;
}

/* ---- turns ---- */

static muga_status note_words(maker *k, const char *text, const char *value) {
    str key = STR_INIT;
    muga_status st = learned_key(k->x, text, NULL, &key, k->err);
    if (st == MUGA_OK && json_object_set_new_nocheck(k->words, str_get(&key), json_string(value)) != 0) {
        st = error_nomem(k->err, "the tasks");
    }
    str_release(&key);
    return st;
}

static muga_status note_tasks(maker *k, const json_t *tasks) {
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < json_array_size(tasks); i++) {
        const json_t *messages = json_object_get(json_array_get(tasks, i), "messages");
        for (size_t j = 0; st == MUGA_OK && j < json_array_size(messages); j++) {
            const char *text = json_string_value(json_array_get(messages, j)); /* NULL: a percept */
            st = text ? note_words(k, text, "task") : MUGA_OK;
        }
    }
    return st;
}

/* Is it new? Else counted among what is left out. */
static muga_status check_words(maker *k, const char *text, bool *is_new) {
    str key = STR_INIT;
    muga_status st = learned_key(k->x, text, NULL, &key, k->err);
    const char *said = st == MUGA_OK ? json_string_value(json_object_get(k->words, str_get(&key))) : NULL;
    *is_new = st == MUGA_OK && !said && key.len > 0;
    k->out->n_kept_out += said && strcmp(said, "task") == 0;
    k->out->n_repeated += said && strcmp(said, "turn") == 0;
    str_release(&key);
    return st;
}

static muga_status add_line(maker *k, const json_t *sample) {
    const json_t *messages = json_object_get(sample, "messages");
    const char *answer = json_get_string(json_array_get(messages, json_array_size(messages) - 1), "content");
    json_write(sample, &k->out->lines);
    str_append_c(&k->out->lines, '\n');
    k->out->n_turns++;
    return answer && json_object_set_new(k->answers, answer, json_true()) == 0 ? MUGA_OK
                                                                               : error_nomem(k->err, "training data");
}

static muga_status add_turn(maker *k, const json_t *turn) {
    const char *text = json_get_string(turn, "text");
    json_t *sample = NULL;
    bool is_new = false;
    uint64_t labels = intent_find_labels(k->x, json_object_get(turn, "labels"));
    muga_status st = check_words(k, text, &is_new);
    if (st != MUGA_OK || !is_new) {
        return st;
    }
    st = labels ? intent_sample(k->x, text, labels, &sample, k->err) : MUGA_OK;
    k->out->n_unsayable += st == MUGA_OK && !sample;
    if (st == MUGA_OK && sample) {
        st = add_line(k, sample);
        st = st == MUGA_OK ? note_words(k, text, "turn") : st;
    }
    json_decref(sample);
    return st;
}

/* Corrections first, then what went well, each from the newest back. */
static muga_status add_turns(maker *k, const json_t *turns) {
    muga_status st = MUGA_OK;
    for (int corrected = 1; corrected >= 0; corrected--) {
        for (size_t i = json_array_size(turns); st == MUGA_OK && i-- > 0;) {
            const json_t *turn = json_array_get(turns, i);
            if (json_get_bool(turn, "corrected", false) == (corrected == 1)) {
                st = add_turn(k, turn);
            }
        }
    }
    return st;
}

static muga_status check_enough(const manifest *m, const learning_data *d, const json_t *answers, muga_error *err) {
    int64_t at_least = json_get_int(json_object_get(m->learning, "adapter"), "at_least", LEARNING_AT_LEAST);
    if ((int64_t)d->n_turns < at_least) {
        return error_set(
            err, MUGA_E_INPUT,
            "%zu turns to learn from, and %lld are needed (learning.adapter.at_least); past successes count"
            " at once with learning.examples",
            d->n_turns, (long long)at_least);
    }
    if (d->n_labels < 2 && d->n_beside == 0) {
        const char *only = json_object_iter_key(json_object_iter(json_borrow(answers)));
        return error_set(err, MUGA_E_INPUT,
                         "all %zu turns have the answer '%.60s': who learns from them says nothing else; wait for"
                         " others, or give data beside them (learning.adapter.beside)",
                         d->n_turns, only ? only : "");
    }
    return MUGA_OK;
}

muga_status learning_make_data(const agent_env *env, store *s, const intent *x, const manifest *m, const json_t *tasks,
                               learning_data *out, muga_error *err) {
    maker k = {x, json_object(), json_object(), out, err};
    json_t *turns = NULL;
    *out = (learning_data){.lines = STR_INIT};
    muga_status st = k.words && k.answers ? add_beside(env, m, out, err) : error_nomem(err, "training data");
    st = st == MUGA_OK ? note_tasks(&k, tasks) : st;
    st = st == MUGA_OK ? learning_read_turns(env, s, m, 0, "trained", NULL, &turns, err) : st;
    st = st == MUGA_OK ? add_turns(&k, turns) : st;
    st = st == MUGA_OK ? str_status(&out->lines, err, "training data") : st;
    out->n_labels = json_object_size(k.answers);
    st = st == MUGA_OK ? check_enough(m, out, k.answers, err) : st;
    if (st == MUGA_OK) {
        uint8_t digest[SHA256_BYTES];
        sha256_of(str_get(&out->lines), out->lines.len, digest);
        hex_write(digest, sizeof digest, out->sha256);
    }
    json_decref(turns);
    json_decref(k.words);
    json_decref(k.answers);
    return st;
}
