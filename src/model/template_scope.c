/* Names of a chat template: where each one lies when the template runs. Owns the frames and their slots.
 *
 * A frame is what has variables of its own: the template, a loop's body, condition and else, a macro, a call block, and
 * the blocks set, filter, with and generation; "if" has none. Assignment writes into the innermost frame; a name read
 * there that an outer frame has lies in the outer one, unless this one also assigns it: then its slot begins as a copy.
 * What no frame has comes from the context. Two walks over a frame's statements: the first collects its slots, the
 * second gives every name its place and goes into the frames inside, which see all slots of those around them, also
 * the ones whose assignment comes later.
 * Source: Jinja's documented scoping ("Assignments", "Scoping Behavior"), as its compiler does it. */
#include "model/template_internal.h"

#define MAX_RESOLVE_WORK (4u << 20) /* look-ups; a source of the greatest size needs fewer */

typedef struct place {
    uint32_t frame, name, slot; /* frame 0 = free */
} place;

typedef struct resolver {
    template *t;
    place *places; /* open addressing by (frame, name) */
    uint32_t n_places, cap_places, n_frames;
    uint64_t work;
    muga_status status;
    muga_error *err;
} resolver;

static bool failed(const resolver *rs) {
    return rs->status != MUGA_OK;
}

static void *resolve_alloc(resolver *rs, size_t bytes) {
    void *p = failed(rs) ? NULL : arena_alloc(&rs->t->mem, bytes);
    if (!p && !failed(rs))
        rs->status = error_nomem(rs->err, "template names");
    return p;
}

/* ---- slots of frames ---- */

static uint32_t find_place(resolver *rs, uint32_t frame_id, uint32_t name) {
    uint32_t mask = rs->cap_places - 1, at = (frame_id * 0x9E3779B1u ^ name * 0x85EBCA77u) & mask;
    rs->work++;
    while (rs->places[at].frame && (rs->places[at].frame != frame_id || rs->places[at].name != name))
        at = (at + 1) & mask;
    return at;
}

static bool grow_places(resolver *rs) {
    uint32_t old_cap = rs->cap_places;
    place *old = rs->places, *more = mem_alloc_array(old_cap ? 2 * (size_t)old_cap : 256, sizeof *more);
    if (!more) {
        rs->status = error_nomem(rs->err, "template names");
        return false;
    }
    rs->places = more;
    rs->cap_places = old_cap ? 2 * old_cap : 256;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i].frame)
            more[find_place(rs, old[i].frame, old[i].name)] = old[i];
    free(old);
    return true;
}

static frame_info *frame_info_new(resolver *rs, frame_info *parent) {
    frame_info *f = resolve_alloc(rs, sizeof *f);
    if (f) {
        f->parent = parent;
        f->id = ++rs->n_frames;
    }
    return f;
}

/* Slot of the name in this very frame, or -1. */
static int64_t own_slot(resolver *rs, const frame_info *f, uint32_t name) {
    const place *p = &rs->places[find_place(rs, f->id, name)];
    return p->frame ? (int64_t)p->slot : -1;
}

/* The nearest frame from f outward that has the name. */
static bool find_name(resolver *rs, const frame_info *f, uint32_t name, uint32_t *up, uint32_t *slot) {
    *up = 0;
    for (; f && rs->cap_places; f = f->parent, ++*up) {
        int64_t own = own_slot(rs, f, name);
        if (own >= 0) {
            *slot = (uint32_t)own;
            return true;
        }
    }
    if (rs->work > MAX_RESOLVE_WORK && !failed(rs))
        rs->status = error_set(rs->err, MUGA_E_LIMIT, "template: too many names in nested blocks; simplify it");
    return false;
}

static int32_t add_slot(resolver *rs, frame_info *f, slot_info info) {
    if (failed(rs) || (2 * (rs->n_places + 1) > rs->cap_places && !grow_places(rs)))
        return -1;
    if (f->n == f->cap) {
        uint32_t cap = f->cap ? f->cap * 2 : 8;
        slot_info *slots = resolve_alloc(rs, cap * sizeof *slots);
        if (!slots)
            return -1;
        if (f->n)
            memcpy(slots, f->slots, f->n * sizeof *slots);
        f->slots = slots;
        f->cap = cap;
    }
    rs->places[find_place(rs, f->id, info.name)] = (place){f->id, info.name, f->n};
    rs->n_places++;
    f->slots[f->n] = info;
    return (int32_t)f->n++;
}

static int32_t declare(resolver *rs, frame_info *f, uint32_t name) {
    int64_t own = rs->cap_places ? own_slot(rs, f, name) : -1;
    if (own < 0)
        return add_slot(rs, f, (slot_info){.name = name, .load = LOAD_PARAMETER});
    f->slots[own].load = LOAD_PARAMETER;
    return (int32_t)own;
}

static void read_name(resolver *rs, frame_info *f, uint32_t name) {
    uint32_t up, slot;
    if (!find_name(rs, f, name, &up, &slot))
        (void)add_slot(rs, f, (slot_info){.name = name, .load = LOAD_CONTEXT});
}

/* in_branch: under an "if", so the name may stay as it was outside. */
static void write_name(resolver *rs, frame_info *f, uint32_t name, bool in_branch) {
    uint32_t up, slot;
    bool found = find_name(rs, f, name, &up, &slot);
    if (found && up == 0)
        return;
    slot_info info = {.name = name, .load = in_branch ? LOAD_CONTEXT : LOAD_MISSING};
    if (found)
        info = (slot_info){name, LOAD_ALIAS, up, slot};
    (void)add_slot(rs, f, info);
}

/* ---- first walk: what a frame's statements read and write ---- */

static void collect(resolver *rs, frame_info *f, const node *n, bool in_branch);

static void collect_all(resolver *rs, frame_info *f, node *const *v, size_t n, bool in_branch) {
    for (size_t i = 0; i < n; i++)
        if (v[i])
            collect(rs, f, v[i], in_branch);
}

static void collect_target(resolver *rs, frame_info *f, const node *n, bool parameter, bool in_branch) {
    if (n->kind == N_NSREF)
        read_name(rs, f, n->name_id);
    else if (n->kind == N_TUPLE)
        for (size_t i = 0; i < n->n_items; i++)
            collect_target(rs, f, n->items[i], parameter, in_branch);
    else if (parameter)
        (void)declare(rs, f, n->name_id);
    else
        write_name(rs, f, n->name_id, in_branch);
}

static void collect_expression(resolver *rs, frame_info *f, const node *n) {
    if (n->kind == N_NAME) {
        read_name(rs, f, n->name_id);
        return;
    }
    const node *const parts[] = {n->a, n->b, n->c, n->d, n->star, n->star2};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (parts[i])
            collect_expression(rs, f, parts[i]);
    for (size_t i = 0; i < n->n_items; i++)
        collect_expression(rs, f, n->items[i]);
    for (size_t i = 0; i < n->n_keys; i++)
        if (n->keys[i])
            collect_expression(rs, f, n->keys[i]);
}

static void collect(resolver *rs, frame_info *f, const node *n, bool in_branch) {
    if (failed(rs))
        return;
    switch (n->kind) {
    case N_BODY: collect_all(rs, f, n->items, n->n_items, in_branch); break;
    case N_DATA:
    case N_BREAK:
    case N_CONTINUE:
    case N_GENERATION: break;
    case N_OUTPUT: collect_expression(rs, f, n->a); break;
    case N_IF:
        for (size_t i = 0; i + 1 < n->n_items; i += 2) {
            collect_expression(rs, f, n->items[i]);
            collect(rs, f, n->items[i + 1], true);
        }
        if (n->c)
            collect(rs, f, n->c, true);
        break;
    case N_SET:
        collect_expression(rs, f, n->b);
        collect_target(rs, f, n->a, false, in_branch);
        break;
    case N_SET_BLOCK: collect_target(rs, f, n->a, false, in_branch); break;
    case N_FOR: collect_expression(rs, f, n->b); break;
    case N_MACRO: write_name(rs, f, n->name_id, in_branch); break;
    case N_CALL_BLOCK: collect_expression(rs, f, n->a); break;
    case N_FILTER_BLOCK: collect_expression(rs, f, n->b); break;
    case N_WITH:
        for (size_t i = 0; i < n->n_keys; i++)
            collect_expression(rs, f, n->keys[i]);
        break;
    default: collect_expression(rs, f, n);
    }
}

/* ---- second walk: places of names, tables of filters and tests, frames inside ---- */

static void bind(resolver *rs, frame_info *f, node *n, bool soft);

static void bind_name(resolver *rs, frame_info *f, node *n) {
    if (!find_name(rs, f, n->name_id, &n->up, &n->slot)) {
        int32_t slot = add_slot(rs, f, (slot_info){.name = n->name_id, .load = LOAD_CONTEXT});
        n->up = 0;
        n->slot = slot < 0 ? 0 : (uint32_t)slot;
    }
}

static void bind_target(resolver *rs, frame_info *f, node *n) {
    for (size_t i = 0; n->kind == N_TUPLE && i < n->n_items; i++)
        bind_target(rs, f, n->items[i]);
    if (n->kind != N_TUPLE)
        bind_name(rs, f, n);
}

/* An unknown filter or test is an error at once, but under a condition only where it is reached. */
static void look_up(resolver *rs, node *n, bool soft) {
    bool is_filter = n->kind == N_FILTER;
    n->index = is_filter ? template_filter_find(n->name) : template_test_find(n->name);
    if (n->index < 0 && !soft && !failed(rs))
        rs->status = error_set(rs->err, MUGA_E_INPUT, "template line %u: no %s named '%.60s'", n->line,
                               is_filter ? "filter" : "test", n->name);
}

static void bind_expression(resolver *rs, frame_info *f, node *n, bool soft) {
    if (failed(rs))
        return;
    if (n->kind == N_NAME) {
        bind_name(rs, f, n);
        return;
    }
    if (n->kind == N_FILTER || n->kind == N_TEST)
        look_up(rs, n, soft);
    soft |= n->kind == N_COND;
    node *const parts[] = {n->a, n->b, n->c, n->d, n->star, n->star2};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (parts[i])
            bind_expression(rs, f, parts[i], soft);
    for (size_t i = 0; i < n->n_items; i++)
        bind_expression(rs, f, n->items[i], soft);
    for (size_t i = 0; i < n->n_keys; i++)
        if (n->keys[i])
            bind_expression(rs, f, n->keys[i], soft);
}

/* A frame whose statements are `body`. */
static frame_info *bind_frame(resolver *rs, frame_info *inner, node *body) {
    if (inner && body) {
        collect(rs, inner, body, false);
        bind(rs, inner, body, false);
    }
    return inner;
}

static node *copy_target(resolver *rs, const node *n) {
    node *copy = resolve_alloc(rs, sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *n;
    if (n->n_items)
        copy->items = resolve_alloc(rs, n->n_items * sizeof *copy->items);
    for (size_t i = 0; copy->items && i < n->n_items; i++)
        copy->items[i] = copy_target(rs, n->items[i]);
    return failed(rs) ? NULL : copy;
}

/* keys[0] = the target once more, for the condition's frame. */
static void bind_for(resolver *rs, frame_info *f, node *n, bool soft) {
    frame_info *body = frame_info_new(rs, f);
    bind_expression(rs, f, n->b, soft);
    if (!body)
        return;
    n->loop_slot = declare(rs, body, NAME_LOOP);
    collect_target(rs, body, n->a, true, false);
    n->frame = body;
    if (n->c) {
        n->test_frame = frame_info_new(rs, f);
        if (!n->test_frame)
            return;
        n->keys = resolve_alloc(rs, sizeof *n->keys);
        if (!n->keys || !(n->keys[0] = copy_target(rs, n->a)))
            return;
        collect_target(rs, n->test_frame, n->keys[0], true, false);
        collect_expression(rs, n->test_frame, n->c);
        bind_expression(rs, n->test_frame, n->c, false);
        bind_target(rs, n->test_frame, n->keys[0]);
    }
    bind_frame(rs, body, n->d);
    bind_target(rs, body, n->a);
    if (n->n_items)
        n->else_frame = bind_frame(rs, frame_info_new(rs, f), n->items[0]);
}

static bool mentions(resolver *rs, const node *n, uint32_t name) {
    if (rs->work++ > MAX_RESOLVE_WORK)
        return false;
    if (n->kind == N_NAME)
        return n->name_id == name;
    const node *const parts[] = {n->a, n->b, n->c, n->d, n->star, n->star2};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (parts[i] && mentions(rs, parts[i], name))
            return true;
    for (size_t i = 0; i < n->n_items; i++)
        if (mentions(rs, n->items[i], name))
            return true;
    for (size_t i = 0; i < n->n_keys; i++)
        if (n->keys[i] && mentions(rs, n->keys[i], name))
            return true;
    return false;
}

/* The slot of a name that a macro gets without declaring it, where its body uses it. */
static int32_t declare_special(resolver *rs, frame_info *f, const node *n, uint32_t name) {
    for (size_t i = 0; i < n->n_keys; i++)
        if (n->name_ids[i] == name)
            return -1;
    return mentions(rs, n->d, name) ? declare(rs, f, name) : -1;
}

static void bind_macro(resolver *rs, frame_info *f, node *n) {
    frame_info *inner = frame_info_new(rs, f);
    if (!inner)
        return;
    n->frame = inner;
    for (size_t i = 0; i < n->n_keys && !failed(rs); i++)
        if (declare(rs, inner, n->name_ids[i]) != (int32_t)i && !failed(rs))
            rs->status = error_set(rs->err, MUGA_E_INPUT, "template line %u: parameter '%.60s' is declared twice",
                                   n->line, n->names[i]);
    if (failed(rs))
        return;
    n->caller_slot = declare_special(rs, inner, n, NAME_CALLER);
    n->kwargs_slot = declare_special(rs, inner, n, NAME_KWARGS);
    n->varargs_slot = declare_special(rs, inner, n, NAME_VARARGS);
    for (size_t i = 0; i < n->n_keys; i++)
        if (n->keys[i])
            collect_expression(rs, inner, n->keys[i]);
    collect(rs, inner, n->d, false);
    for (size_t i = 0; i < n->n_keys; i++)
        if (n->keys[i])
            bind_expression(rs, inner, n->keys[i], false);
    bind(rs, inner, n->d, false);
}

static void bind_with(resolver *rs, frame_info *f, node *n, bool soft) {
    for (size_t i = 0; i < n->n_keys; i++)
        bind_expression(rs, f, n->keys[i], soft);
    n->frame = frame_info_new(rs, f);
    if (!n->frame)
        return;
    for (size_t i = 0; i < n->n_items; i++)
        collect_target(rs, n->frame, n->items[i], true, false);
    bind_frame(rs, n->frame, n->d);
    for (size_t i = 0; i < n->n_items; i++)
        bind_target(rs, n->frame, n->items[i]);
}

static void bind(resolver *rs, frame_info *f, node *n, bool soft) {
    if (failed(rs))
        return;
    switch (n->kind) {
    case N_BODY:
        for (size_t i = 0; i < n->n_items; i++)
            bind(rs, f, n->items[i], soft);
        break;
    case N_DATA:
    case N_BREAK:
    case N_CONTINUE: break;
    case N_OUTPUT: bind_expression(rs, f, n->a, soft); break;
    case N_IF:
        for (size_t i = 0; i + 1 < n->n_items; i += 2) {
            bind_expression(rs, f, n->items[i], true);
            bind(rs, f, n->items[i + 1], true);
        }
        if (n->c)
            bind(rs, f, n->c, true);
        break;
    case N_SET:
        bind_expression(rs, f, n->b, soft);
        bind_target(rs, f, n->a);
        break;
    case N_SET_BLOCK:
        n->frame = bind_frame(rs, frame_info_new(rs, f), n->c);
        if (n->b && n->frame)
            bind_expression(rs, n->frame, n->b, false);
        bind_target(rs, f, n->a);
        break;
    case N_FILTER_BLOCK:
        n->frame = frame_info_new(rs, f);
        if (!n->frame)
            return;
        collect(rs, n->frame, n->c, false);
        collect_expression(rs, n->frame, n->b);
        bind(rs, n->frame, n->c, false);
        bind_expression(rs, n->frame, n->b, false);
        break;
    case N_GENERATION: n->frame = bind_frame(rs, frame_info_new(rs, f), n->d); break;
    case N_FOR: bind_for(rs, f, n, soft); break;
    case N_MACRO:
        bind_name(rs, f, n);
        bind_macro(rs, f, n);
        break;
    case N_CALL_BLOCK:
        bind_expression(rs, f, n->a, soft);
        bind_macro(rs, f, n);
        break;
    case N_WITH: bind_with(rs, f, n, soft); break;
    default: bind_expression(rs, f, n, soft);
    }
}

muga_status template_resolve(template *t, muga_error *err) {
    resolver rs = {.t = t, .err = err};
    frame_info *root = frame_info_new(&rs, NULL);
    if (root && grow_places(&rs)) {
        bind_frame(&rs, root, t->root);
        t->frame = root;
    }
    free(rs.places);
    return rs.status;
}
