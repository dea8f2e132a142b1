/* Template: C (+)= A B over the pool, where B may be a matrix of the base, dequantised piece by piece, in either
 * direction. An element of C is one chain over ascending j, whatever the pieces and threads are.
 *
 * A is packed once in tiles of TILE rows, for as many products as want it; a piece of B in panels of PANEL columns
 * [panel][j][PANEL], the last of VECTOR where no more are left. */
#define PIECE_COLUMNS 64  /* of B at a time, or a block of its type where that is longer, or fewer */
#define PIECE_REALS 16384 /* on the stack of each thread */
#define WHOLE_BLOCKS 256  /* a multiple of every type's block */

typedef struct product {
    real *c;
    size_t c_stride;
    uint32_t n_i;
    uint64_t n_c, n_j;
    const real *a; /* A(i, j) = a[i * a_i + j * a_j] */
    size_t a_i, a_j;
    const real *tiles; /* A packed before by product_pack; NULL = not yet */
    const real *b;     /* B(j, c) = b[j * b_j + c * b_c], one of which is 1; or NULL, and it is */
    size_t b_j, b_c;
    const tensor_view *w; /* w[j][c], */
    bool turned;          /* or w[c][j] */
    bool add;             /* else C is written over */
    /* private */
    uint32_t piece_columns, piece_rows, i_step, n_column_chunks;
} product;

typedef struct packing {
    const product *p;
    real *tiles; /* [tile][j][TILE] */
} packing;

static void pack_chunk(void *ctx, int i_tile) {
    const packing *k = ctx;
    const product *p = k->p;
    uint32_t i0 = (uint32_t)i_tile * TILE;
    pack_rows(p->a + i0 * p->a_i, p->a_i, p->a_j, MIN((uint32_t)TILE, p->n_i - i0), (uint32_t)p->n_j,
              k->tiles + (size_t)i0 * p->n_j);
}

/* A of a product, packed; valid until the next call. NULL when memory is out. */
static const real *product_pack(tape *t, const product *p) {
    uint32_t n_tiles = (p->n_i + TILE - 1) / TILE;
    packing k = {p, t->failed ? NULL : tape_memory_scratch(t->memory, (size_t)n_tiles * TILE, p->n_j * sizeof(real))};
    if (k.tiles)
        os_pool_run(t->pool, (int)n_tiles, pack_chunk, &k);
    t->failed = t->failed || !k.tiles;
    return k.tiles;
}

/* Elements [from, from + n) of a row of w. */
static void unpack_row(const tensor_view *w, uint64_t row, uint64_t from, uint32_t n, real *out) {
    const tensor_traits *t = tensor_type_traits(w->type);
    uint64_t at = (row * w->cols + from) / t->block_elems * t->block_bytes;
#if TRAIN_REAL == 64
    float narrow[WHOLE_BLOCKS];
    t->dequantise((const uint8_t *)w->data + at, narrow, n);
    for (uint32_t k = 0; k < n; k++)
        out[k] = (real)narrow[k];
#else
    t->dequantise((const uint8_t *)w->data + at, out, n);
#endif
}

/* Columns that lie one after the other in memory, or rows of w. */
static void pack_turned(const product *p, uint64_t c0, uint32_t n_c, uint64_t j0, uint32_t n_j, real *out) {
    real rows[VECTOR * WHOLE_BLOCKS] __attribute__((aligned(64)));
    for (uint32_t at = 0; at < n_c; at += PANEL) {
        uint32_t width = n_c - at > VECTOR ? PANEL : VECTOR;
        for (uint32_t v = 0; v < width; v += VECTOR) {
            uint32_t n = MIN(n_c - at - v, (uint32_t)VECTOR);
            const real *from = p->w ? rows : p->b + (c0 + at + v) * p->b_c + j0;
            for (uint32_t k = 0; p->w && k < n; k++)
                unpack_row(p->w, c0 + at + v + k, j0, n_j, rows + (size_t)k * WHOLE_BLOCKS);
            turn(from, p->w ? WHOLE_BLOCKS : p->b_c, n, n_j, out + (size_t)at * n_j + v, width);
        }
    }
}

/* Rows that lie one after the other in memory. */
static void pack_straight(const product *p, uint64_t c0, uint32_t n_c, uint64_t j0, uint32_t n_j, real *out) {
    real unpacked[WHOLE_BLOCKS] __attribute__((aligned(64)));
    for (uint32_t j = 0; j < n_j; j++) {
        const real *row = p->w ? unpacked : p->b + (j0 + j) * p->b_j + c0;
        if (p->w)
            unpack_row(p->w, j0 + j, c0, n_c, unpacked);
        uint32_t at = 0;
        for (; at + PANEL <= n_c; at += PANEL)
            memcpy(out + (size_t)at * n_j + (size_t)j * PANEL, row + at, PANEL * sizeof *out);
        if (at == n_c)
            continue;
        uint32_t width = n_c - at > VECTOR ? PANEL : VECTOR;
        real *to = out + (size_t)at * n_j + (size_t)j * width;
        for (uint32_t c = 0; c < width; c++)
            to[c] = at + c < n_c ? row[at + c] : 0;
    }
}

static void product_chunk(void *ctx, int i_chunk) {
    const product *p = ctx;
    uint64_t c0 = (uint64_t)((uint32_t)i_chunk % p->n_column_chunks) * p->piece_columns;
    uint32_t i0 = (uint32_t)i_chunk / p->n_column_chunks * p->i_step, i1 = MIN(i0 + p->i_step, p->n_i);
    uint32_t n_c = (uint32_t)MIN((uint64_t)p->piece_columns, p->n_c - c0);
    real piece[PIECE_REALS] __attribute__((aligned(64)));
    for (uint64_t j0 = 0; j0 < p->n_j; j0 += p->piece_rows) {
        uint32_t n_j = (uint32_t)MIN((uint64_t)p->piece_rows, p->n_j - j0);
        if (p->w ? p->turned : p->b_c != 1)
            pack_turned(p, c0, n_c, j0, n_j, piece);
        else
            pack_straight(p, c0, n_c, j0, n_j, piece);
        for (uint32_t at = 0; at < n_c; at += PANEL)
            for (uint32_t i = i0; i < i1; i += TILE) {
                sides s = {p->tiles + i * p->n_j + j0 * TILE, piece + (size_t)at * n_j, TILE,
                           n_c - at > VECTOR ? PANEL : VECTOR, n_j};
                meet_tile(MIN((uint32_t)TILE, i1 - i), MIN((uint32_t)PANEL, n_c - at), &s,
                          p->c + i * p->c_stride + c0 + at, p->c_stride, j0 == 0 && !p->add);
            }
    }
}

/* How many columns and rows one chunk takes: enough chunks for the threads, or they wait for the last. */
static void choose_chunks(product *p, uint32_t block, uint32_t n_thread) {
    uint32_t least = MAX(block, (uint32_t)PANEL);
    p->piece_columns = MAX(block, (uint32_t)PIECE_COLUMNS);
    while (p->piece_columns / 2 >= least && (p->n_c + p->piece_columns - 1) / p->piece_columns < 8 * n_thread)
        p->piece_columns /= 2;
    p->n_column_chunks = (uint32_t)((p->n_c + p->piece_columns - 1) / p->piece_columns);
    p->piece_rows = MIN((uint32_t)PIECE_REALS / p->piece_columns, (uint32_t)WHOLE_BLOCKS);
    p->i_step = (p->n_i + TILE - 1) / TILE * TILE;
    while (p->i_step > 8 * TILE && p->n_column_chunks * ((p->n_i + p->i_step - 1) / p->i_step) < 4 * n_thread)
        p->i_step = (p->i_step / 2 + TILE - 1) / TILE * TILE;
}

/* n_i * n_c * n_j may be 0 in none of them. */
static void product_run(tape *t, product p) {
    p.tiles = p.tiles ? p.tiles : product_pack(t, &p);
    if (t->failed)
        return;
    choose_chunks(&p, p.w && !p.turned ? tensor_type_traits(p.w->type)->block_elems : 1,
                  t->pool ? (uint32_t)os_pool_threads(t->pool) : 1);
    os_pool_run(t->pool, (int)(p.n_column_chunks * ((p.n_i + p.i_step - 1) / p.i_step)), product_chunk, &p);
}
