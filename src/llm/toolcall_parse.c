/* Takes an answer apart as it comes: reasoning, content, calls. Owns what was read so far. Refuses a call that isn't in
 * the family's form, isn't JSON, or is of a tool that there isn't; then nothing more is read.
 *
 *   START ──"<think>"──> REASONING ──"</think>"──> START (of the rest)
 *     └── else ──> CONTENT ──trigger──> CALLS ──{──> OBJECT <──> ARGUMENTS      (shape OBJECT)
 *                     ^                   │ └─before─> NAME ─> MIDDLE ─> ARGUMENTS  (shape NAMED)
 *                     └── anything else ──┘ <─────────── the call is whole ──┘
 *
 * Idea: what may still become a trigger, a tag or a character is kept in `buf` until it is decided; a step takes from
 * its front. Content gives white space out only when something follows it, so none is left before a call. How the text
 * was cut on its way here makes no difference to what is read. */
#include "base/hash.h"
#include "base/utf8.h"
#include "llm/toolcall.h"

#define PARSER_MAX_BYTES ((size_t)64 << 20)
#define MAX_CONTROL_BYTES 300u /* of a control token's name with its two marks */
#define MAX_TAGS 12u
#define MAX_KEY_BYTES 4096u /* of a call's members */

typedef enum { START, REASONING, CONTENT, CALLS, OBJECT, NAME, MIDDLE, ARGUMENTS, OVER } place;
typedef enum { WANT_KEY, WANT_COLON, WANT_VALUE, WANT_COMMA } wanted;
typedef enum { KEY_NAME, KEY_ARGUMENTS, KEY_OTHER } member;

/* Text that goes out without the white space at its ends. */
typedef struct outlet {
    llm_event_kind kind;
    str all, held; /* held: white space, and the beginning of a character */
    bool begun, trim;
    size_t src_from, src_to; /* what was fed: the first byte that didn't go out, and behind the last one of held */
} outlet;

/* Where in a JSON value the text stands. */
typedef struct scan {
    uint32_t depth;
    bool string, escape;
} scan;

struct toolcall_parser {
    toolcall_parser_options o;
    place at;
    str buf;
    size_t from;     /* buf[from, len) is to be read */
    size_t n_read;   /* bytes before buf */
    size_t event[2]; /* from where to where in all that was fed the text of the event stands */
    const toolcall_form *form;
    outlet content, reasoning;
    bool thought, cancelled;
    const char *stop; /* the stop string that ended it */
    size_t n_before;  /* calls there were at the last trigger */

    llm_call *calls;
    size_t n_calls, cap_calls;
    /* the call being read */
    wanted want;
    member key;
    scan scan;
    bool in_value, announced;
    char *name, id[TOOLCALL_ID_BYTES + 1];
    str arguments;
    size_t n_given; /* bytes of arguments that went out */
    span tags[MAX_TAGS];
    size_t n_tags;
};

/* Of one step. */
typedef enum { STEP_ON, STEP_WAIT } step;

static span rest(const toolcall_parser *p) {
    return span_of(str_get(&p->buf) + p->from, p->buf.len - p->from);
}

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void skip_space(toolcall_parser *p) {
    while (p->from < p->buf.len && is_space(p->buf.data[p->from]))
        p->from++;
}

static muga_status bad(const toolcall_parser *p, muga_error *err, const char *why) {
    return error_set(err, MUGA_E_INPUT, "the model's answer, call %zu: %s", p->n_calls + 1, why);
}

/* ---- events ---- */

static void tell(toolcall_parser *p, llm_event_kind kind, const char *text, size_t n) {
    llm_event e = {.kind = kind, .p = text, .n = n, .call = (uint32_t)p->n_calls, .id = p->id, .name = p->name};
    if (kind == LLM_EVENT_CONTENT || kind == LLM_EVENT_REASONING)
        e.id = e.name = NULL;
    if (p->o.on_event && !p->cancelled && !p->o.on_event(p->o.on_event_ctx, &e))
        p->cancelled = true;
}

static void give(toolcall_parser *p, outlet *o, size_t n) {
    size_t before = o->all.len;
    utf8_append_replaced(&o->all, str_get(&o->held), n);
    p->event[0] = o->src_from;
    p->event[1] = o->src_from = o->src_to - (o->held.len - n);
    if (n > 0 && !o->all.failed)
        tell(p, o->kind, o->all.data + before, o->all.len - before);
    memmove(o->held.data, o->held.data + n, o->held.len - n);
    str_truncate(&o->held, o->held.len - n);
}

static void emit(toolcall_parser *p, outlet *o, const char *text, size_t n) {
    size_t skip = 0, end;
    while (!o->begun && o->trim && skip < n && is_space(text[skip]))
        skip++;
    text += skip;
    n -= skip;
    size_t at = p->n_read + (size_t)(text - str_get(&p->buf));
    if (o->held.len == 0 && n > 0)
        o->src_from = at;
    o->src_to = at + n;
    o->begun = o->begun || n > 0;
    str_append(&o->held, text, n);
    for (end = n; end > 0 && is_space(text[end - 1]); end--)
        ;
    if (end == 0 || o->held.failed)
        return;
    end = o->held.len - (n - end);
    end -= utf8_incomplete_tail(o->held.data, end);
    while (end > 0 && is_space(o->held.data[end - 1]))
        end--;
    if (end > 0)
        give(p, o, end);
}

/* Nothing more comes: white space at the end goes out, or doesn't. */
static void close_outlet(toolcall_parser *p, outlet *o, bool trim) {
    size_t n = o->held.len;
    while (trim && n > 0 && is_space(o->held.data[n - 1]))
        n--;
    if (n > 0)
        give(p, o, n);
    str_truncate(&o->held, 0); /* a failure stays one */
}

/* ---- matching ---- */

typedef enum { NO, PARTLY, WHOLLY } match;

/* How text[0, n) begins with the pattern, in which TOOLCALL_BLANK stands for any white space; *len: of the match. */
static match begins(span text, const char *pattern, size_t *len) {
    size_t i = 0;
    for (const char *c = pattern; *c; c++) {
        if (*c == TOOLCALL_BLANK) {
            while (i < text.n && is_space(text.p[i]))
                i++;
            continue;
        }
        if (i == text.n)
            return PARTLY;
        if (text.p[i++] != *c)
            return NO;
    }
    *len = i;
    return WHOLLY;
}

static match begins_with(span text, span word) {
    size_t n = MIN(text.n, word.n);
    if (word.n == 0 || memcmp(text.p, word.p, n) != 0)
        return NO;
    return n == word.n ? WHOLLY : PARTLY;
}

/* Length of the control token that text begins with; 0: it is not complete. */
static size_t control_length(span text) {
    const char *end = memchr(text.p + 1, TOOLCALL_CONTROL, MIN(text.n, MAX_CONTROL_BYTES) - 1);
    return end ? (size_t)(end - text.p) + 1 : text.n >= MAX_CONTROL_BYTES ? 1 : 0;
}

/* ---- reasoning and content ---- */

typedef struct found {
    size_t at, len; /* where, and how long it is */
    int what;       /* index of a form; -1 a stop string, -2 the end of reasoning */
    const char *stop;
} found;

/* What ends the text, if it stands at its beginning. Undecided as long as another one may turn out to stand there. */
static match look(const toolcall_parser *p, span text, bool final, found *f) {
    match best = NO;
    f->len = 0;
    if (p->at == REASONING) {
        f->what = -2;
        f->len = strlen(p->o.think_close);
        best = begins_with(text, span_of_string(p->o.think_close));
        return best == PARTLY && final ? NO : best;
    }
    for (size_t i = 0; i < p->o.n_forms + p->o.n_stop; i++) {
        bool stop = i >= p->o.n_forms;
        const toolcall_form *form = stop ? NULL : &p->o.forms[i];
        span word = span_of_string(stop ? p->o.stop[i - p->o.n_forms] : form->trigger);
        match m = !stop && (form->at_start || p->o.is_value) ? NO : begins_with(text, word);
        if (m == PARTLY && !final)
            return PARTLY;
        if (m == WHOLLY && (best == NO || (stop && f->what < 0 && word.n > f->len))) {
            f->len = word.n;
            f->what = stop ? -1 : (int)i;
            f->stop = word.p;
            best = WHOLLY;
        }
    }
    return best;
}

static void enter_calls(toolcall_parser *p, const toolcall_form *form);

/* Text up to what ends it. Control tokens that end nothing are left out. */
static step read_text(toolcall_parser *p, bool final) {
    outlet *o = p->at == REASONING ? &p->reasoning : &p->content;
    span text = rest(p);
    found f = {0};
    size_t from = 0;
    match m = NO;
    while (f.at < text.n) {
        span here = span_of(text.p + f.at, text.n - f.at);
        m = look(p, here, final, &f);
        if (m != NO)
            break;
        if (*here.p != TOOLCALL_CONTROL) {
            f.at++;
            continue;
        }
        size_t n = control_length(here);
        if (n == 0 && !final)
            break;
        emit(p, o, text.p + from, f.at - from);
        from = f.at += n ? n : here.n;
    }
    emit(p, o, text.p + from, f.at - from);
    p->from += f.at;
    if (m != WHOLLY)
        return STEP_WAIT;
    p->from += f.len;
    if (f.what == -2) {
        close_outlet(p, o, true);
        p->at = START;
        p->thought = true;
        p->content.trim = true;
    } else if (f.what == -1) {
        p->stop = f.stop;
        p->at = OVER;
    } else {
        enter_calls(p, &p->o.forms[f.what]);
    }
    return STEP_ON;
}

/* What only counts at the beginning: reasoning, and calls without a mark of their own. */
static step read_start(toolcall_parser *p, bool final) {
    span text = rest(p);
    size_t blank = 0, len = 0;
    bool open = false;
    while (blank < text.n && is_space(text.p[blank]))
        blank++;
    span solid = span_of(text.p + blank, text.n - blank);
    if (p->o.think_open && !p->thought) {
        match m = begins(solid, p->o.think_open, &len);
        if (m == WHOLLY) {
            p->from += blank + len;
            p->at = REASONING;
            return STEP_ON;
        }
        open = m == PARTLY;
    }
    for (size_t i = 0; i < p->o.n_forms; i++) {
        const toolcall_form *form = &p->o.forms[i];
        if (!form->at_start && !p->o.is_value)
            continue;
        match m = begins(solid, form->trigger, &len);
        if (m == WHOLLY) {
            p->from += blank + (form->at_start ? 0 : len);
            enter_calls(p, form);
            return STEP_ON;
        }
        open = open || m == PARTLY;
    }
    if (open && !final)
        return STEP_WAIT;
    p->at = CONTENT;
    return STEP_ON;
}

/* ---- calls ---- */

static bool is_filler(char c) {
    return is_space(c) || c == ',' || c == ';' || c == '[' || c == ']';
}

static void add_tag(toolcall_parser *p, const char *literal, bool brackets) {
    size_t from = 0, n = literal ? strlen(literal) : 0;
    while (from < n && (brackets ? is_filler(literal[from]) : is_space(literal[from])))
        from++;
    while (n > from && (brackets ? is_filler(literal[n - 1]) : is_space(literal[n - 1])))
        n--;
    if (n > from && p->n_tags < MAX_TAGS)
        p->tags[p->n_tags++] = span_of(literal + from, n - from);
}

static void enter_calls(toolcall_parser *p, const toolcall_form *form) {
    p->at = CALLS;
    p->form = form;
    p->n_tags = 0;
    p->n_before = p->n_calls;
    for (int brackets = 0; brackets < 2; brackets++) {
        if (!form->at_start)
            add_tag(p, form->trigger, brackets);
        add_tag(p, form->start, brackets);
        add_tag(p, form->after, brackets);
        add_tag(p, form->separator, brackets);
        add_tag(p, form->end, brackets);
        if (form->shape == TOOLCALL_OBJECT)
            add_tag(p, form->before, brackets);
    }
}

static void begin_call(toolcall_parser *p, place at) {
    free(p->name);
    p->name = NULL;
    p->announced = p->in_value = false;
    str_clear(&p->arguments);
    p->n_given = 0;
    p->scan = (scan){0};
    p->want = WANT_KEY;
    p->at = at;
}

/* Between calls: tags and what separates, until a call begins or something that belongs to none. */
static step look_for_call(toolcall_parser *p, bool final) {
    skip_space(p);
    span text = rest(p);
    if (text.n == 0)
        return STEP_WAIT;
    span before = span_of_string(p->form->before);
    while (before.n > 0 && is_space(*before.p))
        before = span_of(before.p + 1, before.n - 1);
    bool named = p->form->shape == TOOLCALL_NAMED;
    if (named && before.n > 0) {
        match m = begins_with(text, before);
        if (m == WHOLLY) {
            p->from += before.n;
            begin_call(p, NAME);
            return STEP_ON;
        }
        if (m == PARTLY && !final)
            return STEP_WAIT;
    }
    size_t longest = 0;
    for (size_t i = 0; i < p->n_tags; i++) {
        match m = begins_with(text, p->tags[i]);
        if (m == PARTLY && !final)
            return STEP_WAIT;
        longest = m == WHOLLY ? MAX(longest, p->tags[i].n) : longest;
    }
    p->from += longest;
    if (longest > 0)
        return STEP_ON;
    if (!named && *text.p == '{') {
        p->from++;
        begin_call(p, OBJECT);
    } else if (named && before.n == 0 && toolcall_name_byte(*text.p)) {
        begin_call(p, NAME);
    } else if (is_filler(*text.p)) {
        p->from++;
    } else {
        p->at = CONTENT;
    }
    return STEP_ON;
}

static muga_status read_calls(toolcall_parser *p, bool final, step *s, muga_error *err) {
    *s = look_for_call(p, final);
    return p->at == CONTENT && p->n_calls == p->n_before ? bad(p, err, "something else stands where it should begin")
                                                         : MUGA_OK;
}

static bool id_taken(const toolcall_parser *p, const char *id) {
    for (size_t i = 0; i < p->n_calls; i++)
        if (strcmp(p->calls[i].id, id) == 0)
            return true;
    for (size_t i = 0; i < json_array_size(p->o.messages); i++) {
        const json_t *calls = json_object_get(json_array_get(p->o.messages, i), "tool_calls");
        for (size_t k = 0; k < json_array_size(calls); k++) {
            const char *other = json_get_string(json_array_get(calls, k), "id");
            if (other && strcmp(other, id) == 0)
                return true;
        }
    }
    return false;
}

static void make_id(toolcall_parser *p) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    for (uint64_t attempt = 0;; attempt++) {
        uint64_t key[2] = {p->n_calls, attempt}, h = hash64(key, sizeof key, p->o.seed);
        for (size_t i = 0; i < TOOLCALL_ID_BYTES; i++, h /= 62)
            p->id[i] = letters[h % 62];
        p->id[TOOLCALL_ID_BYTES] = 0;
        if (!id_taken(p, p->id))
            return;
    }
}

/* What is whole of the arguments goes out, once the tool is known. */
static muga_status give_arguments(toolcall_parser *p, muga_error *err) {
    size_t end = p->arguments.len - utf8_incomplete_tail(str_get(&p->arguments), p->arguments.len), at = p->n_given;
    uint32_t cp;
    for (size_t n = 1; p->announced && at < end && n > 0; at += n)
        n = utf8_decode(p->arguments.data + at, end - at, &cp);
    if (!p->announced || at == p->n_given)
        return p->announced && at < end ? bad(p, err, "its arguments aren't UTF-8") : MUGA_OK;
    tell(p, LLM_EVENT_ARGUMENTS, p->arguments.data + p->n_given, at - p->n_given);
    p->n_given = at;
    return at < end ? bad(p, err, "its arguments aren't UTF-8") : MUGA_OK;
}

static muga_status set_name(toolcall_parser *p, span name, muga_error *err) {
    bool known = false;
    for (size_t i = 0; i < p->o.n_names && !known; i++)
        known = span_equal_string(name, p->o.names[i]);
    if (p->name)
        return bad(p, err, "it names its tool twice");
    if (!known)
        return error_set(err, MUGA_E_INPUT, "the model's answer, call %zu: there is no tool \"%.*s\"", p->n_calls + 1,
                         (int)MIN(name.n, (size_t)TOOLCALL_MAX_NAME), name.p);
    p->name = mem_copy_bytes(name.p, name.n);
    if (!p->name)
        return error_nomem(err, "a call");
    make_id(p);
    p->announced = true;
    tell(p, LLM_EVENT_CALL_BEGIN, NULL, 0);
    return give_arguments(p, err);
}

static muga_status finish_call(toolcall_parser *p, muga_error *err) {
    if (!p->name)
        return bad(p, err, "it names no tool");
    if (p->arguments.len == 0)
        return bad(p, err, "it has no arguments");
    if (p->n_calls == p->cap_calls) {
        size_t cap = p->cap_calls ? p->cap_calls * 2 : 4;
        llm_call *v = mem_resize_array(p->calls, cap, sizeof *v);
        if (!v)
            return error_nomem(err, "a call");
        p->calls = v;
        p->cap_calls = cap;
    }
    llm_call c = {0};
    muga_error why = {0};
    muga_status st = json_parse(p->arguments.data, p->arguments.len, "arguments", &c.value, &why);
    if (st == MUGA_E_INPUT || (!st && !json_is_object(c.value))) {
        json_decref(c.value);
        return bad(p, err, st ? why.message : "its arguments are no JSON object");
    }
    str canonical = STR_INIT;
    if (!st)
        json_write_canonical(c.value, &canonical);
    c.id = mem_copy_string(p->id);
    c.arguments = str_take(&canonical);
    if (st || !c.id || !c.arguments) {
        json_decref(c.value);
        free(c.id);
        free(c.arguments);
        return error_nomem(err, "a call");
    }
    c.name = p->name;
    tell(p, LLM_EVENT_CALL_END, NULL, 0);
    p->calls[p->n_calls++] = c;
    p->name = NULL;
    p->at = CALLS;
    return MUGA_OK;
}

/* How many bytes of text belong to the JSON value that `s` stands in; *ends: it is complete with them. A value that is
 * neither text, array nor object ends before the byte that can't be its own. */
static size_t scan_value(scan *s, span text, bool *ends) {
    *ends = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (s->string) {
            if (!s->escape && c == '"')
                s->string = false;
            s->escape = !s->escape && c == '\\';
        } else if (c == '"') {
            s->string = true;
        } else if (c == '{' || c == '[') {
            s->depth++;
            continue;
        } else if (c == '}' || c == ']') {
            if (s->depth == 0) {
                *ends = true;
                return i;
            }
            s->depth--;
        } else if (s->depth == 0 && (c == ',' || is_space(c))) {
            *ends = true;
            return i;
        } else {
            continue;
        }
        if (s->depth == 0 && !s->string && (c == '"' || c == '}' || c == ']')) {
            *ends = true;
            return i + 1;
        }
    }
    return text.n;
}

/* The JSON string that text begins with, its quotes included; 0: it isn't complete. */
static size_t string_length(span text) {
    scan s = {0};
    bool ends;
    size_t n = scan_value(&s, text, &ends);
    return ends ? n : 0;
}

static muga_status read_arguments(toolcall_parser *p, step *s, muga_error *err) {
    bool ends;
    if (p->arguments.len == 0)
        skip_space(p);
    span text = rest(p);
    *s = STEP_WAIT;
    if (text.n == 0)
        return MUGA_OK;
    if (p->arguments.len == 0 && *text.p != '{')
        return bad(p, err, "its arguments are no JSON object");
    size_t n = scan_value(&p->scan, text, &ends);
    str_append(&p->arguments, text.p, n);
    p->from += n;
    if (p->arguments.failed)
        return str_status(&p->arguments, err, "the arguments of a call");
    muga_status st = give_arguments(p, err);
    if (st || !ends)
        return st;
    *s = STEP_ON;
    p->scan = (scan){0};
    if (p->form->shape == TOOLCALL_NAMED)
        return finish_call(p, err);
    p->at = OBJECT;
    p->want = WANT_COMMA;
    return MUGA_OK;
}

static muga_status read_key(toolcall_parser *p, step *s, muga_error *err) {
    span text = rest(p);
    if (*text.p == '}') {
        p->from++;
        return finish_call(p, err);
    }
    if (*text.p != '"')
        return bad(p, err, "it is no JSON object");
    size_t n = string_length(text);
    if (n == 0) {
        *s = STEP_WAIT;
        return text.n > MAX_KEY_BYTES ? bad(p, err, "a member's name is too long") : MUGA_OK;
    }
    span key = span_of(text.p + 1, n - 2);
    p->key = span_equal_string(key, "name")                                                ? KEY_NAME
             : span_equal_string(key, "arguments") || span_equal_string(key, "parameters") ? KEY_ARGUMENTS
                                                                                           : KEY_OTHER;
    p->from += n;
    p->want = WANT_COLON;
    return MUGA_OK;
}

static muga_status read_member(toolcall_parser *p, step *s, muga_error *err) {
    span text = rest(p);
    bool ends;
    if (p->key == KEY_ARGUMENTS) {
        if (p->arguments.len > 0)
            return bad(p, err, "it has arguments twice");
        p->at = ARGUMENTS;
        return MUGA_OK;
    }
    if (p->key == KEY_NAME) {
        size_t n = *text.p == '"' ? string_length(text) : 1;
        if (n == 1 || (n == 0 && text.n > MAX_KEY_BYTES))
            return bad(p, err, "what it names is no tool");
        *s = n ? STEP_ON : STEP_WAIT;
        p->from += n;
        p->want = n ? WANT_COMMA : WANT_VALUE;
        return n ? set_name(p, span_of(text.p + 1, n - 2), err) : MUGA_OK;
    }
    p->from += scan_value(&p->scan, text, &ends);
    p->in_value = !ends;
    *s = ends ? STEP_ON : STEP_WAIT;
    if (ends) {
        p->scan = (scan){0};
        p->want = WANT_COMMA;
    }
    return MUGA_OK;
}

/* Inside the braces of a call. */
static muga_status read_object(toolcall_parser *p, step *s, muga_error *err) {
    if (!p->in_value)
        skip_space(p);
    span text = rest(p);
    *s = text.n ? STEP_ON : STEP_WAIT;
    if (text.n == 0)
        return MUGA_OK;
    switch (p->want) {
    case WANT_KEY: return read_key(p, s, err);
    case WANT_VALUE: return read_member(p, s, err);
    case WANT_COLON:
        p->from++;
        p->want = WANT_VALUE;
        return *text.p == ':' ? MUGA_OK : bad(p, err, "it is no JSON object");
    default:
        p->from++;
        p->want = WANT_KEY;
        if (*text.p == '}')
            return finish_call(p, err);
        return *text.p == ',' ? MUGA_OK : bad(p, err, "it is no JSON object");
    }
}

static muga_status read_name(toolcall_parser *p, bool final, step *s, muga_error *err) {
    span text = rest(p);
    size_t n = 0;
    while (n < text.n && n <= TOOLCALL_MAX_NAME && toolcall_name_byte(text.p[n]))
        n++;
    *s = STEP_WAIT;
    if (n == text.n && n <= TOOLCALL_MAX_NAME && !final)
        return MUGA_OK;
    *s = STEP_ON;
    p->from += n;
    p->at = MIDDLE;
    return set_name(p, span_of(text.p, n), err);
}

/* What stands between name and arguments, an id before it perhaps. */
static muga_status read_middle(toolcall_parser *p, bool final, step *s, muga_error *err) {
    skip_space(p);
    span text = rest(p), middle = span_of_string(p->form->middle);
    while (middle.n > 0 && is_space(*middle.p))
        middle = span_of(middle.p + 1, middle.n - 1);
    while (middle.n > 0 && is_space(middle.p[middle.n - 1]))
        middle.n--;
    match m = begins_with(text, middle);
    *s = STEP_ON;
    if (m == WHOLLY) {
        p->from += middle.n;
        p->at = ARGUMENTS;
        return MUGA_OK;
    }
    span mark = p->form->id_mark ? span_of_string(p->form->id_mark) : span_of("", 0);
    match id = begins_with(text, mark);
    if (id == WHOLLY) {
        size_t n = mark.n;
        while (n < text.n && toolcall_name_byte(text.p[n]))
            n++;
        if (n < text.n) {
            p->from += n;
            return MUGA_OK;
        }
        id = PARTLY;
    }
    *s = STEP_WAIT;
    if ((m == PARTLY || id == PARTLY) && !final)
        return MUGA_OK;
    return bad(p, err, "between the tool's name and the arguments stands something else");
}

/* ---- life ---- */

muga_status toolcall_parser_new(const toolcall_parser_options *o, toolcall_parser **out, muga_error *err) {
    toolcall_parser *p = mem_alloc_array(1, sizeof *p);
    if (!p)
        return error_nomem(err, "an answer's parser");
    p->o = *o;
    p->at = o->thinking && o->think_close ? REASONING : START;
    p->content.kind = LLM_EVENT_CONTENT;
    p->reasoning.kind = LLM_EVENT_REASONING;
    p->reasoning.trim = true;
    str *all[] = {&p->buf, &p->content.all, &p->content.held, &p->reasoning.all, &p->reasoning.held, &p->arguments};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        str_init(all[i], PARSER_MAX_BYTES);
    *out = p;
    return MUGA_OK;
}

void toolcall_calls_free(llm_call *calls, size_t n) {
    for (size_t i = 0; i < n; i++) {
        free(calls[i].id);
        free(calls[i].name);
        free(calls[i].arguments);
        json_decref(calls[i].value);
    }
    free(calls);
}

void toolcall_parser_free(toolcall_parser *p) {
    if (!p)
        return;
    str *all[] = {&p->buf, &p->content.all, &p->content.held, &p->reasoning.all, &p->reasoning.held, &p->arguments};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        str_release(all[i]);
    toolcall_calls_free(p->calls, p->n_calls);
    free(p->name);
    free(p);
}

static muga_status advance(toolcall_parser *p, bool final, muga_error *err) {
    muga_status st = MUGA_OK;
    step s = STEP_ON;
    while (!st && s == STEP_ON && !p->cancelled && p->from < p->buf.len) {
        switch (p->at) {
        case START: s = read_start(p, final); break;
        case REASONING:
        case CONTENT: s = read_text(p, final); break;
        case CALLS: st = read_calls(p, final, &s, err); break;
        case OBJECT: st = read_object(p, &s, err); break;
        case NAME: st = read_name(p, final, &s, err); break;
        case MIDDLE: st = read_middle(p, final, &s, err); break;
        case ARGUMENTS: st = read_arguments(p, &s, err); break;
        default: p->from = p->buf.len; break;
        }
    }
    if (st)
        p->at = OVER;
    if (p->from > 0) {
        memmove(p->buf.data, p->buf.data + p->from, p->buf.len - p->from);
        str_truncate(&p->buf, p->buf.len - p->from);
        p->n_read += p->from;
        p->from = 0;
    }
    return st;
}

static muga_status memory_status(const toolcall_parser *p, muga_error *err) {
    const str *all[] = {&p->buf, &p->content.all, &p->content.held, &p->reasoning.all, &p->reasoning.held};
    muga_status st = MUGA_OK;
    for (size_t i = 0; i < ARRAY_LEN(all) && !st; i++)
        st = str_status(all[i], err, "the answer");
    return st;
}

muga_status toolcall_parser_feed(toolcall_parser *p, const char *text, size_t n, bool *more, muga_error *err) {
    str_append(&p->buf, text, n);
    muga_status st = memory_status(p, err);
    if (!st)
        st = advance(p, false, err);
    if (!st)
        st = memory_status(p, err);
    *more = !st && p->at != OVER && !p->cancelled;
    return st;
}

bool toolcall_parser_in_call(const toolcall_parser *p) {
    return p->at >= OBJECT && p->at <= ARGUMENTS;
}

muga_status toolcall_parser_end(toolcall_parser *p, muga_error *err) {
    muga_status st = advance(p, true, err);
    if (!st && !p->cancelled && (toolcall_parser_in_call(p) || (p->at == CALLS && p->n_calls == p->n_before)))
        st = bad(p, err, "it isn't finished");
    if (p->at == REASONING)
        close_outlet(p, &p->reasoning, true);
    close_outlet(p, &p->content, p->n_calls > 0);
    return st ? st : memory_status(p, err);
}

void toolcall_parser_where(const toolcall_parser *p, size_t *from, size_t *to) {
    *from = p->event[0];
    *to = p->event[1];
}

const char *toolcall_parser_stop(const toolcall_parser *p) {
    return p->stop;
}
bool toolcall_parser_cancelled(const toolcall_parser *p) {
    return p->cancelled;
}

muga_status toolcall_parser_take(toolcall_parser *p, str *content, str *reasoning, llm_call **calls, size_t *n_calls,
                                 muga_error *err) {
    muga_status st = memory_status(p, err);
    if (st)
        return st;
    *content = p->content.all;
    *reasoning = p->reasoning.all;
    p->content.all = p->reasoning.all = STR_INIT;
    *calls = p->calls;
    *n_calls = p->n_calls;
    p->calls = NULL;
    p->n_calls = p->cap_calls = 0;
    return MUGA_OK;
}
