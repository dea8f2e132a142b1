/* Template: C (+)= A B over the pool, where B may be a matrix of the base, dequantised piece by piece, in either
 * direction. An element of C is one chain over ascending j, whatever the pieces and threads are.
 *
 * A is packed once in tiles of TILE rows, a piece of B in panels of PANEL columns; the two meet in registers:
 *     acc[TILE][PANEL] += a[j][TILE] (broadcast) * b[j][PANEL] */
#if TRAIN_REAL == 32 && defined(TRAIN_VECTOR_BYTES)
#define VECTOR_BYTES TRAIN_VECTOR_BYTES
#define TILE TRAIN_TILE
#else
#define VECTOR_BYTES 16
#define TILE 4
#define TRAIN_FMA(a, b, c) ((a) * (b) + (c))
#endif
#define VECTOR (VECTOR_BYTES / (int)sizeof(real))
#define PANEL (2 * VECTOR)
#define PIECE_COLUMNS 64  /* of B at a time, or a block of its type where that is longer */
#define PIECE_REALS 16384 /* on the stack of each thread */
#define WHOLE_BLOCKS 256  /* a multiple of every type's block */
typedef real lanes __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

typedef struct product {
    real *c;
    size_t c_stride;
    uint32_t n_i;
    uint64_t n_c, n_j;
    const real *a; /* A(i, j) = a[i * a_i + j * a_j] */
    size_t a_i, a_j;
    const real *b; /* B(j, c) = b[j * b_j + c * b_c]; or NULL, and it is */
    size_t b_j, b_c;
    const tensor_view *w; /* w[j][c], */
    bool turned;          /* or w[c][j] */
    bool add;             /* else C is written over */
    /* private */
    real *tiles; /* A packed: [tile][j][TILE] */
    uint32_t piece_columns, piece_rows, i_step, n_column_chunks;
} product;

static void pack_tile(void *ctx, int i_tile) {
    const product *p = ctx;
    real *out = p->tiles + (size_t)i_tile * TILE * p->n_j;
    uint32_t i0 = (uint32_t)i_tile * TILE, n = MIN((uint32_t)TILE, p->n_i - i0);
    for (uint64_t j = 0; j < p->n_j; j++)
        for (uint32_t i = 0; i < TILE; i++)
            out[j * TILE + i] = i < n ? p->a[(i0 + i) * p->a_i + j * p->a_j] : 0;
}

/* Elements [from, from + n) of a row of w. */
static void unpack_row(const tensor_view *w, uint64_t row, uint64_t from, uint32_t n, float *out) {
    const tensor_traits *t = tensor_type_traits(w->type);
    uint64_t at = (row * w->cols + from) / t->block_elems * t->block_bytes;
    t->dequantise((const uint8_t *)w->data + at, out, n);
}

/* B(j0 .. j0 + n_j, c0 .. c0 + n_c) as panels [panel][j][PANEL]; columns past the end are zero. */
static void pack_piece(const product *p, uint64_t c0, uint32_t n_c, uint64_t j0, uint32_t n_j, real *out) {
    uint32_t n_all = (n_c + PANEL - 1) / PANEL * PANEL;
    float row[WHOLE_BLOCKS];
    if (n_all > n_c)
        memset(out, 0, (size_t)n_all * n_j * sizeof *out);
    for (uint32_t c = 0; p->w && p->turned && c < n_c; c++) {
        real *panel = out + (size_t)(c / PANEL) * n_j * PANEL + c % PANEL;
        unpack_row(p->w, c0 + c, j0, n_j, row);
        for (uint32_t j = 0; j < n_j; j++)
            panel[(size_t)j * PANEL] = row[j];
    }
    for (uint32_t j = 0; !(p->w && p->turned) && j < n_j; j++) {
        if (p->w)
            unpack_row(p->w, j0 + j, c0, n_c, row);
        for (uint32_t c = 0; c < n_c; c++)
            out[(size_t)(c / PANEL) * n_j * PANEL + (size_t)j * PANEL + c % PANEL] =
                p->w ? row[c] : p->b[(j0 + j) * p->b_j + (c0 + c) * p->b_c];
    }
}

static inline void meet(const real *a, const real *b, uint32_t n_j, real *c) {
    lanes acc[TILE][2];
#pragma GCC unroll 16
    for (int i = 0; i < TILE; i++) {
        acc[i][0] = *(const lanes *)(c + i * PANEL);
        acc[i][1] = *(const lanes *)(c + i * PANEL + VECTOR);
    }
    for (uint32_t j = 0; j < n_j; j++, a += TILE, b += PANEL) {
        lanes b0 = *(const lanes *)b, b1 = *(const lanes *)(b + VECTOR);
#pragma GCC unroll 16
        for (int i = 0; i < TILE; i++) {
            acc[i][0] = TRAIN_FMA(a[i], b0, acc[i][0]);
            acc[i][1] = TRAIN_FMA(a[i], b1, acc[i][1]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < TILE; i++) {
        *(lanes *)(c + i * PANEL) = acc[i][0];
        *(lanes *)(c + i * PANEL + VECTOR) = acc[i][1];
    }
}

/* One tile of rows against one panel of columns; sums go on from what C holds unless `fresh`. */
static void meet_and_store(const product *p, uint32_t i0, uint64_t c0, const real *a, const real *b, uint32_t n_j,
                           bool fresh) {
    real sums[TILE * PANEL] = {0};
    uint32_t n_i = MIN((uint32_t)TILE, p->n_i - i0), n_c = (uint32_t)MIN((uint64_t)PANEL, p->n_c - c0);
    real *c = p->c + i0 * p->c_stride + c0;
    for (uint32_t i = 0; !fresh && i < n_i; i++)
        memcpy(sums + (size_t)i * PANEL, c + i * p->c_stride, n_c * sizeof *c);
    meet(a, b, n_j, sums);
    for (uint32_t i = 0; i < n_i; i++)
        memcpy(c + i * p->c_stride, sums + (size_t)i * PANEL, n_c * sizeof *c);
}

static void product_chunk(void *ctx, int i_chunk) {
    const product *p = ctx;
    uint64_t c0 = (uint64_t)((uint32_t)i_chunk % p->n_column_chunks) * p->piece_columns;
    uint32_t i0 = (uint32_t)i_chunk / p->n_column_chunks * p->i_step, i1 = MIN(i0 + p->i_step, p->n_i);
    uint32_t n_c = (uint32_t)MIN((uint64_t)p->piece_columns, p->n_c - c0);
    real piece[PIECE_REALS] __attribute__((aligned(64)));
    for (uint64_t j0 = 0; j0 < p->n_j; j0 += p->piece_rows) {
        uint32_t n_j = (uint32_t)MIN((uint64_t)p->piece_rows, p->n_j - j0);
        pack_piece(p, c0, n_c, j0, n_j, piece);
        for (uint32_t at = 0; at < n_c; at += PANEL)
            for (uint32_t i = i0; i < i1; i += TILE)
                meet_and_store(p, i, c0 + at, p->tiles + (i / TILE * p->n_j + j0) * TILE, piece + (size_t)at * n_j, n_j,
                               j0 == 0 && !p->add);
    }
}

/* Rows that one chunk takes: all, unless there are too few pieces of columns for the threads. */
static uint32_t rows_of_chunk(const product *p, int n_threads) {
    uint32_t step = (p->n_i + TILE - 1) / TILE * TILE;
    while (step > 8 * TILE && p->n_column_chunks * ((p->n_i + step - 1) / step) < 4 * (uint32_t)n_threads)
        step = (step / 2 + TILE - 1) / TILE * TILE;
    return step;
}

/* n_i * n_c * n_j may be 0 in none of them. */
static void product_run(tape *t, product p) {
    uint32_t n_tiles = (p.n_i + TILE - 1) / TILE, block = p.w ? tensor_type_traits(p.w->type)->block_elems : 1;
    p.tiles = t->failed ? NULL : tape_memory_scratch(t->memory, (size_t)n_tiles * TILE, p.n_j * sizeof(real));
    if (!p.tiles) {
        t->failed = true;
        return;
    }
    p.piece_columns = p.w && !p.turned ? MAX(block, (uint32_t)PIECE_COLUMNS) : PIECE_COLUMNS;
    p.piece_rows = MIN((uint32_t)PIECE_REALS / p.piece_columns, (uint32_t)WHOLE_BLOCKS);
    p.n_column_chunks = (uint32_t)((p.n_c + p.piece_columns - 1) / p.piece_columns);
    p.i_step = rows_of_chunk(&p, t->pool ? os_pool_threads(t->pool) : 1);
    os_pool_run(t->pool, (int)n_tiles, pack_tile, &p);
    os_pool_run(t->pool, (int)(p.n_column_chunks * ((p.n_i + p.i_step - 1) / p.i_step)), product_chunk, &p);
}
