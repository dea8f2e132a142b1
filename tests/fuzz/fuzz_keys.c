/* Scopes and keys as they come from outside: a line of scopes, then names that are asked for, one a line. A scope that
 * is taken is taken again from what it was read as; a name fits a pattern exactly when the plain definition of '*' and
 * '?' says so; a line is a key only if its check fits, and then no other last character does. */
#include "fuzz.h"
#include "serve/keys_internal.h"

/* The definition, with its exponential time held back by a count of steps; -1: too many. */
static int fits(const char *p, const char *name, size_t n, int *steps) {
    if (--*steps < 0)
        return -1;
    if (!*p)
        return n == 0;
    if (*p == '*') {
        int without = fits(p + 1, name, n, steps);
        return without != 0 || n == 0 ? without : fits(p, name + 1, n - 1, steps);
    }
    return n > 0 && (*p == '?' || *p == *name) ? fits(p + 1, name + 1, n - 1, steps) : 0;
}

static int expect(const key_scopes *s, scope_kind kind, const char *name) {
    int any = 0;
    for (size_t i = 0; i < s->n && any == 0; i++) {
        int steps = 20000;
        if (s->list[i].kind == kind)
            any = s->list[i].pattern ? fits(s->list[i].pattern, name, strlen(name), &steps) : 1;
    }
    return any;
}

static void check_name(const key_scopes *s, const char *name) {
    for (int kind = 0; kind < N_SCOPES; kind++) {
        int should = expect(s, (scope_kind)kind, name);
        fuzz_need(should < 0 || scopes_fit(s, (scope_kind)kind, name) == (should > 0));
    }
    if (!strchr(name, ':'))
        fuzz_need(!scopes_fit_model(s, name) || scopes_have(s, SCOPE_MODELS));
}

static void check_key(const char *text, size_t n) {
    if (!key_is_wellformed(text, n))
        return;
    fuzz_need(n == KEY_TEXT_SIZE - 1 && strncmp(text, "muga_", 5) == 0);
    char other[KEY_TEXT_SIZE];
    memcpy(other, text, n);
    other[n] = '\0';
    other[n - 1] = text[n - 1] == '0' ? '1' : '0';
    fuzz_need(!key_is_wellformed(other, n));
}

static void check_scopes(const char *text, char *names) {
    key_scopes s, again;
    muga_error err = {0};
    str back = STR_INIT;
    static const char *const words[] = {"models", "agents", "tools", "approve", "audit", "metrics", "admin"};
    muga_status st = scopes_parse(text, &s, &err);
    if (st) {
        fuzz_need_error(st, MUGA_E_USAGE, MUGA_E_USAGE, &err);
        fuzz_need(s.n == 0);
        return;
    }
    for (size_t i = 0; i < s.n; i++) {
        const char *p = s.list[i].pattern;
        str_printf(&back, "%s%s%s%s", i ? "," : "", words[s.list[i].kind], p ? ":" : "", p ? p : "");
    }
    fuzz_need(!strcmp(str_get(&back), text));
    fuzz_need(scopes_parse(str_get(&back), &again, &err) == MUGA_OK && again.n == s.n);
    for (char *name = strtok(names, "\n"); name; name = strtok(NULL, "\n"))
        check_name(&s, name);
    scopes_release(&again);
    scopes_release(&s);
    str_release(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *raw = fuzz_copy(data, size), *text = mem_copy_bytes((const char *)data, size);
    check_key(raw, size);
    free(raw);
    if (!text)
        abort();
    char *names = strchr(text, '\n');
    if (names)
        *names++ = '\0';
    check_scopes(text, names ? names : text + strlen(text));
    free(text);
    return 0;
}
