/* Lexer of chat templates: text into data and tokens, with the white-space rules of trim_blocks and lstrip_blocks.
 * Owns no state beyond one pass over the source. Refuses what Jinja refuses; character names (\N{...}) too.
 * Source: the Jinja template designer documentation ("Whitespace Control", "Literals", "Line Statements" off). */
#include "base/utf8.h"
#include "model/template_internal.h"

#include <utf8proc.h>

#define MAX_NESTING 256

typedef struct lexer {
    const char *p;
    size_t n, at;
    uint32_t line;
    arena *mem;
    template_tokens *out;
    muga_error *err;
    bool line_starting; /* what came last ended with a newline that is gone, or nothing came before */
} lexer;

bool template_is_space(uint32_t cp) {
    if (cp < 0x80)
        return cp == ' ' || (cp >= 0x09 && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x1F);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

size_t template_last_char(const char *p, size_t n, uint32_t *cp) {
    size_t k = 1;
    while (k < n && k < 4 && ((uint8_t)p[n - k] & 0xC0) == 0x80)
        k++;
    if (utf8_decode(p + n - k, k, cp) == k)
        return k;
    *cp = (uint8_t)p[n - 1];
    return 1;
}

static muga_status lex_fail(const lexer *lx, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static muga_status lex_fail(const lexer *lx, uint32_t line, const char *format, ...) {
    char text[200];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(lx->err, MUGA_E_INPUT, "template line %u: %s", line, text);
}

static muga_status lex_push(lexer *lx, token t) {
    template_tokens *l = lx->out;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 256;
        token *v = mem_resize_array(l->v, cap, sizeof *v);
        if (!v)
            return error_nomem(lx->err, "template tokens");
        l->v = v;
        l->cap = cap;
    }
    l->v[l->n++] = t;
    return MUGA_OK;
}

static bool lex_starts(const lexer *lx, size_t at, const char *s) {
    size_t k = strlen(s);
    return lx->n - at >= k && memcmp(lx->p + at, s, k) == 0;
}

static char lex_byte(const lexer *lx, size_t at) {
    return at < lx->n ? lx->p[at] : 0;
}

static void lex_advance(lexer *lx, size_t k) {
    for (size_t i = 0; i < k; i++)
        lx->line += lx->p[lx->at + i] == '\n';
    lx->at += k;
}

/* End of the white space from `at` on. */
static size_t lex_skip_space(const lexer *lx, size_t at) {
    uint32_t cp;
    while (at < lx->n) {
        size_t k = template_first_char(lx->p + at, lx->n - at, &cp);
        if (!template_is_space(cp))
            break;
        at += k;
    }
    return at;
}

/* Push [from, to) as data, its end cut by the sign of the tag that follows: '-' cuts all white space, lstrip cuts
 * the blanks between the line's beginning and the tag. */
static muga_status lex_push_data(lexer *lx, size_t from, size_t to, char sign, bool lstrip, uint32_t line) {
    uint32_t cp;
    if (sign == '-' || (lstrip && sign != '+')) {
        size_t cut = to;
        while (cut > from) {
            size_t k = template_last_char(lx->p + from, cut - from, &cp);
            if (!template_is_space(cp) || (sign != '-' && cp == '\n'))
                break;
            cut -= k;
        }
        if (sign == '-' || (cut > from ? lx->p[cut - 1] == '\n' : lx->line_starting))
            to = cut;
    }
    if (to == from)
        return MUGA_OK;
    return lex_push(lx, (token){.type = T_DATA, .line = line, .text = span_of(lx->p + from, to - from)});
}

/* After a closing tag: '-' eats all white space, else (trim) one newline. */
static void lex_after_tag(lexer *lx, char sign, bool trim) {
    size_t from = lx->at;
    if (sign == '-')
        lex_advance(lx, lex_skip_space(lx, lx->at) - lx->at);
    else if (trim && sign != '+' && lex_byte(lx, lx->at) == '\n')
        lex_advance(lx, 1);
    lx->line_starting = lx->at > from && lx->p[lx->at - 1] == '\n';
}

/* ---- strings ---- */

static int lex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return (c | 0x20) - 'a' + 10;
    return 16;
}

/* One escape at p[0] == '\\' (n > 1 bytes left). Writes to out, returns the bytes consumed; 0: it isn't whole. An
 * unknown escape stays as it is. */
static size_t lex_escape(const char *p, size_t n, char *out, size_t *n_out) {
    static const char from[] = "ntrabfv\\'\"", to[] = "\n\t\r\a\b\f\v\\'\"";
    *n_out = 0;
    if (p[1] == '\n')
        return 2;
    const char *f = p[1] ? strchr(from, p[1]) : NULL;
    if (f) {
        out[(*n_out)++] = to[f - from];
        return 2;
    }
    uint32_t cp = 0;
    size_t k = 0, digits = p[1] == 'x' ? 2 : p[1] == 'u' ? 4 : p[1] == 'U' ? 8 : 0;
    if (digits) {
        for (; k < digits && 2 + k < n && lex_digit(p[2 + k]) < 16; k++)
            cp = cp * 16 + (uint32_t)lex_digit(p[2 + k]);
        return k == digits && (*n_out = utf8_encode(cp, out)) > 0 ? 2 + k : 0;
    }
    if (lex_digit(p[1]) < 8) {
        for (; k < 3 && 1 + k < n && lex_digit(p[1 + k]) < 8; k++)
            cp = cp * 8 + (uint32_t)lex_digit(p[1 + k]);
        *n_out = utf8_encode(cp, out);
        return 1 + k;
    }
    if (p[1] == 'N')
        return 0;
    out[0] = '\\';
    out[1] = p[1];
    *n_out = 2;
    return 2;
}

static muga_status lex_string(lexer *lx) {
    char quote = lx->p[lx->at];
    size_t end = lx->at + 1;
    while (end < lx->n && lx->p[end] != quote)
        end += lx->p[end] == '\\' ? 2 : 1;
    if (end >= lx->n)
        return lex_fail(lx, lx->line, "string is not closed; add %c", quote);
    size_t n_raw = end - lx->at - 1, n = 0;
    const char *raw = lx->p + lx->at + 1;
    char *text = arena_alloc(lx->mem, n_raw * 2 + 1);
    if (!text)
        return error_nomem(lx->err, "template string");
    for (size_t i = 0; i < n_raw;) {
        if (raw[i] != '\\') {
            text[n++] = raw[i++];
            continue;
        }
        size_t k, used = lex_escape(raw + i, n_raw - i, text + n, &k);
        if (!used)
            return lex_fail(lx, lx->line, "escape \\%c is not whole or not a character; write it out", raw[i + 1]);
        i += used;
        n += k;
    }
    token t = {.type = T_STRING, .line = lx->line, .text = span_of(text, n)};
    lex_advance(lx, n_raw + 2);
    return lex_push(lx, t);
}

/* ---- numbers ---- */

/* End of digits of this base from `at`, single underscores between them; `at` where there is none. */
static size_t lex_digits(const lexer *lx, size_t at, int base) {
    size_t end = at;
    while (lex_digit(lex_byte(lx, end)) < base)
        end += 1 + (lex_byte(lx, end + 1) == '_' && lex_digit(lex_byte(lx, end + 2)) < base);
    return end;
}

/* End of a float literal, or 0 where there is none: digits, then a fraction or an exponent or both. */
static size_t lex_float_end(const lexer *lx, size_t at) {
    size_t end = lex_digits(lx, at, 10), after;
    bool whole = true;
    if (at > 0 && lx->p[at - 1] == '.')
        return 0;
    if (lex_byte(lx, end) == '.' && (after = lex_digits(lx, end + 1, 10)) > end + 1) {
        end = after;
        whole = false;
    }
    if ((lex_byte(lx, end) | 0x20) == 'e') {
        size_t digits = end + 1 + (lex_byte(lx, end + 1) == '+' || lex_byte(lx, end + 1) == '-');
        if ((after = lex_digits(lx, digits, 10)) > digits)
            return after;
    }
    return whole ? 0 : end;
}

static muga_status lex_number(lexer *lx) {
    token t = {.type = T_INT, .line = lx->line};
    size_t end = lex_float_end(lx, lx->at), n = 0;
    if (end) {
        char *digits = arena_alloc(lx->mem, end - lx->at + 1);
        if (!digits)
            return error_nomem(lx->err, "template number");
        for (size_t i = lx->at; i < end; i++)
            if (lx->p[i] != '_')
                digits[n++] = lx->p[i];
        t.type = T_FLOAT;
        t.d = strtod(digits, NULL);
    } else {
        char mark = lex_byte(lx, lx->at + 1) | 0x20;
        int base = lx->p[lx->at] != '0' ? 10 : mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 1;
        size_t from = lx->at;
        if (base != 10 && base != 1) {
            from += 2 + (lex_byte(lx, lx->at + 2) == '_');
            if (lex_digits(lx, from, base) == from)
                base = 1; /* a bare 0; what follows is a name */
        }
        from = base == 1 ? lx->at : from;
        end = lex_digits(lx, from, base);
        for (size_t i = from; i < end; i++)
            if (lx->p[i] != '_' && (__builtin_mul_overflow(t.i, base == 1 ? 10 : base, &t.i) ||
                                    __builtin_add_overflow(t.i, lex_digit(lx->p[i]), &t.i)))
                return lex_fail(lx, lx->line, "integer is beyond 64 bits");
    }
    lex_advance(lx, end - lx->at);
    return lex_push(lx, t);
}

/* ---- names and operators ---- */

/* Bytes of the name at `at`, 0 where there is none. *bad: it has a character no name may have there. */
static size_t lex_name(const lexer *lx, size_t at, bool *bad) {
    size_t end = at;
    *bad = false;
    while (end < lx->n) {
        uint32_t cp;
        size_t k = template_first_char(lx->p + end, lx->n - end, &cp);
        if (cp < 0x80) {
            bool letter = (cp | 0x20) >= 'a' && (cp | 0x20) <= 'z';
            if (!letter && cp != '_' && !(end > at && cp >= '0' && cp <= '9'))
                break;
        } else {
            utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
            bool letter = (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) || c == UTF8PROC_CATEGORY_NL;
            bool part = letter || c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ND ||
                        c == UTF8PROC_CATEGORY_PC;
            if (!part && c != UTF8PROC_CATEGORY_NO)
                break;
            *bad |= end > at ? !part : !letter;
        }
        end += k;
    }
    return end - at;
}

static muga_status lex_push_name(lexer *lx, size_t k) {
    char *name = arena_copy_bytes(lx->mem, lx->p + lx->at, k);
    if (!name)
        return error_nomem(lx->err, "template name");
    lex_advance(lx, k);
    return lex_push(lx, (token){.type = T_NAME, .line = lx->line, .text = span_of(name, k)});
}

static token_type lex_operator(const lexer *lx, size_t *n) {
    static const struct {
        const char *s;
        token_type t;
    } ops[] = {{"//", T_FLOORDIV}, {"**", T_POW},   {"==", T_EQ},      {"!=", T_NE},      {"<=", T_LE},
               {">=", T_GE},       {"+", T_ADD},    {"-", T_SUB},      {"*", T_MUL},      {"/", T_DIV},
               {"%", T_MOD},       {"~", T_TILDE},  {"[", T_LBRACKET}, {"]", T_RBRACKET}, {"(", T_LPAREN},
               {")", T_RPAREN},    {"{", T_LBRACE}, {"}", T_RBRACE},   {"<", T_LT},       {">", T_GT},
               {"=", T_ASSIGN},    {".", T_DOT},    {":", T_COLON},    {"|", T_PIPE},     {",", T_COMMA},
               {";", T_SEMICOLON}};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (lex_starts(lx, lx->at, ops[i].s)) {
            *n = strlen(ops[i].s);
            return ops[i].t;
        }
    return T_EOF;
}

/* Brackets that are open. */
typedef struct nesting {
    token_type closing[MAX_NESTING];
    int n;
} nesting;

static muga_status lex_push_operator(lexer *lx, nesting *open) {
    size_t k = 0;
    char c = lx->p[lx->at];
    token_type t = lex_operator(lx, &k);
    if (t == T_EOF)
        return lex_fail(lx, lx->line, "unexpected byte 0x%02x", (uint8_t)c);
    if (t == T_LPAREN || t == T_LBRACKET || t == T_LBRACE) {
        if (open->n == MAX_NESTING)
            return error_set(lx->err, MUGA_E_LIMIT, "template line %u: nested deeper than %d; simplify it", lx->line,
                             MAX_NESTING);
        open->closing[open->n++] = t == T_LPAREN ? T_RPAREN : t == T_LBRACKET ? T_RBRACKET : T_RBRACE;
    }
    if (t == T_RPAREN || t == T_RBRACKET || t == T_RBRACE) {
        if (open->n == 0 || open->closing[--open->n] != t)
            return lex_fail(lx, lx->line, "unexpected '%c'", c);
    }
    muga_status st = lex_push(lx, (token){.type = t, .line = lx->line});
    lex_advance(lx, k);
    return st;
}

/* The closing tag at the current place: eaten and pushed. A plus before "}}" belongs to the expression. */
static bool lex_close(lexer *lx, const char *close, token_type type, muga_status *st) {
    char c = lx->p[lx->at], sign = c == '-' || (c == '+' && close[0] == '%') ? c : 0;
    if (!lex_starts(lx, lx->at + (sign != 0), close))
        return false;
    token t = {.type = type, .line = lx->line};
    lex_advance(lx, 2 + (size_t)(sign != 0));
    lex_after_tag(lx, sign, close[0] == '%');
    *st = lex_push(lx, t);
    return true;
}

/* Tokens up to the closing tag ("%}" or "}}"), which is looked for only outside brackets. close NULL: to the end. */
static muga_status lex_code(lexer *lx, const char *close, token_type end_type) {
    nesting open = {.n = 0};
    uint32_t begin = lx->line;
    muga_status st = MUGA_OK;
    while (!st) {
        bool bad;
        lex_advance(lx, lex_skip_space(lx, lx->at) - lx->at);
        if (lx->at >= lx->n)
            break;
        if (close && open.n == 0 && lex_close(lx, close, end_type, &st))
            return st;
        char c = lx->p[lx->at];
        size_t k = lex_name(lx, lx->at, &bad);
        if (bad)
            return lex_fail(lx, lx->line, "invalid character in the name '%.*s'", (int)MIN(k, (size_t)60),
                            lx->p + lx->at);
        if (k)
            st = lex_push_name(lx, k);
        else if (c == '\'' || c == '"')
            st = lex_string(lx);
        else if (c >= '0' && c <= '9')
            st = lex_number(lx);
        else
            st = lex_push_operator(lx, &open);
    }
    if (!st && close)
        return lex_fail(lx, begin, "tag is not closed; expected '%s'", close);
    return st;
}

/* ---- tags ---- */

/* "{% raw %}" and "{% endraw %}" at `at`: its end and signs. "+%}" closes only the second. */
static bool lex_match_tag(const lexer *lx, size_t at, const char *name, size_t *end, char *open_sign,
                          char *close_sign) {
    size_t i = at + 2;
    char c = lex_byte(lx, i);
    *open_sign = c == '-' || c == '+' ? lx->p[i++] : 0;
    i = lex_skip_space(lx, i);
    if (!lex_starts(lx, i, name))
        return false;
    i = lex_skip_space(lx, i + strlen(name));
    c = lex_byte(lx, i);
    *close_sign = c == '-' || (c == '+' && name[0] == 'e') ? lx->p[i++] : 0;
    *end = i + 2;
    return lex_starts(lx, i, "%}");
}

/* The opening tag keeps the newline after it, unlike all others. */
static muga_status lex_raw(lexer *lx, size_t tag_end, char close_sign) {
    uint32_t line = lx->line;
    lex_advance(lx, tag_end - lx->at);
    lex_after_tag(lx, close_sign, false);
    size_t from = lx->at;
    for (size_t i = from; i + 1 < lx->n; i++) {
        size_t end;
        char open, close;
        if (lx->p[i] != '{' || lx->p[i + 1] != '%' || !lex_match_tag(lx, i, "endraw", &end, &open, &close))
            continue;
        muga_status st = lex_push_data(lx, from, i, open, true, lx->line);
        lex_advance(lx, end - lx->at);
        lex_after_tag(lx, close, true);
        return st;
    }
    return lex_fail(lx, line, "raw is not closed; add {%% endraw %%}");
}

static muga_status lex_comment(lexer *lx, char sign) {
    uint32_t line = lx->line;
    for (size_t i = lx->at + 2 + (sign != 0); i + 1 < lx->n; i++)
        if (lx->p[i] == '#' && lx->p[i + 1] == '}') {
            char before = i > lx->at + 2 + (sign != 0) ? lx->p[i - 1] : 0;
            lex_advance(lx, i + 2 - lx->at);
            lex_after_tag(lx, before == '-' || before == '+' ? before : 0, true);
            return MUGA_OK;
        }
    return lex_fail(lx, line, "comment is not closed; add #}");
}

/* The tag at the current place, of the kind its second byte says. */
static muga_status lex_tag(lexer *lx, char kind, char sign) {
    size_t end;
    char open, close;
    if (kind == '#')
        return lex_comment(lx, sign);
    if (kind == '%' && lex_match_tag(lx, lx->at, "raw", &end, &open, &close))
        return lex_raw(lx, end, close);
    muga_status st = lex_push(lx, (token){.type = kind == '%' ? T_BLOCK_BEGIN : T_VAR_BEGIN, .line = lx->line});
    lex_advance(lx, sign ? 3 : 2);
    if (st)
        return st;
    return kind == '%' ? lex_code(lx, "%}", T_BLOCK_END) : lex_code(lx, "}}", T_VAR_END);
}

static muga_status lex_template(lexer *lx) {
    lx->line_starting = true;
    while (lx->at < lx->n) {
        size_t from = lx->at, i = from;
        uint32_t line = lx->line;
        while (i + 1 < lx->n &&
               !(lx->p[i] == '{' && (lx->p[i + 1] == '{' || lx->p[i + 1] == '%' || lx->p[i + 1] == '#')))
            i++;
        if (i + 1 >= lx->n) {
            lx->at = lx->n;
            return lex_push(lx, (token){.type = T_DATA, .line = line, .text = span_of(lx->p + from, lx->n - from)});
        }
        char kind = lx->p[i + 1], c = lex_byte(lx, i + 2), sign = c == '-' || c == '+' ? c : 0;
        muga_status st = lex_push_data(lx, from, i, sign, kind != '{', line);
        lex_advance(lx, i - from);
        if (!st)
            st = lex_tag(lx, kind, sign);
        if (st)
            return st;
    }
    return MUGA_OK;
}

/* "\r\n" and "\r" become "\n"; one newline at the very end goes. */
static muga_status lex_normalise(const char *source, size_t n, arena *mem, span *out, muga_error *err) {
    char *p = arena_alloc(mem, n + 1);
    if (!p)
        return error_nomem(err, "template source");
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (source[i] == '\r') {
            p[k++] = '\n';
            if (i + 1 < n && source[i + 1] == '\n')
                i++;
        } else {
            p[k++] = source[i];
        }
    }
    if (k && p[k - 1] == '\n')
        k--;
    *out = span_of(p, k);
    return MUGA_OK;
}

muga_status template_lex(const char *source, size_t n, bool expression_only, arena *mem, template_tokens *list,
                         muga_error *err) {
    if (n > TEMPLATE_MAX_SOURCE)
        return error_set(err, MUGA_E_LIMIT, "template of %zu bytes is longer than %zu; shorten it", n,
                         TEMPLATE_MAX_SOURCE);
    span text = {0};
    muga_status st = lex_normalise(source, n, mem, &text, err);
    if (st)
        return st;
    lexer lx = {.p = text.p, .n = text.n, .line = 1, .mem = mem, .out = list, .err = err};
    st = expression_only ? lex_code(&lx, NULL, T_EOF) : lex_template(&lx);
    if (st)
        return st;
    return lex_push(&lx, (token){.type = T_EOF, .line = lx.line});
}
