/* Which names of its context an expression reads, so that a misspelt one can be refused before it is ever evaluated. */
#include "model/template_internal.h"

typedef struct finder {
    template_name_visit visit;
    void *ctx;
} finder;

static bool walk(const finder *f, const node *n);

static bool walk_all(const finder *f, node *const *list, size_t n) {
    for (size_t i = 0; list && i < n; i++) {
        if (!walk(f, list[i]))
            return false;
    }
    return true;
}

/* x.y and x['y'] are one name; of x[i] only x is known. */
static bool walk(const finder *f, const node *n) {
    if (!n)
        return true;
    const node *of = n->a;
    if (n->kind == N_NAME)
        return f->visit(f->ctx, n->name, NULL);
    if (n->kind == N_ATTR && of && of->kind == N_NAME)
        return f->visit(f->ctx, of->name, n->name);
    if (n->kind == N_ITEM && of && of->kind == N_NAME && n->b && n->b->kind == N_CONST && n->b->value.kind == TV_STRING)
        return f->visit(f->ctx, of->name, n->b->value.u.s);
    return walk(f, n->a) && walk(f, n->b) && walk(f, n->c) && walk(f, n->d) && walk(f, n->star) && walk(f, n->star2) &&
           walk_all(f, n->items, n->n_items) && walk_all(f, n->keys, n->n_keys);
}

bool template_expression_names(const template_expression *e, template_name_visit visit, void *ctx) {
    const finder f = {visit, ctx};
    return walk(&f, e->t.root);
}
