/* Lexer of chat templates: text into data and tokens, with the white-space rules of trim_blocks and lstrip_blocks.
 * Owns no state beyond one pass over the source; strings are unescaped into the template's arena.
 * Source: the Jinja template designer documentation ("Whitespace Control", "Literals"). */
#include "base/utf8.h"
#include "model/template_internal.h"

typedef struct lexer {
    const char *p;
    size_t n, at;
    uint32_t line;
    arena *mem;
    token_list *out;
    muga_error *err;
    bool line_starting; /* the last tag ended a line (its newline was eaten), or nothing came before */
} lexer;

static muga_status lex_push(lexer *lx, token t) {
    token_list *l = lx->out;
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

static bool lex_is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool lex_starts(const lexer *lx, const char *s) {
    size_t k = strlen(s);
    return lx->n - lx->at >= k && memcmp(lx->p + lx->at, s, k) == 0;
}

static void lex_advance(lexer *lx, size_t k) {
    for (size_t i = 0; i < k; i++)
        if (lx->p[lx->at + i] == '\n')
            lx->line++;
    lx->at += k;
}

/* Push [from, to) as data, its end cut by the sign of the tag that follows: '-' cuts all white space, lstrip cuts
 * the blanks between the line's beginning and the tag. */
static muga_status lex_push_data(lexer *lx, size_t from, size_t to, char sign, bool lstrip, uint32_t line) {
    if (sign == '-') {
        while (to > from && lex_is_space(lx->p[to - 1]))
            to--;
    } else if (lstrip && sign != '+') {
        size_t l = to;
        while (l > from && lx->p[l - 1] != '\n' && lex_is_space(lx->p[l - 1]))
            l--;
        bool at_line = l > from ? lx->p[l - 1] == '\n' : lx->line_starting;
        if (at_line)
            to = l;
    }
    if (to == from)
        return MUGA_OK;
    return lex_push(lx, (token){.type = T_DATA, .line = line, .text = span_of(lx->p + from, to - from)});
}

/* After a closing tag: '-' eats all white space, else (trim) one newline. */
static void lex_after_tag(lexer *lx, char sign, bool trim) {
    size_t from = lx->at;
    if (sign == '-') {
        while (lx->at < lx->n && lex_is_space(lx->p[lx->at]))
            lex_advance(lx, 1);
    } else if (trim && sign != '+' && lx->at < lx->n && lx->p[lx->at] == '\n') {
        lex_advance(lx, 1);
    }
    lx->line_starting = lx->at > from && lx->p[lx->at - 1] == '\n';
}

static int lex_hex(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* One escape at p[0] == '\\' (n bytes left). Writes to out, returns the bytes consumed. Unknown escapes stay. */
static size_t lex_escape(const char *p, size_t n, char *out, size_t *n_out) {
    static const char from[] = "ntrabfv\\'\"", to[] = "\n\t\r\a\b\f\v\\'\"";
    *n_out = 0;
    if (n < 2) {
        out[(*n_out)++] = '\\';
        return 1;
    }
    if (p[1] == '\n')
        return 2;
    const char *f = strchr(from, p[1]);
    if (f && p[1]) {
        out[(*n_out)++] = to[f - from];
        return 2;
    }
    size_t digits = p[1] == 'x' ? 2 : p[1] == 'u' ? 4 : p[1] == 'U' ? 8 : 0;
    uint32_t cp = 0;
    size_t k = 0;
    if (digits) {
        while (k < digits && 2 + k < n && lex_hex(p[2 + k]) >= 0)
            cp = cp * 16 + (uint32_t)lex_hex(p[2 + k++]);
        if (k == digits && (*n_out = utf8_encode(cp, out)) > 0)
            return 2 + k;
    } else if (p[1] >= '0' && p[1] <= '7') {
        while (k < 3 && 1 + k < n && p[1 + k] >= '0' && p[1 + k] <= '7')
            cp = cp * 8 + (uint32_t)(p[1 + k++] - '0');
        *n_out = utf8_encode(cp, out);
        return 1 + k;
    }
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
        return error_set(lx->err, MUGA_E_INPUT, "template line %u: string is not closed; add %c", lx->line, quote);
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
        size_t k;
        i += lex_escape(raw + i, n_raw - i, text + n, &k);
        n += k;
    }
    token t = {.type = T_STRING, .line = lx->line, .text = span_of(text, n)};
    lex_advance(lx, n_raw + 2);
    return lex_push(lx, t);
}

static bool lex_is_digit(char c) {
    return c >= '0' && c <= '9';
}
static bool lex_is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static muga_status lex_number(lexer *lx) {
    size_t i = lx->at;
    char digits[64];
    size_t k = 0;
    bool real = false;
    for (; i < lx->n; i++) {
        char c = lx->p[i];
        if (c == '_' && k && i + 1 < lx->n && lex_is_digit(lx->p[i + 1]))
            continue;
        bool next_digit = i + 1 < lx->n && lex_is_digit(lx->p[i + 1]);
        bool exponent = (c == 'e' || c == 'E') && (next_digit || (i + 2 < lx->n && lex_is_digit(lx->p[i + 2]) &&
                                                                  (lx->p[i + 1] == '-' || lx->p[i + 1] == '+')));
        if (c == '.' && !real && next_digit)
            real = true;
        else if (exponent)
            real = true;
        else if (!lex_is_digit(c) && !((c == '-' || c == '+') && k && (digits[k - 1] == 'e' || digits[k - 1] == 'E')))
            break;
        if (k + 1 >= sizeof digits)
            return error_set(lx->err, MUGA_E_INPUT, "template line %u: number is too long", lx->line);
        digits[k++] = c;
    }
    digits[k] = 0;
    token t = {.type = real ? T_FLOAT : T_INT, .line = lx->line};
    if (real) {
        t.d = strtod(digits, NULL);
    } else {
        for (size_t j = 0; j < k; j++)
            if (__builtin_mul_overflow(t.i, 10, &t.i) || __builtin_add_overflow(t.i, digits[j] - '0', &t.i))
                return error_set(lx->err, MUGA_E_INPUT, "template line %u: integer is beyond 64 bits", lx->line);
    }
    lex_advance(lx, i - lx->at);
    return lex_push(lx, t);
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
        if (lex_starts(lx, ops[i].s)) {
            *n = strlen(ops[i].s);
            return ops[i].t;
        }
    return T_EOF;
}

/* Tokens up to the closing tag ("%}" or "}}"), which is looked for only outside brackets. close NULL: to the end. */
static muga_status lex_code(lexer *lx, const char *close, token_type end_type) {
    int nesting = 0;
    uint32_t begin = lx->line;
    muga_status st = MUGA_OK;
    while (lx->at < lx->n && !st) {
        char c = lx->p[lx->at];
        if (lex_is_space(c)) {
            lex_advance(lx, 1);
            continue;
        }
        if (close && nesting == 0) {
            char sign = c == '-' || c == '+' ? c : 0;
            size_t skip = sign ? 1 : 0;
            bool plus_var = sign == '+' && close[0] == '}';
            if (!plus_var && lx->n - lx->at >= skip + 2 && memcmp(lx->p + lx->at + skip, close, 2) == 0) {
                token t = {.type = end_type, .line = lx->line};
                lex_advance(lx, skip + 2);
                lex_after_tag(lx, sign, close[0] == '%');
                return lex_push(lx, t);
            }
        }
        if (c == '\'' || c == '"') {
            st = lex_string(lx);
            continue;
        }
        if (lex_is_digit(c)) {
            st = lex_number(lx);
            continue;
        }
        if (lex_is_name_start(c)) {
            size_t k = 1;
            while (lx->at + k < lx->n && (lex_is_name_start(lx->p[lx->at + k]) || lex_is_digit(lx->p[lx->at + k])))
                k++;
            char *name = arena_copy_bytes(lx->mem, lx->p + lx->at, k);
            if (!name)
                return error_nomem(lx->err, "template name");
            st = lex_push(lx, (token){.type = T_NAME, .line = lx->line, .text = span_of(name, k)});
            lex_advance(lx, k);
            continue;
        }
        size_t k = 0;
        token_type t = lex_operator(lx, &k);
        if (t == T_EOF)
            return error_set(lx->err, MUGA_E_INPUT, "template line %u: unexpected byte 0x%02x", lx->line,
                             (unsigned char)c);
        if (t == T_LPAREN || t == T_LBRACKET || t == T_LBRACE)
            nesting++;
        if ((t == T_RPAREN || t == T_RBRACKET || t == T_RBRACE) && --nesting < 0)
            return error_set(lx->err, MUGA_E_INPUT, "template line %u: unexpected '%c'", lx->line, c);
        st = lex_push(lx, (token){.type = t, .line = lx->line});
        lex_advance(lx, k);
    }
    if (!st && close)
        return error_set(lx->err, MUGA_E_INPUT, "template line %u: tag is not closed; expected '%s'", begin, close);
    return st;
}

/* "{% raw %}": returns true and its whole extent when the tag at `at` is one. */
static bool lex_match_tag(const lexer *lx, size_t at, const char *name, size_t *end, char *open_sign,
                          char *close_sign) {
    size_t i = at + 2;
    *open_sign = i < lx->n && (lx->p[i] == '-' || lx->p[i] == '+') ? lx->p[i++] : 0;
    while (i < lx->n && lex_is_space(lx->p[i]))
        i++;
    size_t k = strlen(name);
    if (lx->n - i < k || memcmp(lx->p + i, name, k) != 0)
        return false;
    i += k;
    while (i < lx->n && lex_is_space(lx->p[i]))
        i++;
    *close_sign = i < lx->n && (lx->p[i] == '-' || lx->p[i] == '+') ? lx->p[i++] : 0;
    if (lx->n - i < 2 || memcmp(lx->p + i, "%}", 2) != 0)
        return false;
    *end = i + 2;
    return true;
}

static muga_status lex_raw(lexer *lx, size_t tag_end, char close_sign) {
    uint32_t line = lx->line;
    lex_advance(lx, tag_end - lx->at);
    lex_after_tag(lx, close_sign, true);
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
    return error_set(lx->err, MUGA_E_INPUT, "template line %u: raw is not closed; add {%% endraw %%}", line);
}

static muga_status lex_comment(lexer *lx) {
    uint32_t line = lx->line;
    for (size_t i = lx->at + 2; i + 1 < lx->n; i++)
        if (lx->p[i] == '#' && lx->p[i + 1] == '}') {
            char before = i > lx->at + 2 ? lx->p[i - 1] : 0;
            lex_advance(lx, i + 2 - lx->at);
            lex_after_tag(lx, before == '-' || before == '+' ? before : 0, true);
            return MUGA_OK;
        }
    return error_set(lx->err, MUGA_E_INPUT, "template line %u: comment is not closed; add #}", line);
}

static muga_status lex_template(lexer *lx) {
    lx->line_starting = true;
    while (lx->at < lx->n) {
        size_t from = lx->at, i = from;
        uint32_t line = lx->line;
        while (i + 1 < lx->n && !(lx->p[i] == '{' && strchr("{%#", lx->p[i + 1]) && lx->p[i + 1]))
            i++;
        if (i + 1 >= lx->n) {
            lx->at = lx->n;
            return lex_push(lx, (token){.type = T_DATA, .line = line, .text = span_of(lx->p + from, lx->n - from)});
        }
        char kind = lx->p[i + 1], sign = i + 2 < lx->n && strchr("-+", lx->p[i + 2]) && lx->p[i + 2] ? lx->p[i + 2] : 0;
        if (kind == '{' && sign == '+')
            sign = 0;
        muga_status st = lex_push_data(lx, from, i, sign, kind != '{', line);
        lex_advance(lx, i - from);
        size_t end;
        char open, close;
        if (st)
            return st;
        if (kind == '#') {
            st = lex_comment(lx);
        } else if (kind == '%' && lex_match_tag(lx, i, "raw", &end, &open, &close)) {
            st = lex_raw(lx, end, close);
        } else {
            st = lex_push(lx, (token){.type = kind == '%' ? T_BLOCK_BEGIN : T_VAR_BEGIN, .line = lx->line});
            lex_advance(lx, sign ? 3 : 2);
            if (!st)
                st = lex_code(lx, kind == '%' ? "%}" : "}}", kind == '%' ? T_BLOCK_END : T_VAR_END);
        }
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

muga_status template_lex(const char *source, size_t n, bool expression_only, arena *mem, token_list *list,
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
