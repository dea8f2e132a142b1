/* Template: what a product is made of in registers: a tile of C, and the turning of squares of numbers.
 *
 *     acc[rows][vectors] += a[j][rows] (broadcast) * b[j][vectors]
 *
 * A tile has TILE rows and PANEL columns; at the edges fewer, in steps of TILE_STEP rows and of a vector. */
#if TRAIN_REAL == 32 && defined(TRAIN_VECTOR_BYTES)
#define VECTOR_BYTES TRAIN_VECTOR_BYTES
#define TILE TRAIN_TILE
#define TILE_STEP (TILE / 3)
#else
#define VECTOR_BYTES 16
#define TILE 4
#define TILE_STEP TILE
#define TRAIN_FMA(a, b, c) ((a) * (b) + (c))
#endif
#define VECTOR (VECTOR_BYTES / (int)sizeof(real))
#define PANEL (2 * VECTOR)
typedef real lanes __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

/* The first or the last halves of two vectors, element by element. */
#if TRAIN_REAL == 64
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 2)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 1, 3)
#elif VECTOR_BYTES == 16
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#elif VECTOR_BYTES == 32
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define ZIP_LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define ZIP_HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#endif

/* A square of numbers, rows to columns. */
static inline __attribute__((always_inline)) void turn_square(lanes r[VECTOR]) {
    lanes o[VECTOR];
#pragma GCC unroll 4
    for (int step = VECTOR; step > 1; step /= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < VECTOR / 2; i++) {
            o[2 * i] = ZIP_LOW(r[i], r[i + VECTOR / 2]);
            o[2 * i + 1] = ZIP_HIGH(r[i], r[i + VECTOR / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < VECTOR; i++)
            r[i] = o[i];
    }
}

/* to[j][k] = from[k][j] for j < n_j and k < n_k <= VECTOR; where n_k is less, the columns after it are zero. */
static inline void turn(const real *from, size_t from_stride, uint32_t n_k, uint32_t n_j, real *to, size_t to_stride) {
    uint32_t j = 0;
    for (; j + VECTOR <= n_j; j += VECTOR) {
        lanes r[VECTOR];
#pragma GCC unroll 16
        for (uint32_t k = 0; k < VECTOR; k++)
            r[k] = k < n_k ? *(const lanes *)(from + k * from_stride + j) : (lanes){0};
        turn_square(r);
#pragma GCC unroll 16
        for (uint32_t k = 0; k < VECTOR; k++)
            *(lanes *)(to + (j + k) * to_stride) = r[k];
    }
    for (; j < n_j; j++)
        for (uint32_t k = 0; k < VECTOR; k++)
            to[j * to_stride + k] = k < n_k ? from[k * from_stride + j] : 0;
}

/* Rows of A and B, j after j: A(i, j) = a[j * a_stride + i], B(j, c) = b[j * b_stride + c]. */
typedef struct sides {
    const real *a, *b;
    size_t a_stride, b_stride;
    uint32_t n_j;
} sides;

/* One tile: C (+)= A B. n_row and n_vec are constants at each call. */
static inline __attribute__((always_inline)) void meet(int n_row, int n_vec, const sides *s, real *c, size_t c_stride,
                                                       bool fresh) {
    lanes acc[TILE][2];
    const real *a = s->a, *b = s->b;
#pragma GCC unroll 16
    for (int i = 0; i < n_row; i++)
#pragma GCC unroll 2
        for (int v = 0; v < n_vec; v++)
            acc[i][v] = fresh ? (lanes){0} : *(const lanes *)(c + (size_t)i * c_stride + v * VECTOR);
    for (uint32_t j = 0; j < s->n_j; j++, a += s->a_stride, b += s->b_stride) {
        lanes b0 = *(const lanes *)b, b1 = n_vec > 1 ? *(const lanes *)(b + VECTOR) : b0;
#pragma GCC unroll 16
        for (int i = 0; i < n_row; i++) {
            acc[i][0] = TRAIN_FMA(a[i], b0, acc[i][0]);
            if (n_vec > 1)
                acc[i][1] = TRAIN_FMA(a[i], b1, acc[i][1]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < n_row; i++)
#pragma GCC unroll 2
        for (int v = 0; v < n_vec; v++)
            *(lanes *)(c + (size_t)i * c_stride + v * VECTOR) = acc[i][v];
}

/* Rows in whole steps, columns in whole vectors. */
static void meet_whole(uint32_t n_row, uint32_t n_col, const sides *s, real *c, size_t c_stride, bool fresh) {
    switch (n_row / TILE_STEP * 2 + (n_col > VECTOR)) {
    case TILE / TILE_STEP * 2 + 1: meet(TILE, 2, s, c, c_stride, fresh); break;
    case TILE / TILE_STEP * 2: meet(TILE, 1, s, c, c_stride, fresh); break;
#if TILE_STEP < TILE
    case 5: meet(2 * TILE_STEP, 2, s, c, c_stride, fresh); break;
    case 4: meet(2 * TILE_STEP, 1, s, c, c_stride, fresh); break;
    case 3: meet(TILE_STEP, 2, s, c, c_stride, fresh); break;
    default: meet(TILE_STEP, 1, s, c, c_stride, fresh);
#endif
    }
}

/* A tile of n_row <= TILE rows and n_col <= PANEL columns. Of A whole steps of rows are read, of B whole vectors. */
static void meet_tile(uint32_t n_row, uint32_t n_col, const sides *s, real *c, size_t c_stride, bool fresh) {
    uint32_t whole_row = (n_row + TILE_STEP - 1) / TILE_STEP * TILE_STEP, whole_col = n_col > VECTOR ? PANEL : VECTOR;
    if (whole_row == n_row && whole_col == n_col) {
        meet_whole(n_row, n_col, s, c, c_stride, fresh);
        return;
    }
    real sums[TILE * PANEL] = {0};
    for (uint32_t i = 0; !fresh && i < n_row; i++)
        memcpy(sums + (size_t)i * PANEL, c + i * c_stride, n_col * sizeof *c);
    meet_whole(whole_row, whole_col, s, sums, PANEL, fresh);
    for (uint32_t i = 0; i < n_row; i++)
        memcpy(c + i * c_stride, sums + (size_t)i * PANEL, n_col * sizeof *c);
}

/* Rows of A as a tile: to[j][TILE], rows past n_row zero. A(i, j) = a[i * a_i + j * a_j]. */
static void pack_rows(const real *a, size_t a_i, size_t a_j, uint32_t n_row, uint32_t n_j, real *to) {
    uint32_t j = 0;
    for (; a_j == 1 && TILE <= VECTOR && j + VECTOR <= n_j; j += VECTOR) {
        lanes r[VECTOR];
#pragma GCC unroll 16
        for (uint32_t k = 0; k < VECTOR; k++)
            r[k] = k < n_row ? *(const lanes *)(a + k * a_i + j) : (lanes){0};
        turn_square(r);
#pragma GCC unroll 16
        for (uint32_t k = 0; k < VECTOR; k++)
            memcpy(to + (size_t)(j + k) * TILE, &r[k], MIN(TILE, VECTOR) * sizeof *to);
    }
    for (; j < n_j; j++)
        for (uint32_t i = 0; i < TILE; i++)
            to[(size_t)j * TILE + i] = i < n_row ? a[i * a_i + j * a_j] : 0;
}
