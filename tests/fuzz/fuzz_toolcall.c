/* Tool calls: whatever a model writes, in the form of any family, is read the same way however it was cut; every call
 * handed over is whole, of a tool there is, with a JSON object for arguments, as the events told; content and reasoning
 * are UTF-8.
 *
 *     byte 0: the family, 'a' for the first    byte 1: digits of flags    byte 2: where it is cut    then the answer */
#include "base/rng.h"
#include "base/utf8.h"
#include "fuzz.h"
#include "llm/toolcall.h"

enum { CONTROLS = 1, OPENED = 2, VALUE = 4 };
#define MAX_CALLS 64u

static const char *const names[] = {"get_weather", "order", "ping"};
static const char *const stop[] = {"STOP"};

static bool is_control(const void *ctx, const char *name, size_t n) {
    (void)ctx;
    return n > 0 && *name;
}

typedef struct result {
    str events; /* all that was told, in words */
    str arguments[MAX_CALLS];
    size_t n_begun, n_ended;
    muga_status st;
    str content, reasoning;
    llm_call *calls;
    size_t n_calls;
    llm_event_kind last;
} result;

static bool on_event(void *ctx, const llm_event *e) {
    result *r = ctx;
    if (e->kind == LLM_EVENT_CALL_BEGIN) {
        fuzz_need(r->n_begun == r->n_ended && e->call == r->n_begun);
        r->n_begun++;
    } else if (e->kind == LLM_EVENT_CALL_END) {
        fuzz_need(++r->n_ended == r->n_begun);
    } else {
        fuzz_need(e->n > 0 && utf8_valid(e->p, e->n));
        fuzz_need(e->kind != LLM_EVENT_ARGUMENTS || (r->n_begun == r->n_ended + 1 && e->call == r->n_ended));
        if (e->kind == LLM_EVENT_ARGUMENTS && e->call < MAX_CALLS)
            str_append(&r->arguments[e->call], e->p, e->n);
    }
    if (r->events.len == 0 || r->last != e->kind)
        str_printf(&r->events, "\n%d ", (int)e->kind);
    str_append(&r->events, e->p ? e->p : "", e->n);
    r->last = e->kind;
    return true;
}

static void check_call(const result *r, size_t i) {
    const llm_call *c = &r->calls[i];
    bool known = false;
    json_t *streamed = NULL;
    muga_error err;
    for (size_t k = 0; k < ARRAY_LEN(names); k++)
        known = known || strcmp(c->name, names[k]) == 0;
    fuzz_need(known && json_is_object(c->value) && strlen(c->id) == TOOLCALL_ID_BYTES);
    for (size_t k = 0; k < i; k++)
        fuzz_need(strcmp(c->id, r->calls[k].id) != 0);
    if (i >= MAX_CALLS)
        return;
    fuzz_need(json_parse(str_get(&r->arguments[i]), r->arguments[i].len, "x", &streamed, &err) == MUGA_OK);
    fuzz_need(json_equal(streamed, c->value));
    json_decref(streamed);
}

static result read_answer(toolcall_parser_options o, const char *text, size_t n, rng *cuts) {
    result r = {.n_begun = 0};
    toolcall_parser *p;
    muga_error err = {0}, other;
    bool more = true;
    o.on_event = on_event;
    o.on_event_ctx = &r;
    fuzz_need(toolcall_parser_new(&o, &p, &err) == MUGA_OK);
    for (size_t at = 0; at < n && more && !r.st;) {
        size_t step = cuts ? 1 + rng_below(cuts, 7) : n;
        step = MIN(step, n - at);
        char *exact = fuzz_copy(text + at, step);
        r.st = toolcall_parser_feed(p, exact, step, &more, &err);
        free(exact);
        at += step;
    }
    if (!r.st)
        r.st = toolcall_parser_end(p, &err);
    if (r.st)
        fuzz_need_error(r.st, MUGA_E_INPUT, MUGA_E_INPUT, &err);
    fuzz_need(toolcall_parser_take(p, &r.content, &r.reasoning, &r.calls, &r.n_calls, &other) == MUGA_OK);
    toolcall_parser_free(p);
    fuzz_need(r.n_calls == r.n_ended && (r.n_begun == r.n_ended || r.st));
    fuzz_need(utf8_valid(str_get(&r.content), r.content.len) && utf8_valid(str_get(&r.reasoning), r.reasoning.len));
    for (size_t i = 0; i < r.n_calls; i++)
        check_call(&r, i);
    return r;
}

static void release(result *r) {
    str_release(&r->events);
    for (size_t i = 0; i < MAX_CALLS; i++)
        str_release(&r->arguments[i]);
    str_release(&r->content);
    str_release(&r->reasoning);
    toolcall_calls_free(r->calls, r->n_calls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3)
        return 0;
    size_t n_families, n_forms = 0;
    const toolcall_family *all = toolcall_families(&n_families), *f = &all[(uint8_t)(data[0] - 'a') % n_families];
    int flags = data[1] & 7;
    rng cuts = {data[2]};
    arena a;
    arena_init(&a, 0);
    toolcall_form forms[TOOLCALL_FORMS];
    for (; n_forms < TOOLCALL_FORMS && f->form[n_forms].trigger; n_forms++)
        fuzz_need(toolcall_bind(&f->form[n_forms], flags & CONTROLS ? is_control : NULL, NULL, &a, &forms[n_forms]));
    toolcall_parser_options o = {.forms = forms,
                                 .n_forms = n_forms,
                                 .is_value = flags & VALUE,
                                 .think_open = "<think>",
                                 .think_close = "</think>",
                                 .thinking = flags & OPENED,
                                 .names = names,
                                 .n_names = ARRAY_LEN(names),
                                 .stop = stop,
                                 .n_stop = ARRAY_LEN(stop),
                                 .seed = 1};
    result whole = read_answer(o, (const char *)data + 3, size - 3, NULL);
    result cut = read_answer(o, (const char *)data + 3, size - 3, &cuts);
    fuzz_need(whole.st == cut.st && whole.n_calls == cut.n_calls);
    fuzz_need(whole.events.len == cut.events.len &&
              (whole.events.len == 0 || memcmp(whole.events.data, cut.events.data, cut.events.len) == 0));
    release(&whole);
    release(&cut);
    arena_release(&a);
    return 0;
}
