/* API keys: made, found, judged, revoked, counted. If this failed, a forged, revoked or expired key could be let in, a
 * key could do what its scopes don't say, the store could hold what lets someone in, or a limit could be forgotten. */
#include "support/support.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "serve/keys.h"
#include "support/agent_fixture.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#define DAY_MS INT64_C(86400000)

/* A clock that only the test moves. */
typedef struct world {
    int64_t now_ms;
    os_clock clock;
    agent_env env;
    key_operator by;
    char path[512];
    store *s;
} world;

static int64_t now_ms(void *self) {
    return ((world *)self)->now_ms;
}

static uint64_t monotonic_us(void *self) {
    return (uint64_t)((world *)self)->now_ms * 1000;
}

static void begin(world *w, const char *name) {
    muga_error err;
    *w = (world){.now_ms = 20000 * DAY_MS + 1000, .clock = {now_ms, monotonic_us, NULL, w}};
    w->env = agent_env_system();
    w->env.clock = &w->clock;
    w->by = (key_operator){&w->env, "operator"};
    snprintf(w->path, sizeof w->path, "%s", scratch_path(name));
    static const char *const ends[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        char file[530];
        snprintf(file, sizeof file, "%s%s", w->path, ends[i]);
        remove(file);
    }
    assert_ok(store_open(w->path, NULL, &w->s, &err), &err);
}

static struct keys *open_keys(world *w, const char *anonymous) {
    muga_error err;
    struct keys *k;
    const keys_options o = {w->path, &w->clock, anonymous};
    assert_ok(keys_open(&o, &k, &err), &err);
    return k;
}

static void make(world *w, const key_spec *spec, char text[KEY_TEXT_SIZE]) {
    muga_error err;
    char id[KEY_ID_SIZE];
    assert_ok(keys_create(w->s, &w->by, spec, id, text, &err), &err);
    assert_true(key_is_wellformed(text, strlen(text)));
}

static keys_verdict check(struct keys *k, const char *text) {
    const struct key *who;
    keys_verdict v = keys_check(k, text, &who);
    assert_int_equal(v == KEYS_GOOD, who != NULL);
    key_release(who);
    return v;
}

static void tick(world *w, struct keys *k) {
    muga_error err;
    w->now_ms += 1000;
    assert_ok(keys_tick(k, &err), &err);
}

/* ---- texts ---- */

static void a_key_is_random_and_checks_itself(void **state) {
    (void)state;
    world w;
    begin(&w, "texts.db");
    char a[KEY_TEXT_SIZE], b[KEY_TEXT_SIZE];
    make(&w, &(key_spec){.name = "a"}, a);
    make(&w, &(key_spec){.name = "b"}, b);
    assert_int_equal(strlen(a), 54);
    assert_string_not_equal(a, b);
    assert_memory_equal(a, "muga_", 5);
    for (size_t i = 0; i < 54; i++) { /* a slip in any place is seen */
        char slip[KEY_TEXT_SIZE];
        memcpy(slip, a, sizeof slip);
        slip[i] = slip[i] == 'x' ? 'y' : 'x';
        assert_false(key_is_wellformed(slip, 54));
    }
    assert_false(key_is_wellformed(a, 53));
    assert_false(key_is_wellformed("muga_", 5));
    assert_false(key_is_wellformed("", 0));
    store_close(w.s);
}

static bool holds(const char *path, const char *part, size_t n) {
    FILE *f = fopen(path, "rb");
    char window[64] = {0};
    bool found = false;
    for (int c; f && !found && (c = fgetc(f)) != EOF;) {
        memmove(window, window + 1, n - 1);
        window[n - 1] = (char)c;
        found = memcmp(window, part, n) == 0;
    }
    if (f) {
        fclose(f);
    }
    return found;
}

static void the_store_does_not_hold_it(void **state) {
    (void)state;
    world w;
    char text[KEY_TEXT_SIZE], wal[520];
    begin(&w, "secret.db");
    make(&w, &(key_spec){.name = "a"}, text);
    snprintf(wal, sizeof wal, "%s-wal", w.path);
    const char *const files[] = {w.path, wal};
    bool prefix = false;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        prefix = prefix || holds(files[i], text + 5, 8);
        assert_false(holds(files[i], text + 5, 12));  /* the prefix and four more */
        assert_false(holds(files[i], text + 13, 12)); /* the rest of the secret */
        assert_false(holds(files[i], text + 42, 12));
    }
    assert_true(prefix); /* so the search can find */
    store_close(w.s);
}

/* ---- checking ---- */

static void without_keys_anyone_is_the_anonymous_one(void **state) {
    (void)state;
    world w;
    char text[KEY_TEXT_SIZE];
    const struct key *who;
    muga_error err;
    begin(&w, "none.db");
    struct keys *k = open_keys(&w, NULL);
    assert_false(keys_any(k));
    const char *const dummies[] = {NULL, "", "sk-dummy", "ollama"};
    for (size_t i = 0; i < ARRAY_LEN(dummies); i++) {
        assert_int_equal(keys_check(k, dummies[i], &who), KEYS_GOOD);
        assert_string_equal(key_name(who), "anonymous");
        assert_string_equal(key_tenant(who), "");
        assert_true(key_may(who, SCOPE_ADMIN) && key_may_model(who, "any:latest") && key_may_agent(who, "any"));
        key_release(who);
    }
    assert_ok(keys_may_listen("127.0.0.1:11434", true, false, &err), &err);
    assert_status(keys_may_listen("0.0.0.0:11434", false, false, &err), MUGA_E_USAGE, &err, "0.0.0.0:11434");
    assert_ok(keys_may_listen("0.0.0.0:11434", false, true, &err), &err);
    make(&w, &(key_spec){.name = "a"}, text);             /* while it runs */
    assert_int_equal(check(k, "sk-dummy"), KEYS_UNKNOWN); /* from that moment on */
    assert_true(keys_any(k));
    assert_int_equal(check(k, NULL), KEYS_MISSING);
    assert_int_equal(check(k, ""), KEYS_MISSING);
    assert_int_equal(check(k, text), KEYS_GOOD);
    keys_close(k);
    store_close(w.s);
}

/* Nobody waits for a second: who asks by a new key, or comes without one after the first was made. */
static void a_new_key_counts_at_once(void **state) {
    (void)state;
    world w;
    muga_error err;
    char first[KEY_TEXT_SIZE], second[KEY_TEXT_SIZE], damaged[KEY_TEXT_SIZE];
    begin(&w, "at-once.db");
    struct keys *k = open_keys(&w, NULL);
    make(&w, &(key_spec){.name = "a"}, first);
    assert_int_equal(check(k, first), KEYS_GOOD);
    make(&w, &(key_spec){.name = "b"}, second);
    uint64_t n_hashed = keys_get_counts(k).n_hashed;
    assert_int_equal(check(k, second), KEYS_GOOD);
    assert_int_equal(keys_get_counts(k).n_hashed, n_hashed + 2); /* looked for in the old table, and in the new one */
    assert_int_equal(check(k, second), KEYS_GOOD);
    assert_int_equal(keys_get_counts(k).n_hashed, n_hashed + 3);
    keys_close(k);
    assert_ok(keys_revoke(w.s, &w.by, "a", true, &err), &err);
    assert_ok(keys_revoke(w.s, &w.by, "b", true, &err), &err);
    k = open_keys(&w, NULL);
    assert_int_equal(check(k, NULL), KEYS_GOOD);
    make(&w, &(key_spec){.name = "c"}, damaged); /* what can't be read leaves no door open */
    fixture_sql(w.path, "UPDATE api_keys SET scopes = 'everything'");
    assert_int_equal(check(k, NULL), KEYS_MISSING);
    assert_int_equal(check(k, "sk-dummy"), KEYS_MISSING);
    keys_close(k);
    store_close(w.s);
}

static void a_configuration_takes_rights_from_the_anonymous_one(void **state) {
    (void)state;
    world w;
    const struct key *who;
    begin(&w, "less.db");
    struct keys *k = open_keys(&w, "models:tiny");
    assert_int_equal(keys_check(k, NULL, &who), KEYS_GOOD);
    assert_true(key_may_model(who, "tiny:latest"));
    assert_false(key_may_model(who, "tiny2:latest") || key_may_agent(who, "a") || key_may(who, SCOPE_ADMIN));
    key_release(who);
    keys_close(k);
    k = open_keys(&w, "");
    assert_int_equal(keys_check(k, NULL, &who), KEYS_GOOD);
    assert_false(key_may_model(who, "tiny:latest") || key_may_approve(who, NULL));
    key_release(who);
    keys_close(k);
    store_close(w.s);
}

static void revoked_expired_rotated_and_forgotten(void **state) {
    (void)state;
    world w;
    char a[KEY_TEXT_SIZE], b[KEY_TEXT_SIZE], c[KEY_TEXT_SIZE], a2[KEY_TEXT_SIZE], id[KEY_ID_SIZE];
    muga_error err;
    const struct key *held;
    begin(&w, "ends.db");
    make(&w, &(key_spec){.name = "a"}, a);
    make(&w, &(key_spec){.name = "b", .expires_ms = w.now_ms + 5000}, b);
    make(&w, &(key_spec){.name = "c"}, c);
    struct keys *k = open_keys(&w, NULL);
    assert_int_equal(check(k, b), KEYS_GOOD);
    w.now_ms += 4999;
    assert_int_equal(check(k, b), KEYS_GOOD);
    w.now_ms += 1;
    assert_int_equal(check(k, b), KEYS_EXPIRED);

    assert_ok(keys_rotate(w.s, &w.by, "a", 5000, id, a2, &err), &err);
    tick(&w, k);
    assert_true(check(k, a) == KEYS_GOOD && check(k, a2) == KEYS_GOOD);
    w.now_ms += 5000;
    assert_true(check(k, a) == KEYS_EXPIRED && check(k, a2) == KEYS_GOOD);
    assert_ok(keys_rotate(w.s, &w.by, id, 0, id, a, &err), &err); /* at once, and by the id */
    tick(&w, k);
    assert_true(check(k, a) == KEYS_GOOD && check(k, a2) == KEYS_EXPIRED);

    assert_int_equal(keys_check(k, c, &held), KEYS_GOOD);
    assert_ok(keys_revoke(w.s, &w.by, "c", false, &err), &err);
    assert_status(keys_revoke(w.s, &w.by, "c", false, &err), MUGA_E_NOT_FOUND, &err, "no valid key is called 'c'");
    tick(&w, k);
    assert_int_equal(check(k, c), KEYS_REVOKED);
    assert_string_equal(key_name(held), "c"); /* whoever runs with it ends with it */
    key_release(held);
    make(&w, &(key_spec){.name = "c"}, c); /* the name is free again */

    const char *const all[] = {"a", "b", "c", "c"};
    for (size_t i = 0; i < 3; i++) {
        assert_ok(keys_revoke(w.s, &w.by, all[i], false, &err), &err);
    }
    tick(&w, k);
    assert_int_equal(check(k, "sk-dummy"), KEYS_UNKNOWN); /* the last one revoked opens no door */
    for (size_t i = 0; i < 4; i++) {
        assert_ok(keys_revoke(w.s, &w.by, all[i], true, &err), &err);
    }
    tick(&w, k);
    assert_int_equal(check(k, "sk-dummy"), KEYS_GOOD);
    assert_int_equal(fixture_count(w.path, "SELECT count(*) FROM api_key_secrets"), 0);
    keys_require(k); /* others reach the server: forgetting the last key must not open it */
    assert_true(check(k, "sk-dummy") == KEYS_UNKNOWN && check(k, NULL) == KEYS_MISSING && check(k, a) == KEYS_UNKNOWN);
    keys_close(k);
    store_close(w.s);
}

/* Keys that nobody made: random ones, and ones with a good prefix. Each costs the same work. */
static void forged_keys_are_refused_at_the_same_work(void **state) {
    (void)state;
    world w;
    char good[KEY_TEXT_SIZE], other[KEY_TEXT_SIZE];
    enum { n_keys = 40, n_forged = 10000 };
    begin(&w, "forged.db");
    make(&w, &(key_spec){.name = "good"}, good);
    for (int i = 1; i < n_keys; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%d", i);
        make(&w, &(key_spec){.name = name}, other);
    }
    struct keys *k = open_keys(&w, NULL);
    rng r = {9};
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint64_t n_wellformed = 0;
    for (int i = 0; i < n_forged; i++) {
        char forged[KEY_TEXT_SIZE];
        memcpy(forged, good, sizeof forged);
        size_t from = 5 + rng_below(&r, 43), n = 1 + rng_below(&r, 43);
        for (size_t j = from; j < 48 && j < from + n; j++) {
            forged[j] = digits[rng_below(&r, 62)];
        }
        if (memcmp(forged, good, sizeof forged) == 0) {
            continue;
        }
        /* what an attacker does, too: put the check right */
        uint8_t hash[32];
        sha256_of(forged, 48, hash);
        uint32_t v = (uint32_t)hash[0] << 24 | (uint32_t)hash[1] << 16 | (uint32_t)hash[2] << 8 | hash[3];
        for (size_t j = 54; j-- > 48; v /= 62) {
            forged[j] = digits[v % 62];
        }
        assert_true(key_is_wellformed(forged, 54));
        n_wellformed++;
        assert_int_equal(check(k, forged), KEYS_UNKNOWN);
        keys_counts c = keys_get_counts(k);
        assert_int_equal(c.n_hashed, n_wellformed); /* one hash each, and every secret looked at */
        assert_int_equal(c.n_compared, n_wellformed * n_keys);
    }
    assert_true(n_wellformed > n_forged * 9 / 10);
    assert_int_equal(check(k, good), KEYS_GOOD);
    keys_counts c = keys_get_counts(k);
    assert_int_equal(c.n_hashed, n_wellformed + 1);
    assert_int_equal(c.n_compared, (n_wellformed + 1) * n_keys);
    assert_int_equal(c.n_refused, n_wellformed);
    keys_close(k);
    store_close(w.s);
}

/* ---- rights ---- */

static void refuse_scopes(const char *text, const char *part) {
    muga_error err;
    key_scopes s;
    assert_status(scopes_parse(text, &s, &err), MUGA_E_USAGE, &err, part);
}

static void scopes_that_say_nothing_are_refused(void **state) {
    (void)state;
    refuse_scopes("", "scope ''");
    refuse_scopes("models", "scope 'models'");
    refuse_scopes("models:", "models:*");
    refuse_scopes("model:*", "scope 'model:*'");
    refuse_scopes("models:a,b", "scope 'b'"); /* never taken for a right, nor for a model */
    refuse_scopes("admin:*", "scope 'admin:*'");
    refuse_scopes("models:*,", "scope ''");
    refuse_scopes("models:a b", "what follows");
    refuse_scopes("models:a\nb", "what follows");
    refuse_scopes(" models:a", "scope ' models:a'");
    str many = STR_INIT;
    for (int i = 0; i < 65; i++) {
        str_printf(&many, "%smodels:m%d", i ? "," : "", i);
    }
    refuse_scopes(str_get(&many), "more than 64");
    str_release(&many);
    char longest[200] = "models:";
    memset(longest + 7, 'a', 129);
    refuse_scopes(longest, "what follows");
}

static const struct key *with_scopes(world *w, struct keys **k, const char *name, const char *may) {
    char text[KEY_TEXT_SIZE];
    const struct key *who;
    make(w, &(key_spec){.name = name, .scopes = may}, text);
    *k = open_keys(w, NULL);
    assert_int_equal(keys_check(*k, text, &who), KEYS_GOOD);
    return who;
}

static void a_key_may_what_its_scopes_say(void **state) {
    (void)state;
    world w;
    struct keys *k;
    begin(&w, "rights.db");
    const struct key *a =
        with_scopes(&w, &k, "a", "models:smol*,models:qwen:7b,models:one:latest,agents:shop-?,approve:manager,audit");
    assert_true(key_may_model(a, "smollm2:latest") && key_may_model(a, "smol") && key_may_model(a, "qwen:7b"));
    assert_true(key_may_model(a, "one:latest") && key_may_model(a, "one")); /* as the store reads it */
    assert_false(key_may_model(a, "one:7b") || key_may_model(a, "one:"));
    assert_false(key_may_model(a, "qwen:14b") || key_may_model(a, "qwen") || key_may_model(a, "a/smol"));
    assert_true(key_may_agent(a, "shop-1") && key_may_model(a, "agent:shop-1"));
    assert_false(key_may_agent(a, "shop-12") || key_may_agent(a, "shop-") || key_may_model(a, "agent:smol"));
    assert_true(key_may_tool(a, "shop-1", "refund")); /* the agent's policy decides */
    assert_true(key_may_approve(a, "manager") && key_may_approve(a, NULL));
    assert_false(key_may_approve(a, "cashier"));
    assert_true(key_may(a, SCOPE_AUDIT));
    assert_false(key_may(a, SCOPE_ADMIN) || key_may(a, SCOPE_METRICS));
    char approver[KEY_NAME_MAX + 5];
    key_write_approver(a, approver);
    assert_string_equal(approver, "key:a");
    key_release(a);
    keys_close(k);
    const struct key *b = with_scopes(&w, &k, "b", "tools:order_*,tools:bank/pay,approve:*");
    assert_true(key_may_tool(b, "any", "order_status") && key_may_tool(b, "bank", "pay"));
    assert_false(key_may_tool(b, "shop", "pay") || key_may_tool(b, "any", "refund"));
    assert_true(key_may_approve(b, "anything"));
    assert_false(key_may_model(b, "smollm2:latest") || key_may_agent(b, "any"));
    key_release(b);
    keys_close(k);
    const struct key *c = with_scopes(&w, &k, "c", "agents:*,tools:");
    assert_false(key_may_tool(c, "any", "order_status") || key_may_tool(c, "any", "") || key_may_approve(c, NULL));
    key_release(c);
    keys_close(k);
    const struct key *d = with_scopes(&w, &k, "d", NULL);
    assert_true(key_may_model(d, "any:latest"));
    assert_false(key_may_agent(d, "any") || key_may_model(d, "agent:any"));
    key_release(d);
    keys_close(k);
    store_close(w.s);
}

/* A pattern of stars against a long name of almost: steps are bounded by the product of their lengths. */
static void a_pattern_of_stars_takes_no_time(void **state) {
    (void)state;
    world w;
    struct keys *k;
    char may[160] = "models:", name[4001];
    begin(&w, "stars.db");
    for (size_t i = 0; i < 60; i++) {
        memcpy(may + 7 + 2 * i, "*a", 3);
    }
    strcat(may, "b");
    memset(name, 'a', 4000);
    name[4000] = '\0';
    memcpy(may, "agents:", 7);
    const struct key *a = with_scopes(&w, &k, "a", may);
    assert_false(key_may_agent(a, name) || key_may_model(a, name));
    name[3999] = 'b';
    assert_true(key_may_agent(a, name));
    key_release(a);
    keys_close(k);
    store_close(w.s);
}

static void refuse_spec(world *w, const key_spec *spec, const char *part) {
    muga_error err;
    char id[KEY_ID_SIZE], text[KEY_TEXT_SIZE];
    assert_status(keys_create(w->s, &w->by, spec, id, text, &err), MUGA_E_USAGE, &err, part);
}

static void a_spec_out_of_range_is_refused(void **state) {
    (void)state;
    world w;
    char text[KEY_TEXT_SIZE];
    begin(&w, "specs.db");
    make(&w, &(key_spec){.name = "taken"}, text);
    refuse_spec(&w, &(key_spec){.name = "taken"}, "is there already");
    refuse_spec(&w, &(key_spec){.name = ""}, "a key's name must be");
    refuse_spec(&w, &(key_spec){.name = "a b"}, "a key's name must be");
    refuse_spec(&w, &(key_spec){.name = "key_abc"}, "as ids do");
    refuse_spec(&w, &(key_spec){.name = "a", .tenant = "own:key_x"}, "a tenant's name must be");
    refuse_spec(&w, &(key_spec){.name = "a", .weight = 1001}, "weight");
    refuse_spec(&w, &(key_spec){.name = "a", .priority = 2}, "priority");
    refuse_spec(&w, &(key_spec){.name = "a", .expires_ms = w.now_ms}, "later than now");
    refuse_spec(&w, &(key_spec){.name = "a", .expires_ms = INT64_MAX}, "10000");
    refuse_spec(&w, &(key_spec){.name = "a", .tokens_day = UINT64_MAX}, "2^63");
    refuse_spec(&w, &(key_spec){.name = "a", .scopes = "nothing"}, "scope 'nothing'");
    assert_int_equal(fixture_count(w.path, "SELECT count(*) FROM api_keys"), 1);
    store_close(w.s);
}

static void tenants_are_apart_unless_named(void **state) {
    (void)state;
    world w;
    char a[KEY_TEXT_SIZE], b[KEY_TEXT_SIZE], c[KEY_TEXT_SIZE], d[KEY_TEXT_SIZE];
    const struct key *who[4];
    begin(&w, "tenants.db");
    make(&w, &(key_spec){.name = "a"}, a);
    make(&w, &(key_spec){.name = "b"}, b);
    make(&w, &(key_spec){.name = "c", .tenant = "shop"}, c);
    make(&w, &(key_spec){.name = "d", .tenant = "shop"}, d);
    struct keys *k = open_keys(&w, NULL);
    const char *const texts[] = {a, b, c, d};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(keys_check(k, texts[i], &who[i]), KEYS_GOOD);
    }
    assert_string_not_equal(key_tenant(who[0]), key_tenant(who[1]));
    assert_string_not_equal(key_tenant(who[0]), "");
    assert_string_equal(key_tenant(who[2]), key_tenant(who[3]));
    for (size_t i = 0; i < 4; i++) {
        key_release(who[i]);
    }
    keys_close(k);
    store_close(w.s);
}

/* ---- counting ---- */

static uint64_t used(struct keys *k, const char *text) {
    const struct key *who;
    assert_int_equal(keys_check(k, text, &who), KEYS_GOOD);
    uint64_t n = keys_used_today(k, who);
    key_release(who);
    return n;
}

static void charge(struct keys *k, const char *text, uint64_t n_prompt, uint64_t n_answer) {
    const struct key *who;
    assert_int_equal(keys_check(k, text, &who), KEYS_GOOD);
    keys_charge(k, who, n_prompt, n_answer);
    key_release(who);
}

static void what_is_used_is_counted_by_the_day_and_kept(void **state) {
    (void)state;
    world w;
    char a[KEY_TEXT_SIZE], b[KEY_TEXT_SIZE];
    muga_error err;
    begin(&w, "usage.db");
    make(&w, &(key_spec){.name = "a", .tokens_day = 1000}, a);
    make(&w, &(key_spec){.name = "b"}, b);
    struct keys *k = open_keys(&w, NULL);
    charge(k, a, 100, 20);
    charge(k, a, 3, 0);
    charge(k, b, 7, 7);
    assert_true(used(k, a) == 123 && used(k, b) == 14);
    assert_int_equal(fixture_count(w.path, "SELECT count(*) FROM api_key_usage"), 0); /* not one write a request */
    for (int i = 0; i < 5; i++) {
        tick(&w, k);
    }
    assert_int_equal(fixture_count(w.path, "SELECT sum(prompt_tokens * 1000 + answer_tokens) FROM api_key_usage"),
                     110027);
    assert_int_equal(fixture_count(w.path, "SELECT sum(requests) FROM api_key_usage"), 3);
    charge(k, a, 1, 1);
    assert_int_equal(used(k, a), 125);
    keys_close(k); /* an orderly end loses nothing */
    k = open_keys(&w, NULL);
    assert_int_equal(used(k, a), 125);
    struct keys *other = open_keys(&w, NULL); /* another server on the same store */
    charge(other, a, 10, 0);
    assert_ok(keys_reload(other, &err), &err);
    charge(k, a, 5, 0);
    assert_ok(keys_reload(k, &err), &err);
    assert_int_equal(used(k, a), 140);
    keys_close(other);

    assert_int_equal(keys_seconds_to_midnight(k), (DAY_MS - w.now_ms % DAY_MS + 999) / 1000);
    charge(k, a, 1, 0); /* before midnight, written after it */
    w.now_ms += DAY_MS;
    assert_int_equal(used(k, a), 0);
    charge(k, a, 2, 0);
    assert_ok(keys_reload(k, &err), &err);
    assert_int_equal(used(k, a), 2);
    assert_int_equal(fixture_count(w.path, "SELECT prompt_tokens FROM api_key_usage WHERE day = 20001"), 2);
    assert_int_equal(fixture_count(w.path, "SELECT sum(prompt_tokens + answer_tokens) FROM api_key_usage WHERE day ="
                                           " 20000"),
                     141 + 14);
    json_t *list, *expected = fixture_json("[{'day': '2024-10-05', 'name': 'a', 'requests': 1, 'prompt_tokens': 2,"
                                           " 'answer_tokens': 0}, {'day': '2024-10-04', 'name': 'a', 'requests': 6,"
                                           " 'prompt_tokens': 120, 'answer_tokens': 21}]");
    assert_ok(keys_usage(w.s, "a", 2, w.now_ms, &list, &err), &err);
    assert_int_equal(json_array_size(list), 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(json_object_del(json_array_get(list, i), "key"), 0);
    }
    assert_true(json_equal(list, expected));
    json_decref(list);
    json_decref(expected);
    assert_ok(keys_usage(w.s, NULL, 1, w.now_ms, &list, &err), &err);
    assert_int_equal(json_array_size(list), 1);
    json_decref(list);
    assert_status(keys_usage(w.s, "nobody", 1, w.now_ms, &list, &err), MUGA_E_NOT_FOUND, &err, "nobody");
    assert_ok(keys_revoke(w.s, &w.by, "a", true, &err), &err);
    assert_int_equal(fixture_count(w.path, "SELECT count(*) FROM api_key_usage"), 1);
    keys_close(k);
    store_close(w.s);
}

/* A row a key and day would be kept for ever. */
static void old_use_is_forgotten_once_a_day(void **state) {
    (void)state;
    world w;
    char a[KEY_TEXT_SIZE];
    muga_error err;
    static const char n_rows[] = "SELECT count(*) FROM api_key_usage", oldest[] = "SELECT min(day) FROM api_key_usage";
    begin(&w, "old.db");
    make(&w, &(key_spec){.name = "a"}, a);
    struct keys *k = open_keys(&w, NULL);
    for (int day = 0; day < 10; day++) {
        charge(k, a, 1, 1);
        assert_ok(keys_reload(k, &err), &err);
        w.now_ms += DAY_MS;
    } /* days 20000 to 20009; today is 20010 */
    assert_ok(keys_forget_usage(k, 0, &err), &err);
    assert_int_equal(fixture_count(w.path, n_rows), 10);
    assert_ok(keys_forget_usage(k, 8, &err), &err);
    assert_int_equal(fixture_count(w.path, oldest), 20003);
    fixture_sql(w.path, "INSERT INTO api_key_usage SELECT id, 1, 1, 1, 1 FROM api_keys");
    assert_ok(keys_forget_usage(k, 8, &err), &err); /* it was done today */
    assert_int_equal(fixture_count(w.path, oldest), 1);
    w.now_ms += DAY_MS;
    assert_ok(keys_forget_usage(k, 8, &err), &err);
    assert_int_equal(fixture_count(w.path, oldest), 20004);
    assert_ok(keys_forget_usage(k, 3, &err), &err); /* and at another number */
    assert_int_equal(fixture_count(w.path, oldest), 20009);
    charge(k, a, 1, 1);
    assert_ok(keys_reload(k, &err), &err);
    assert_ok(keys_forget_usage(k, 1, &err), &err); /* today stays */
    assert_int_equal(fixture_count(w.path, oldest), 20011);
    assert_int_equal(fixture_count(w.path, n_rows), 1);
    keys_close(k);
    store_close(w.s);
}

static void a_locked_or_full_store_loses_nothing_that_was_counted(void **state) {
    (void)state;
    world w;
    char a[KEY_TEXT_SIZE];
    muga_error err;
    muga_status st = MUGA_E_ENV;
    begin(&w, "locked.db");
    make(&w, &(key_spec){.name = "a"}, a);
    struct keys *k = open_keys(&w, NULL);
    charge(k, a, 100, 0);
    assert_ok(store_begin(w.s, &err), &err); /* another writes, for longer than it waits */
    w.now_ms += KEYS_FLUSH_MS;
    assert_status(keys_tick(k, &err), MUGA_E_ENV, &err, "locked by another program");
    store_end(w.s, &st, &err);
    assert_true(check(k, a) == KEYS_GOOD && used(k, a) == 100);

    struct rlimit before, little;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    little = before;
    little.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    st = keys_reload(k, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_status(st, MUGA_E_ENV, &err, "the disk "); /* is full, or failed */
    assert_true(check(k, a) == KEYS_GOOD && used(k, a) == 100);
    assert_ok(keys_reload(k, &err), &err);
    assert_int_equal(used(k, a), 100);
    assert_int_equal(fixture_count(w.path, "SELECT sum(prompt_tokens) FROM api_key_usage"), 100);
    keys_close(k);
    store_close(w.s);
}

static void damaged_scopes_let_nobody_in(void **state) {
    (void)state;
    world w;
    char a[KEY_TEXT_SIZE];
    muga_error err;
    begin(&w, "damaged.db");
    make(&w, &(key_spec){.name = "a"}, a);
    struct keys *k = open_keys(&w, NULL), *none;
    const keys_options o = {w.path, &w.clock, NULL};
    fixture_sql(w.path, "UPDATE api_keys SET scopes = 'everything'");
    assert_status(keys_tick(k, &err), MUGA_E_ENV, &err, "key a: its scopes 'everything' are damaged");
    assert_int_equal(check(k, a), KEYS_GOOD); /* the table from before */
    assert_status(keys_open(&o, &none, &err), MUGA_E_ENV, &err, "damaged");
    keys_close(k);
    store_close(w.s);
}

/* Someone who can write muga.db gives himself a key, or a key of his more than it had. */
static void a_key_that_no_record_tells_of_is_found(void **state) {
    (void)state;
    static const struct {
        const char *sql;
        bool whole;
    } changes[] = {
        {"SELECT 1", true},
        {"UPDATE api_keys SET scopes = 'models:*,admin' WHERE name = 'a'", false},
        {"UPDATE api_keys SET revoked_ms = NULL WHERE name = 'b'", false},
        {"UPDATE api_keys SET expires_ms = NULL WHERE name = 'a'", false},
        {"UPDATE api_keys SET tenant = 'other' WHERE name = 'a'", false},
        {"UPDATE api_keys SET tokens_day = 0 WHERE name = 'a'", false},
        {"UPDATE api_key_secrets SET hash = zeroblob(32)", false},
        {"UPDATE api_key_secrets SET expires_ms = NULL WHERE expires_ms IS NOT NULL", false},
        {"DELETE FROM api_key_secrets WHERE expires_ms IS NULL", false},
        {"DELETE FROM api_keys WHERE name = 'b'", false},
        {"INSERT INTO api_keys SELECT 'key_mine', 'mine', tenant, scopes, 0, 0, 1, 0, created_ms, NULL, NULL FROM"
         " api_keys WHERE name = 'a'",
         false},
        {"INSERT INTO api_key_usage SELECT id, 1, 1, 1, 1 FROM api_keys", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        world w;
        char text[KEY_TEXT_SIZE], id[KEY_ID_SIZE];
        muga_error err;
        audit_report report;
        begin(&w, "chain.db");
        make(&w, &(key_spec){.name = "a", .tokens_day = 10, .expires_ms = w.now_ms + DAY_MS}, text);
        make(&w, &(key_spec){.name = "b"}, text);
        make(&w, &(key_spec){.name = "gone"}, text);
        assert_ok(keys_rotate(w.s, &w.by, "a", 1000, id, text, &err), &err);
        assert_ok(keys_revoke(w.s, &w.by, "b", false, &err), &err);
        assert_ok(keys_revoke(w.s, &w.by, "gone", true, &err), &err);
        fixture_sql(w.path, changes[i].sql);
        muga_status st = audit_verify(w.s, &report, &err);
        if (changes[i].whole) {
            assert_ok(st, &err);
            assert_int_equal(report.n_records, 6);
        } else {
            assert_status(st, MUGA_E_NEGATIVE, &err, "is not what the audit chain tells");
        }
        store_close(w.s);
    }
}

static void the_list_says_all_but_the_key(void **state) {
    (void)state;
    world w;
    char a[KEY_TEXT_SIZE], b[KEY_TEXT_SIZE];
    muga_error err;
    json_t *list;
    begin(&w, "list.db");
    make(&w, &(key_spec){.name = "a", .tokens_day = 5, .concurrency = 2, .expires_ms = w.now_ms + 1}, a);
    w.now_ms += 1;
    make(&w, &(key_spec){.name = "b", .priority = -1, .weight = 3}, b);
    assert_ok(keys_list(w.s, w.now_ms, &list, &err), &err);
    str text = STR_INIT;
    json_write(list, &text);
    assert_null(strstr(str_get(&text), a));
    assert_non_null(strstr(str_get(&text), "\"tokens_day\":5,\"concurrency\":2"));
    assert_non_null(strstr(str_get(&text), "\"state\":\"expired\""));
    assert_non_null(strstr(str_get(&text), "\"weight\":3,\"priority\":-1"));
    assert_memory_equal(json_get_string(json_array_get(list, 0), "prefix"), a, 13);
    str_release(&text);
    json_decref(list);
    store_close(w.s);
}

/* ---- threads ---- */

typedef struct worker {
    struct keys *k;
    const char *text;
    int n_good;
} worker;

static void *ask(void *p) {
    worker *w = p;
    const struct key *who;
    for (int i = 0; i < 2000; i++) {
        if (keys_check(w->k, w->text, &who) == KEYS_GOOD) {
            keys_charge(w->k, who, 2, 1);
            w->n_good += key_may_model(who, "tiny:latest");
            key_release(who);
        }
    }
    return NULL;
}

static void tables_change_under_those_who_ask(void **state) {
    (void)state;
    world w;
    char text[KEY_TEXT_SIZE];
    muga_error err;
    pthread_t threads[4];
    worker workers[4];
    begin(&w, "threads.db");
    make(&w, &(key_spec){.name = "a"}, text);
    struct keys *k = open_keys(&w, NULL);
    for (int i = 0; i < 4; i++) {
        workers[i] = (worker){k, text, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &workers[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        assert_ok(keys_reload(k, &err), &err);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].n_good, 2000);
    }
    assert_ok(keys_reload(k, &err), &err);
    assert_int_equal(fixture_count(w.path, "SELECT sum(requests * 10 + prompt_tokens + answer_tokens) FROM"
                                           " api_key_usage"),
                     4 * 2000 * 13);
    keys_close(k);
    store_close(w.s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_random_and_checks_itself),
        cmocka_unit_test(the_store_does_not_hold_it),
        cmocka_unit_test(without_keys_anyone_is_the_anonymous_one),
        cmocka_unit_test(a_new_key_counts_at_once),
        cmocka_unit_test(a_configuration_takes_rights_from_the_anonymous_one),
        cmocka_unit_test(revoked_expired_rotated_and_forgotten),
        cmocka_unit_test(forged_keys_are_refused_at_the_same_work),
        cmocka_unit_test(scopes_that_say_nothing_are_refused),
        cmocka_unit_test(a_key_may_what_its_scopes_say),
        cmocka_unit_test(a_pattern_of_stars_takes_no_time),
        cmocka_unit_test(a_spec_out_of_range_is_refused),
        cmocka_unit_test(tenants_are_apart_unless_named),
        cmocka_unit_test(what_is_used_is_counted_by_the_day_and_kept),
        cmocka_unit_test(old_use_is_forgotten_once_a_day),
        cmocka_unit_test(a_locked_or_full_store_loses_nothing_that_was_counted),
        cmocka_unit_test(damaged_scopes_let_nobody_in),
        cmocka_unit_test(a_key_that_no_record_tells_of_is_found),
        cmocka_unit_test(the_list_says_all_but_the_key),
        cmocka_unit_test(tables_change_under_those_who_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
