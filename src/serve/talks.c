/* A table of digests with open addressing, twice as large as what it may hold; ages are numbers that only grow. */
#include "serve/talks.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>

#define SLOTS (2u * TALKS_MAX)

typedef struct talk {
    uint64_t used; /* 0: the slot is free */
    uint8_t digest[SHA256_BYTES];
    char session[AGENT_ID_SIZE];
} talk;

struct talks {
    pthread_mutex_t lock;
    uint64_t clock;
    uint32_t n;
    talk slot[SLOTS];
};

muga_status talks_new(struct talks **out, muga_error *err) {
    struct talks *t = mem_alloc_array(1, sizeof *t);
    if (!t)
        return error_nomem(err, "the table of conversations");
    pthread_mutex_init(&t->lock, NULL);
    *out = t;
    return MUGA_OK;
}

void talks_free(struct talks *t) {
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Each text with its length before it, so that no two conversations look alike. */
static void add_text(sha256 *h, const char *p, size_t n) {
    uint64_t length = n;
    sha256_update(h, &length, sizeof length);
    sha256_update(h, p, n);
}

void talks_digest(const char *tenant, const char *agent, const json_t *messages, size_t n, const char *answer,
                  uint8_t out[SHA256_BYTES]) {
    sha256 h;
    sha256_init(&h);
    add_text(&h, tenant, strlen(tenant));
    add_text(&h, agent, strlen(agent));
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(messages, i), *content = json_object_get(m, "content");
        const char *role = json_get_string(m, "role");
        if (!role || !strcmp(role, "system"))
            continue;
        add_text(&h, role, strlen(role));
        add_text(&h, json_is_string(content) ? json_string_value(content) : "",
                 json_is_string(content) ? json_string_length(content) : 0);
    }
    if (answer) {
        add_text(&h, "assistant", 9);
        add_text(&h, answer, strlen(answer));
    }
    sha256_final(&h, out);
}

/* Where the digest is, or the free slot where it would be. */
static uint32_t place(const struct talks *t, const uint8_t digest[SHA256_BYTES]) {
    uint32_t i;
    memcpy(&i, digest, sizeof i);
    for (i %= SLOTS; t->slot[i].used && memcmp(t->slot[i].digest, digest, SHA256_BYTES) != 0;)
        i = (i + 1) % SLOTS;
    return i;
}

bool talks_find(struct talks *t, const uint8_t digest[SHA256_BYTES], char session[AGENT_ID_SIZE]) {
    pthread_mutex_lock(&t->lock);
    talk *at = &t->slot[place(t, digest)];
    bool found = at->used != 0;
    if (found) {
        at->used = ++t->clock;
        memcpy(session, at->session, AGENT_ID_SIZE);
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

/* The half that was used longest ago goes, and the rest is placed anew. Once in TALKS_MAX / 2 conversations. */
static void forget_old(struct talks *t) {
    uint64_t from = t->clock > TALKS_MAX / 2 ? t->clock - TALKS_MAX / 2 : 0;
    talk *kept = mem_alloc_array(TALKS_MAX, sizeof *kept);
    uint32_t n = 0;
    for (uint32_t i = 0; kept && i < SLOTS; i++)
        if (t->slot[i].used > from && n < TALKS_MAX)
            kept[n++] = t->slot[i];
    memset(t->slot, 0, sizeof t->slot);
    t->n = n;
    for (uint32_t i = 0; i < n; i++)
        t->slot[place(t, kept[i].digest)] = kept[i];
    free(kept);
}

void talks_remember(struct talks *t, const uint8_t digest[SHA256_BYTES], const char *session) {
    pthread_mutex_lock(&t->lock);
    if (t->n >= TALKS_MAX)
        forget_old(t);
    talk *at = &t->slot[place(t, digest)];
    t->n += at->used == 0;
    at->used = ++t->clock;
    memcpy(at->digest, digest, SHA256_BYTES);
    snprintf(at->session, sizeof at->session, "%s", session);
    pthread_mutex_unlock(&t->lock);
}
