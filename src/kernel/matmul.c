/* How a matrix product is cut into work. Owns: the order of loops over tiles of tokens, panels of rows and stretches of
 * columns, and the chunks that threads take. Refuses: any arithmetic.
 *
 * Idea: a tile of quantised activations stays in the first-level cache while the panels of a chunk pass by from the
 * second; each (row, token) is one chain over ascending columns, so neither tiles nor stretches nor threads change a
 * bit. A chunk is a range of panels times a range of tiles. Chunks are handed out dynamically; a product too small to
 * be worth a wake-up runs on the caller alone. */
#include "kernel/matmul.h"

#include "base/mem.h"

enum {
    STRETCH_BLOCKS = 32,     /* of an int8 tile: 32 x 12 tokens x 48 bytes = 18 KB, half a first-level cache */
    STRETCH_MANY = 64,       /* of a set of tiles: 64 x 132 tokens x 48 bytes = 400 KB, half a second-level cache */
    STRETCH_F32 = 128,       /* columns of f32 tiles and dequantised panels: 8 KB a panel */
    GROUP_F32 = 4,           /* panels dequantised at a time */
    WHOLE_WIDTH = 4,         /* tiles up to this width walk all columns at once: weights stream from memory */
    GROUP_BYTES = 192 << 10, /* of panels a chunk walks again for each tile: a share of the second-level cache */
    CHUNKS_PER_THREAD = 6,
    AHEAD_BYTES = 128 << 10, /* of weights, for a thread that waits: half of a small second-level cache */
    RANGE_TILES = 2,         /* of a thread of its own: fewer, and panels come from memory too often */
    SMALL_PRODUCT = 3 << 16, /* multiply-adds below which waking others costs more than it saves */
    SMALL_CHUNK = 1 << 16,
    SMALL_QUANTISE = 1 << 15 /* elements */
};

size_t kernel_act_bytes(uint64_t n_tok, uint64_t cols) {
    return (size_t)(n_tok * ((cols + KERNEL_BLOCK - 1) / KERNEL_BLOCK) * TILE_BLOCK_BYTES);
}

typedef struct matmul_job {
    const matmul_isa *isa;
    const kernel_matmul_args *a;
    bool int8;
    uint64_t n_panel, n_tile;
    uint64_t panels_per_chunk, n_group; /* runs of panels */
    uint64_t n_range;                   /* of tiles */
    uint64_t most_tiles;                /* that an int8 product gets at once */
} matmul_job;

static void quantise_tile(void *ctx, int i_tile) {
    const matmul_job *job = ctx;
    const kernel_matmul_args *a = job->a;
    uint64_t first, n_block = a->w->cols / KERNEL_BLOCK;
    uint32_t width;
    tile_span(a->n_tok, job->n_tile, (uint64_t)i_tile, &first, &width);
    job->isa->quantise(a->x + first * a->x_stride, a->x_stride, width, n_block,
                       (uint8_t *)a->scratch + first * n_block * TILE_BLOCK_BYTES);
}

/* The part of a stretch that depends on where it lies: panel i_panel, token i_tok, column k0. */
static void stretch_place(matmul_stretch *s, const kernel_matmul_args *a, uint64_t i_panel, uint64_t i_tok, uint64_t k0,
                          uint64_t n_k) {
    s->weights = panel_at(a->w, i_panel) + panel_bytes(a->w->type, k0);
    s->n_k = n_k;
    s->y = a->y + i_tok * a->y_stride + i_panel * PANEL_ROWS;
    s->n_row = a->w->rows - i_panel * PANEL_ROWS;
    s->first = k0 == 0;
    s->last = k0 + n_k == a->w->cols;
}

/* Tiles i_tile, ... of a stretch that begins at panel0 and column k0. */
static void stretch_tiles(matmul_stretch *s, matmul_tile *tiles, const matmul_job *job, uint64_t i_tile,
                          uint64_t panel0, uint64_t k0) {
    const kernel_matmul_args *a = job->a;
    for (uint32_t i = 0; i < s->n_tile; i++) {
        uint64_t i_tok, n_block = a->w->cols / KERNEL_BLOCK;
        tile_span(a->n_tok, job->n_tile, i_tile + i, &i_tok, &tiles[i].width);
        size_t block = i_tok * n_block + k0 / KERNEL_BLOCK * tiles[i].width;
        tiles[i].at = (const uint8_t *)a->scratch + block * TILE_BLOCK_BYTES;
        tiles[i].y = a->y + i_tok * a->y_stride + panel0 * PANEL_ROWS;
    }
    s->tiles = tiles;
    s->tile = tiles[0].at;
    s->width = tiles[0].width;
    s->y = tiles[0].y;
}

/* Tiles in sets as even as they go, of as many as the instruction set takes at once. */
static void chunk_int8(const matmul_job *job, uint64_t panel0, uint64_t panel_end, uint64_t tile0, uint64_t tile_end) {
    const kernel_matmul_args *a = job->a;
    uint64_t cols = a->w->cols, n_set = tile_count(tile_end - tile0, job->most_tiles);
    matmul_tile tiles[MATMUL_MOST_TILES];
    matmul_stretch s = {.type = a->w->type,
                        .panel_stride = panel_bytes(a->w->type, cols),
                        .n_panel = panel_end - panel0,
                        .y_stride = a->y_stride};
    for (uint64_t i_set = 0; i_set < n_set; i_set++) {
        uint64_t first, step = a->n_tok <= WHOLE_WIDTH ? cols : STRETCH_BLOCKS * KERNEL_BLOCK;
        tile_span(tile_end - tile0, n_set, i_set, &first, &s.n_tile);
        s.stream = i_set == 0; /* from memory; for the tiles that follow from the cache */
        if (s.n_tile > 1)
            step = STRETCH_MANY * KERNEL_BLOCK;
        for (uint64_t k0 = 0; k0 < cols; k0 += step) {
            stretch_place(&s, a, panel0, 0, k0, MIN(step, cols - k0));
            stretch_tiles(&s, tiles, job, tile0 + first, panel0, k0);
            job->isa->int8[s.type](&s);
        }
    }
}

/* Rows of x side by side: out[k][t] */
static void transpose(const float *x, size_t x_stride, uint32_t width, uint64_t n_k, float *out) {
    for (uint32_t t = 0; t < width; t++)
        for (uint64_t k = 0; k < n_k; k++)
            out[k * width + t] = x[t * x_stride + k];
}

/* Quantised weights become f32 a few panels and columns at a time; plain ones are read where they are. */
static void chunk_f32(const matmul_job *job, uint64_t panel0, uint64_t panel_end, uint64_t tile0, uint64_t tile_end) {
    _Alignas(64) float weights[GROUP_F32][STRETCH_F32 * PANEL_ROWS];
    _Alignas(64) float tile[STRETCH_F32 * MATMUL_MAX_TILE];
    const kernel_matmul_args *a = job->a;
    uint64_t cols = a->w->cols;
    bool plain = panel_is_plain(a->w->type);
    uint64_t group = plain ? panel_end - panel0 : GROUP_F32;
    uint64_t step = plain && a->n_tok == 1 ? cols : STRETCH_F32;
    matmul_stretch s = {.type = plain ? a->w->type : TENSOR_F32,
                        .y_stride = a->y_stride,
                        .stream = plain && job->n_tile == 1,
                        .panel_stride = plain ? panel_bytes(a->w->type, cols) : sizeof weights[0]};
    for (uint64_t p = panel0; p < panel_end; p += group)
        for (uint64_t k0 = 0; k0 < cols; k0 += step) {
            uint64_t n_k = MIN(step, cols - k0);
            s.n_panel = MIN(group, panel_end - p);
            for (uint64_t i = 0; !plain && i < s.n_panel; i++)
                panel_dequantise(a->w->type, panel_at(a->w, p + i), k0, n_k, weights[i]);
            for (uint64_t i_tile = tile0; i_tile < tile_end; i_tile++) {
                uint64_t i_tok;
                tile_span(a->n_tok, job->n_tile, i_tile, &i_tok, &s.width);
                stretch_place(&s, a, p, i_tok, k0, n_k);
                if (!plain)
                    s.weights = (const uint8_t *)weights;
                s.tile = a->x + i_tok * a->x_stride + k0;
                if (s.width > 1) {
                    transpose(s.tile, a->x_stride, s.width, n_k, tile);
                    s.tile = tile;
                }
                job->isa->f32(&s);
            }
        }
}

/* Ranges of tiles outside, groups of panels inside: the share of a thread is a run of chunks, so tokens stay with the
 * thread that normed, quantised or rotated them (the pool gave it the same part of those jobs), and what it writes here
 * it reads again there. Where a thread comes to an end early it helps with the others' tokens. */
static void run_chunk(void *ctx, int i_chunk) {
    const matmul_job *job = ctx;
    uint64_t i_range = (uint64_t)i_chunk / job->n_group, i_group = (uint64_t)i_chunk % job->n_group;
    uint64_t panel0 = i_group * job->panels_per_chunk, panel_end = MIN(panel0 + job->panels_per_chunk, job->n_panel);
    uint64_t tile0 = job->n_tile * i_range / job->n_range, tile_end = job->n_tile * (i_range + 1) / job->n_range;
    (job->int8 ? chunk_int8 : chunk_f32)(job, panel0, panel_end, tile0, tile_end);
}

static uint64_t divide_up(uint64_t n, uint64_t by) {
    return (n + by - 1) / by;
}

/* Tiles, and the ranges of them that threads begin with: one for each thread where tiles are enough and the weights,
 * which every range reads, are fewer bytes than what goes from core to core without ranges. Tiles are even in number
 * where that takes few more; products that share activations come to the same. */
static void plan_tiles(matmul_job *job, int n_thread) {
    uint64_t least = tile_count(job->a->n_tok, job->int8 ? job->isa->tile : job->isa->tile_f32);
    job->n_range = MAX(MIN((uint64_t)n_thread, least / RANGE_TILES), 1);
    while (divide_up(least, job->n_range) * job->n_range > least + least / 10)
        job->n_range--;
    job->n_tile = divide_up(least, job->n_range) * job->n_range;
    const kernel_weights *w = job->a->w;
    if (w->bytes > job->a->n_tok * (w->rows + w->cols) * sizeof(float))
        job->n_range = 1;
    bool sets = job->isa->set_from && job->n_tile / job->n_range >= job->isa->set_from(w->type, w->cols);
    job->most_tiles = sets ? MATMUL_MOST_TILES : 1;
}

/* As many chunks for every thread as keep it busy to the end, the same for each, none so large that its panels leave
 * the cache between tiles, none so small that taking it costs. Where rows are few, ranges are split. A product that
 * takes a set of tiles comes to a panel once for all of them, and takes panels two at a time. */
static uint64_t plan_chunks(matmul_job *job, int n_thread) {
    const kernel_weights *w = job->a->w;
    uint64_t n = (uint64_t)n_thread, wanted = n > 1 ? n * CHUNKS_PER_THREAD : 1;
    uint64_t panel_work = divide_up(PANEL_ROWS * w->cols * job->a->n_tok, job->n_range);
    bool sets = job->int8 && job->most_tiles > 1;
    uint64_t most = sets ? job->n_panel : MAX(GROUP_BYTES / panel_bytes(w->type, w->cols), 1);
    uint64_t least = divide_up(SMALL_CHUNK, panel_work);
    uint64_t each = MIN(MAX(job->n_panel * job->n_range / (n * least), 1), CHUNKS_PER_THREAD);
    job->panels_per_chunk = MIN(n > 1 ? divide_up(job->n_panel * job->n_range, n * each) : job->n_panel, most);
    if (sets)
        job->panels_per_chunk += job->panels_per_chunk % 2;
    while (divide_up(job->n_panel, job->panels_per_chunk) > INT32_MAX / 2)
        job->panels_per_chunk *= 2;
    job->n_group = divide_up(job->n_panel, job->panels_per_chunk);
    if (job->n_group * job->n_range < wanted)
        job->n_range = MIN(job->n_range * divide_up(wanted, job->n_group * job->n_range), job->n_tile);
    return job->n_group * job->n_range;
}

static bool is_small(const kernel_weights *w, uint64_t n_tok) {
    return w->rows * w->cols * n_tok < SMALL_PRODUCT;
}

/* While threads wait for the steps between two products, which one of them does alone, each fetches what it begins the
 * next product with: memory would be idle meanwhile. */
static void read_ahead(const matmul_job *job, os_pool *pool) {
    kernel_matmul_args a = *job->a;
    a.w = job->a->next;
    if (is_small(a.w, a.n_tok))
        return;
    matmul_job next = {.isa = job->isa, .a = &a, .n_tile = job->n_tile, .n_range = job->n_range, .most_tiles = 1};
    next.n_panel = divide_up(a.w->rows, PANEL_ROWS);
    uint64_t n_thread = (uint64_t)os_pool_threads(pool), n_chunk = plan_chunks(&next, (int)n_thread);
    size_t bytes = panel_bytes(a.w->type, a.w->cols);
    for (uint64_t t = 0; t < n_thread; t++) {
        uint64_t from = n_chunk * t / n_thread * next.panels_per_chunk;
        uint64_t end = MIN(n_chunk * (t + 1) / n_thread * next.panels_per_chunk, next.n_panel);
        if (from < end)
            os_pool_read_ahead(pool, (int)t, panel_at(a.w, from), MIN((end - from) * bytes, (size_t)AHEAD_BYTES));
    }
}

void matmul_run(const matmul_isa *isa, const kernel_matmul_args *a, os_pool *pool) {
    if (a->n_tok == 0)
        return;
    matmul_job job = {.isa = isa, .a = a, .int8 = a->act == KERNEL_ACT_INT8 && !panel_is_plain(a->w->type)};
    job.n_panel = divide_up(a->w->rows, PANEL_ROWS);
    plan_tiles(&job, os_pool_threads(pool));
    if (is_small(a->w, a->n_tok))
        pool = NULL;
    if (job.int8 && !a->reuse)
        os_pool_run(a->n_tok * a->w->cols < SMALL_QUANTISE ? NULL : pool, (int)job.n_tile, quantise_tile, &job);
    int n_thread = pool ? os_pool_threads(pool) : 1;
    uint64_t n_chunk = plan_chunks(&job, n_thread);
    if (a->next && n_thread > 1 && job.n_tile == 1)
        read_ahead(&job, pool);
    os_pool_run(pool, (int)n_chunk, run_chunk, &job);
}
