/* Options of the verbs: one table a verb serves parsing, checking and help. */
#include "cmd/cmd.h"

#include <errno.h>
#include <math.h>

static const cmd_option *find_long(const cmd_option *o, size_t n, const char *text, size_t len) {
    for (size_t i = 0; i < n; i++)
        if (strlen(o[i].name) == len && !memcmp(o[i].name, text, len))
            return &o[i];
    return NULL;
}

static const cmd_option *find_short(const cmd_option *o, size_t n, char letter) {
    for (size_t i = 0; i < n; i++)
        if (o[i].letter && o[i].letter == letter)
            return &o[i];
    return NULL;
}

static int usage_error(const char *verb, const char *format, const char *a, const char *b) {
    char what[320];
    snprintf(what, sizeof what, format, a, b);
    return cmd_error(MUGA_E_USAGE, "%s: %s; see `muga help %s`", verb, what, verb);
}

static bool parse_u64(const char *text, uint64_t max, uint64_t *out) {
    char *end;
    if (!*text || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || *end || v > max)
        return false;
    *out = v;
    return true;
}

static bool parse_f32(const char *text, float *out) {
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (end == text || *end || !isfinite(v) || v > 1e30 || v < -1e30)
        return false;
    *out = (float)v;
    return true;
}

/* NULL: the word is none for a CMD_SWITCH. */
static const char *read_switch(const char *word) {
    return !strcmp(word, "on") || !strcmp(word, "true")     ? "on"
           : !strcmp(word, "off") || !strcmp(word, "false") ? "off"
                                                            : NULL;
}

static int store_value(const char *verb, const cmd_option *o, const char *text) {
    uint64_t u;
    switch (o->kind) {
    case CMD_FLAG: *(bool *)o->target = true; return -1;
    case CMD_STRING: *(const char **)o->target = text; return -1;
    case CMD_SWITCH:
        if (!read_switch(text))
            return usage_error(verb, "%s is on or off, not '%s'", o->name, text);
        *(const char **)o->target = read_switch(text);
        return -1;
    case CMD_U32:
        if (!parse_u64(text, UINT32_MAX, &u))
            return usage_error(verb, "%s needs a whole number from 0 to 4294967295, not '%s'", o->name, text);
        *(uint32_t *)o->target = (uint32_t)u;
        return -1;
    case CMD_U64:
        if (!parse_u64(text, UINT64_MAX, (uint64_t *)o->target))
            return usage_error(verb, "%s needs a whole number, not '%s'", o->name, text);
        return -1;
    case CMD_F32:
        if (!parse_f32(text, o->target))
            return usage_error(verb, "%s needs a number, not '%s'", o->name, text);
        return -1;
    case CMD_REPEAT: {
        cmd_values *values = o->target;
        if (values->n == ARRAY_LEN(values->v))
            return usage_error(verb, "%s is given more than %s times", o->name, "64");
        values->v[values->n++] = text;
        return -1;
    }
    }
    return -1;
}

static void print_options(const cmd_option *o, size_t n) {
    if (manual_is_on()) {
        manual_options(o, n);
        return;
    }
    if (n)
        printf("\nOptions:\n");
    for (size_t i = 0; i < n; i++) {
        char left[64], letter[8] = "";
        if (o[i].letter)
            snprintf(letter, sizeof letter, "-%c, ", o[i].letter);
        snprintf(left, sizeof left, "%s%s%s%s", letter, o[i].name, o[i].arg ? " " : "", o[i].arg ? o[i].arg : "");
        printf("  %-24s %s\n", left, o[i].help);
    }
}

int cmd_parse(const char *verb, const cmd_option *options, size_t n_options, int argc, char **argv, cmd_positional *p) {
    bool only_positional = false;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *value = NULL;
        const cmd_option *o;
        if (only_positional || a[0] != '-' || !a[1]) {
            if (p->n == MIN(p->max, ARRAY_LEN(p->v)))
                return usage_error(verb, "unexpected argument '%s'%s", a, "");
            p->v[p->n++] = a;
            continue;
        }
        if (!strcmp(a, "--")) {
            only_positional = true;
            continue;
        }
        if (!strcmp(a, "-h") || !strcmp(a, "--help")) {
            cmd_print_verb(verb);
            print_options(options, n_options);
            return cmd_finish_output(0);
        }
        if (a[1] == '-') {
            const char *equals = strchr(a, '=');
            o = find_long(options, n_options, a, equals ? (size_t)(equals - a) : strlen(a));
            value = equals ? equals + 1 : NULL;
            if (o && o->kind == CMD_FLAG && value)
                return usage_error(verb, "%s takes no value%s", o->name, "");
        } else {
            o = find_short(options, n_options, a[1]);
            value = a[2] ? a + 2 : NULL;
            if (o && o->kind == CMD_FLAG && value)
                return usage_error(verb, "unknown option '%s'%s", a, "");
        }
        if (!o)
            return usage_error(verb, "unknown option '%s'%s", a, "");
        if (o->kind == CMD_SWITCH && !value) {
            value = i + 1 < argc && read_switch(argv[i + 1]) ? argv[++i] : "on";
        } else if (o->kind != CMD_FLAG && !value) {
            if (i + 1 >= argc)
                return usage_error(verb, "%s needs a value: %s", o->name, o->arg);
            value = argv[++i];
        }
        int code = store_value(verb, o, value);
        if (code >= 0)
            return code;
    }
    if (p->n < p->min)
        return usage_error(verb,
                           p->n ? "an argument is missing in 'muga %s %s'" : "arguments are missing in 'muga %s %s'",
                           verb, cmd_usage_of(verb));
    return -1;
}

int cmd_parse_kv(const char *text, kernel_kv_type *out) {
    if (!text || kernel_kv_parse(text, out))
        return -1;
    return cmd_error(MUGA_E_USAGE, "--kv is f16, f32 or q8, not \"%.40s\"", text);
}

int cmd_parse_adapter(const char *text, char **path, float *scale) {
    if (!text)
        return -1;
    const char *colon = strrchr(text, ':');
    size_t n = strlen(text);
    *scale = 1;
    if (colon && strchr("+-.0123456789", colon[1])) { /* a number follows, or nothing */
        char *end;
        *scale = strtof(colon + 1, &end);
        if (end == colon + 1 || *end || !isfinite(*scale))
            return cmd_error(MUGA_E_USAGE, "--adapter takes FILE or FILE:SCALE, a finite number; not \"%.80s\"", text);
        n = (size_t)(colon - text);
    }
    if (n == 0)
        return cmd_error(MUGA_E_USAGE, "--adapter takes FILE or FILE:SCALE; the file's name is empty");
    *path = mem_copy_bytes(text, n);
    return *path ? -1 : cmd_error(MUGA_E_NOMEM, "out of memory for the adapter's name");
}
