/* Template: the heads of a matrix as attention takes them (attention_body.h).
 *
 * The queries that share one head of keys are its lines: line = row * each + head, [n_line][wide], wide being the
 * head's numbers in whole vectors, the rest zero. Keys and values have one line a row. Lines also stand in tiles
 * [tile][dim][TILE], as the left side of a product. */
typedef struct heads {
    const var *x;
    const real *from; /* x's values or gradient */
    uint32_t n_group, each, dim, wide;
    uint32_t n_line;
    real *lines; /* [n_group][n_line][wide] */
    real *tiles; /* [n_group][n_tile][dim][TILE]; NULL = not wanted */
} heads;

static uint32_t heads_tiles(const heads *h) {
    return (h->n_line + TILE - 1) / TILE;
}
static real *heads_line(const heads *h, uint32_t i_group, size_t line) {
    return h->lines + ((size_t)i_group * h->n_line + line) * h->wide;
}
static const real *heads_tile(const heads *h, uint32_t i_group, uint32_t i_tile) {
    return h->tiles + ((size_t)i_group * heads_tiles(h) + i_tile) * h->dim * TILE;
}
/* Where a line's numbers stand in x. */
static size_t heads_place(const heads *h, uint32_t i_group, uint32_t line) {
    return line / h->each * h->x->stride + (size_t)(i_group * h->each + line % h->each) * h->dim;
}

static void heads_chunk(void *ctx, int i_chunk) {
    const heads *h = ctx;
    uint32_t i_group = (uint32_t)i_chunk / heads_tiles(h), i_tile = (uint32_t)i_chunk % heads_tiles(h);
    uint32_t from = i_tile * TILE, n = MIN((uint32_t)TILE, h->n_line - from);
    for (uint32_t i = 0; i < n; i++) {
        real *line = heads_line(h, i_group, from + i);
        memcpy(line, h->from + heads_place(h, i_group, from + i), h->dim * sizeof *line);
        memset(line + h->dim, 0, (h->wide - h->dim) * sizeof *line);
    }
    if (h->tiles)
        pack_rows(heads_line(h, i_group, from), h->wide, 1, n, h->dim,
                  h->tiles + ((size_t)i_group * heads_tiles(h) + i_tile) * h->dim * TILE);
}

/* Room for the lines of x; what is in them is undefined. False when memory is out. */
static bool heads_room(tape *t, const var *x, const tape_attention_args *a, heads *out) {
    *out = (heads){.x = x, .n_group = a->n_head_kv, .each = x->cols / a->head_dim / a->n_head_kv, .dim = a->head_dim};
    out->wide = (out->dim + VECTOR - 1) / VECTOR * VECTOR;
    out->n_line = x->rows * out->each;
    out->lines = tape_get(t, (size_t)out->n_group * out->n_line, out->wide * sizeof(real));
    return !t->failed;
}

/* Lines and tiles of x's values, or of its gradient. */
static bool heads_take(tape *t, const var *x, bool gradient, const tape_attention_args *a, heads *out) {
    if (!heads_room(t, x, a, out))
        return false;
    out->from = gradient ? x->g : x->v;
    out->tiles = tape_get(t, (size_t)out->n_group * heads_tiles(out) * TILE, out->dim * sizeof(real));
    if (!t->failed)
        os_pool_run(t->pool, (int)(out->n_group * heads_tiles(out)), heads_chunk, out);
    return !t->failed;
}

/* Lines [from, from + n), n <= PANEL, as the right side of a product: to[dim][PANEL], the columns after n undefined. */
static void heads_panel(const heads *h, uint32_t i_group, uint32_t from, uint32_t n, real *to) {
    for (uint32_t v = 0; v < n; v += VECTOR)
        turn(heads_line(h, i_group, from + v), h->wide, MIN(n - v, (uint32_t)VECTOR), h->dim, to + v, PANEL);
}
