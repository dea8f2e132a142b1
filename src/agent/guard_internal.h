/* Private to guard*.c and manifest_guards.c: what guards look at, and what they find. */
#ifndef MUGA_AGENT_GUARD_INTERNAL_H
#define MUGA_AGENT_GUARD_INTERNAL_H

#include "agent/guard.h"
#include "agent/internal.h"

enum { /* the guards that are built in, by their place in guard_names; patterns of the manifest follow */
       GUARD_LENGTH,
       GUARD_LANGUAGE,
       GUARD_CONTROL,
       GUARD_HIDDEN,
       GUARD_MIXED,
       GUARD_SECRETS,
       GUARD_EMAIL,
       GUARD_PHONE,
       GUARD_IBAN,
       GUARD_CARD,
       GUARD_NATIONAL_ID,
       GUARD_IP,
       N_GUARDS
};
extern const char *const guard_names[N_GUARDS];

#define GUARD_MAX_PATTERNS 64

typedef struct guard_pattern {
    const char *name;
    void *code; /* pcre2_code */
} guard_pattern;

typedef struct guard_rules {
    guard_action action[N_GUARDS + GUARD_MAX_PATTERNS]; /* PASS: not looked for */
    guard_pattern patterns[GUARD_MAX_PATTERNS];
    size_t n_patterns;
    const json_t *say;  /* {guard: words}, or NULL */
    uint64_t languages; /* bits of guard_language; 0: any */
    int64_t max_chars;
    bool mark;   /* what is masked leaves a word in its place, where it would leave nothing */
    bool strict; /* output.grounded */
} guard_rules;

struct guard_set {
    guard_rules side[3]; /* by guard_side */
    void *limits;        /* pcre2_match_context */
    json_t *owned;       /* by guard_set_read */
};

typedef struct guard_found {
    size_t from, to; /* bytes of the text */
    unsigned guard;
    const char *what; /* "holds ..." */
} guard_found;

typedef struct guard_list {
    guard_found *v;
    size_t n, cap;
} guard_list;
/* A range that goes on where the last one of the same guard and kind ended makes it longer. */
muga_status guard_add(guard_list *l, size_t from, size_t to, unsigned guard, const char *what, muga_error *err);

/* ---- a text taken apart (guard_text.c) ---- */
#define GUARD_NO_CHAR 0x110000u /* a byte that is no text */
typedef struct guard_text {
    const char *p;
    size_t n;
    uint32_t *cp; /* [n_cp] */
    size_t *at;   /* [n_cp + 1] its byte; at[n_cp] = n */
    size_t n_cp;
    /* The same as it is read: without what can't be seen, full-width and ornamental letters as plain ones, foreign
     * letters that stand among Latin ones and look like them as those. Byte for byte with its place in p. */
    char *plain;
    size_t *plain_at; /* [n_plain + 1] */
    size_t n_plain;
} guard_text;
/* `hidden` (may be NULL) receives control characters, hidden text and mixed words on the way. */
muga_status guard_text_new(const char *p, size_t n, guard_text *out, guard_list *found, muga_error *err);
void guard_text_release(guard_text *t);
/* Comments and elements of HTML that no reader sees (guard_markup.c). */
muga_status guard_find_markup(const char *p, size_t n, guard_list *found, muga_error *err);
bool guard_is_letter(const guard_text *t, size_t i); /* code point i, of any alphabet */

/* ---- keys and tokens (guard_secrets.c), over guard_text.plain; places are those of plain ---- */
muga_status guard_find_secrets(const char *p, size_t n, guard_list *found, muga_error *err);

/* ---- languages (guard_language.c) ---- */
#define GUARD_N_LANGUAGES 32
/* -1: no code of a language that is known. */
int guard_language_of_code(const char *code);
const char *guard_language_code(int language);
/* The languages that a text may be in, as bits; 0: too short or too unlike any to say. */
uint64_t guard_languages(const guard_text *t);

/* ---- numbers (guard_numbers.c) ---- */
muga_status guard_numbers_stand(const char *text, const json_t *texts, bool *ok, char which[64], muga_error *err);
#endif
