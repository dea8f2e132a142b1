/* Weights from the file's row-major blocks into panels of 16 rows (layouts: panel.h). Packing moves bits and never
 * rounds, so a panel holds exactly what the file says. Refused: types without a kernel, columns that are not a multiple
 * of the type's block, sizes that overflow.
 *
 * Idea: a type brings each block of 32 of a row as eight words, the codes of a group of four k in their bytes;
 * put_codes lays any number of bits out from there. */
#include "kernel/panel.h"

#include "base/mem.h"

#include <assert.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    PACK_CHUNK_BYTES = 256 << 10, /* of panels: large enough that handing out is nothing, small enough to balance */
    SCALES = 2 * PANEL_ROWS       /* bytes: 16 f16 */
};

static const uint8_t zero_block[256]; /* stands in for blocks of rows past the last; no block is larger */

INLINE uint32_t load_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

INLINE void store_u32(uint8_t *p, uint32_t v) {
    memcpy(p, &v, 4);
}

INLINE void store_u16(uint8_t *p, uint16_t v) {
    memcpy(p, &v, 2);
}

/* ---- codes ---- */

/* Row `row` of a block's code vectors; code[g]: the codes of group g in bytes, below 2^bits. */
INLINE void put_codes(const int bits, uint8_t *vectors, int row, const uint32_t code[8]) {
    uint8_t *at = vectors + row * 4;
    for (int g = 0; bits == 8 && g < 8; g++)
        store_u32(at + g * PANEL_VECTOR, code[g]);
    for (int j = 0; bits >= 4 && bits <= 6 && j < 4; j++)
        store_u32(at + j * PANEL_VECTOR, (code[j] & 0x0f0f0f0fu) | (code[j + 4] & 0x0f0f0f0fu) << 4);
    for (int h = 0; (bits == 2 || bits == 3 || bits == 6) && h < 2; h++) {
        uint32_t twos = 0;
        for (int j = 0; j < 4; j++)
            twos |= (code[4 * h + j] >> (bits == 6 ? 4 : 0) & 0x03030303u) << 2 * j;
        store_u32(at + (h + (bits == 6 ? 4 : 0)) * PANEL_VECTOR, twos);
    }
    if (bits == 3 || bits == 5) {
        uint32_t ones = 0;
        for (int g = 0; g < 8; g++)
            ones |= (code[g] >> (bits - 1) & 0x01010101u) << g;
        store_u32(at + (bits - 1) * PANEL_VECTOR, ones);
    }
}

/* 16 bytes whose low nibbles are elements 0..15, whose high ones are 16..31 */
INLINE void nibbles_of(const uint8_t *bytes, uint32_t code[8]) {
    for (int g = 0; g < 4; g++) {
        uint32_t both = load_u32(bytes + 4 * g);
        code[g] = both & 0x0f0f0f0fu;
        code[g + 4] = both >> 4 & 0x0f0f0f0fu;
    }
}

/* `mask` of each of 32 bytes, `shift` bits up */
INLINE void fields_of(const uint8_t *bytes, int shift, uint32_t mask, uint32_t code[8]) {
    for (int g = 0; g < 8; g++)
        code[g] = load_u32(bytes + 4 * g) >> shift & mask * 0x01010101u;
}

INLINE void add_fields(const uint8_t *bytes, int shift, uint32_t mask, int to, uint32_t code[8]) {
    for (int g = 0; g < 8; g++)
        code[g] |= (load_u32(bytes + 4 * g) >> shift & mask * 0x01010101u) << to;
}

/* ---- one block (or super-block) of 16 rows: src[r] is row r's block ---- */

typedef const uint8_t *const block_rows[PANEL_ROWS];

/* Q4_0, Q4_1, Q5_0, Q5_1, IQ4_NL: f16 fields, perhaps 32 bits of which bit e is bit 4 of element e, nibbles. */
INLINE void pack_simple(const int bits, const int n_f16, block_rows src, uint8_t *dst) {
    for (int r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *b = src[r];
        uint32_t code[8];
        for (int i = 0; i < n_f16; i++, b += 2)
            memcpy(dst + i * SCALES + r * 2, b, 2);
        nibbles_of(bits == 5 ? b + 4 : b, code);
        if (bits == 5)
            for (int g = 0; g < 8; g++) /* the product spreads four bits over four bytes */
                code[g] |= ((load_u32(b) >> 4 * g & 15) * 0x00204081u & 0x01010101u) << 4;
        put_codes(bits, dst + n_f16 * SCALES, r, code);
    }
}

static void pack_4(const panel_format *f, block_rows src, uint8_t *dst) {
    (void)f;
    pack_simple(4, 1, src, dst);
}
static void pack_4_min(const panel_format *f, block_rows src, uint8_t *dst) {
    (void)f;
    pack_simple(4, 2, src, dst);
}
static void pack_5(const panel_format *f, block_rows src, uint8_t *dst) {
    (void)f;
    pack_simple(5, 1, src, dst);
}
static void pack_5_min(const panel_format *f, block_rows src, uint8_t *dst) {
    (void)f;
    pack_simple(5, 2, src, dst);
}

static void pack_q8_0(const panel_format *f, block_rows src, uint8_t *dst) {
    (void)f;
    for (int r = 0; r < PANEL_ROWS; r++) {
        uint32_t code[8];
        memcpy(dst + r * 2, src[r], 2);
        for (int g = 0; g < 8; g++)
            code[g] = load_u32(src[r] + 2 + 4 * g) ^ 0x80808080u;
        put_codes(8, dst + SCALES, r, code);
    }
}

/* Layouts of the super-blocks: tensor/codec_k.c. */
static void pack_q2_k(const panel_format *f, block_rows src, uint8_t *dst) {
    size_t head = panel_head_bytes(f->shape), bytes = panel_block_bytes(f->shape);
    for (int r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *s = src[r];
        memcpy(dst + r * 2, s + 80, 2);
        memcpy(dst + SCALES + r * 2, s + 82, 2);
        for (int b = 0; b < PANEL_SUPER_BLOCKS; b++) {
            uint8_t *block = dst + head + (size_t)b * bytes;
            uint32_t code[8];
            for (int h = 0; h < 2; h++) {
                block[h * PANEL_ROWS + r] = s[2 * b + h] & 15;
                block[(2 + h) * PANEL_ROWS + r] = s[2 * b + h] >> 4;
            }
            fields_of(s + 16 + b / 4 * 32, b % 4 * 2, 3, code);
            put_codes(2, block + 4 * PANEL_ROWS, r, code);
        }
    }
}

static void pack_q3_k(const panel_format *f, block_rows src, uint8_t *dst) {
    size_t head = panel_head_bytes(f->shape), bytes = panel_block_bytes(f->shape);
    for (int r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *s = src[r], *scales = s + 96;
        memcpy(dst + r * 2, s + 108, 2);
        for (int b = 0; b < PANEL_SUPER_BLOCKS; b++) {
            uint8_t *block = dst + head + (size_t)b * bytes;
            uint32_t code[8];
            for (int i = 2 * b; i < 2 * b + 2; i++) {
                int nibble = i < 8 ? scales[i] & 15 : scales[i - 8] >> 4;
                block[i % 2 * PANEL_ROWS + r] = (uint8_t)((nibble | (scales[8 + i % 4] >> i / 4 * 2 & 3) << 4) - 32);
            }
            fields_of(s + 32 + b / 4 * 32, b % 4 * 2, 3, code);
            add_fields(s, b, 1, 2, code);
            put_codes(3, block + 2 * PANEL_ROWS, r, code);
        }
    }
}

/* Q4_K and, with a fifth bit, Q5_K */
INLINE void pack_k_min(const int bits, block_rows src, uint8_t *dst) {
    const size_t bytes = panel_block_bytes(bits == 4 ? PANEL_Q4_K : PANEL_Q5_K);
    for (int r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *s = src[r];
        memcpy(dst + r * 2, s, 2);
        memcpy(dst + SCALES + r * 2, s + 2, 2);
        for (int b = 0; b < PANEL_SUPER_BLOCKS; b++) {
            uint8_t *block = dst + 2 * SCALES + (size_t)b * bytes;
            int head = 4 + b;
            bool late = b >= 4; /* 6-bit scale and minimum as in the format, see tensor/codec.h */
            block[r] = late ? (uint8_t)((s[head + 4] & 15) | s[head - 4] >> 6 << 4) : s[head] & 63;
            block[PANEL_ROWS + r] = late ? (uint8_t)(s[head + 4] >> 4 | s[head] >> 6 << 4) : s[head + 4] & 63;
            uint32_t code[8];
            fields_of(s + (bits == 4 ? 16 : 48) + b / 2 * 32, b % 2 * 4, 15, code);
            if (bits == 5)
                add_fields(s + 16, b, 1, 4, code);
            put_codes(bits, block + 2 * PANEL_ROWS, r, code);
        }
    }
}

static void pack_q4_k(const panel_format *f, block_rows src, uint8_t *dst) {
    (void)f;
    pack_k_min(4, src, dst);
}
static void pack_q5_k(const panel_format *f, block_rows src, uint8_t *dst) {
    (void)f;
    pack_k_min(5, src, dst);
}

static void pack_q6_k(const panel_format *f, block_rows src, uint8_t *dst) {
    size_t head = panel_head_bytes(f->shape), bytes = panel_block_bytes(f->shape);
    for (int r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *s = src[r];
        memcpy(dst + r * 2, s + 208, 2);
        for (int b = 0; b < PANEL_SUPER_BLOCKS; b++) {
            uint8_t *block = dst + head + (size_t)b * bytes;
            uint32_t code[8];
            block[r] = s[192 + 2 * b];
            block[PANEL_ROWS + r] = s[192 + 2 * b + 1];
            fields_of(s + b / 4 * 64 + b % 2 * 32, b % 4 / 2 * 4, 15, code);
            add_fields(s + 128 + b / 4 * 32, b % 4 * 2, 3, 4, code);
            put_codes(6, block + 2 * PANEL_ROWS, r, code);
        }
    }
}

static void pack_iq4_xs(const panel_format *f, block_rows src, uint8_t *dst) {
    size_t head = panel_head_bytes(f->shape), bytes = panel_block_bytes(f->shape);
    for (int r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *s = src[r];
        memcpy(dst + r * 2, s, 2);
        for (int b = 0; b < PANEL_SUPER_BLOCKS; b++) {
            uint8_t *block = dst + head + (size_t)b * bytes;
            uint32_t code[8];
            int high = s[2 + b / 4] >> b % 4 * 2 & 3, low = s[4 + b / 2] >> b % 2 * 4 & 15;
            block[r] = (uint8_t)((low | high << 4) - 32);
            nibbles_of(s + 8 + 16 * b, code);
            put_codes(4, block + PANEL_ROWS, r, code);
        }
    }
}

/* A super-block that its codec takes apart: the IQ1, IQ2, IQ3 and TQ types. */
INLINE void pack_apart(const int bits, const panel_format *f, block_rows src, uint8_t *dst) {
    size_t head = panel_head_bytes(f->shape), bytes = panel_block_bytes(f->shape);
    size_t scale_bytes = panel_scale_bytes(f->shape);
    const tensor_levels *levels = tensor_type_levels(f->type);
    for (int r = 0; r < PANEL_ROWS; r++) {
        tensor_codes codes;
        levels->take_apart(src[r], &codes);
        store_u16(dst + r * 2, codes.d);
        for (int b = 0; b < PANEL_SUPER_BLOCKS; b++) {
            uint8_t *block = dst + head + (size_t)b * bytes;
            uint32_t code[8];
            for (size_t h = 0; h < scale_bytes / PANEL_ROWS; h++)
                block[h * PANEL_ROWS + (size_t)r] = (uint8_t)codes.scale[2 * (size_t)b + h];
            fields_of(codes.code + 32 * b, 0, 15, code);
            put_codes(bits, block + scale_bytes, r, code);
        }
    }
}

static void pack_apart_2(const panel_format *f, block_rows src, uint8_t *dst) {
    pack_apart(2, f, src, dst);
}
static void pack_apart_3(const panel_format *f, block_rows src, uint8_t *dst) {
    pack_apart(3, f, src, dst);
}
static void pack_apart_4(const panel_format *f, block_rows src, uint8_t *dst) {
    pack_apart(4, f, src, dst);
}

static void pack_mxfp4(const panel_format *f, block_rows src, uint8_t *dst) {
    (void)f;
    for (int r = 0; r < PANEL_ROWS; r++) {
        uint32_t code[8];
        store_u16(dst + r * 2, f32_to_bf16(mxfp4_scale_to_f32(src[r][0])));
        nibbles_of(src[r] + 1, code);
        put_codes(4, dst + SCALES, r, code);
    }
}

/* 64 elements of the file are two blocks; nibbles of a half lie in 8 bytes, elements 0..7 below and 8..15 above. */
static void pack_nvfp4(const panel_format *f, block_rows src, uint8_t *dst) {
    for (int r = 0; r < PANEL_ROWS; r++)
        for (int b = 0; b < 2; b++) {
            uint8_t *block = dst + (size_t)b * panel_block_bytes(f->shape);
            uint32_t code[8];
            for (int h = 0; h < 2; h++) {
                const uint8_t *nibbles = src[r] + 4 + 8 * (2 * b + h);
                store_u16(block + h * SCALES + r * 2, f32_to_f16(nvfp4_scale_to_f32(src[r][2 * b + h])));
                for (int i = 0; i < 4; i++)
                    code[4 * h + i] = load_u32(nibbles + i % 2 * 4) >> i / 2 * 4 & 0x0f0f0f0fu;
            }
            put_codes(4, block + 2 * SCALES, r, code);
        }
}

static void pack_f32(const panel_format *f, block_rows src, uint8_t *dst) {
    (void)f;
    for (int r = 0; r < PANEL_ROWS; r++)
        memcpy(dst + r * 4, src[r], 4);
}

static void pack_u16(const panel_format *f, block_rows src, uint8_t *dst) {
    (void)f;
    for (int r = 0; r < PANEL_ROWS; r++)
        memcpy(dst + r * 2, src[r], 2);
}

/* ---- the table ---- */

#define PLAIN(name, bytes, pack) [TENSOR_##name] = {TENSOR_##name, {0}, bytes, pack}
#define FORMAT(name, shape, pack) [TENSOR_##name] = {TENSOR_##name, shape, 0, pack}
static const panel_format formats[] = {
    PLAIN(F32, 4, pack_f32),
    PLAIN(F16, 2, pack_u16),
    PLAIN(BF16, 2, pack_u16),
    FORMAT(Q4_0, PANEL_Q4_0, pack_4),
    FORMAT(Q4_1, PANEL_Q4_1, pack_4_min),
    FORMAT(Q5_0, PANEL_Q5_0, pack_5),
    FORMAT(Q5_1, PANEL_Q5_1, pack_5_min),
    FORMAT(Q8_0, PANEL_Q8_0, pack_q8_0),
    FORMAT(Q2_K, PANEL_Q2_K, pack_q2_k),
    FORMAT(Q3_K, PANEL_Q3_K, pack_q3_k),
    FORMAT(Q4_K, PANEL_Q4_K, pack_q4_k),
    FORMAT(Q5_K, PANEL_Q5_K, pack_q5_k),
    FORMAT(Q6_K, PANEL_Q6_K, pack_q6_k),
    FORMAT(IQ4_NL, PANEL_IQ4_NL, pack_4),
    FORMAT(IQ4_XS, PANEL_IQ4_XS, pack_iq4_xs),
    FORMAT(IQ3_S, PANEL_IQ3, pack_apart_4),
    FORMAT(IQ3_XXS, PANEL_IQ3, pack_apart_4),
    FORMAT(IQ2_XXS, PANEL_IQ2_32, pack_apart_3),
    FORMAT(IQ1_S, PANEL_IQ2_32, pack_apart_3),
    FORMAT(IQ2_XS, PANEL_IQ2_16, pack_apart_3),
    FORMAT(IQ2_S, PANEL_IQ2_16, pack_apart_3),
    FORMAT(IQ1_M, PANEL_IQ2_16, pack_apart_3),
    FORMAT(TQ1_0, PANEL_TQ, pack_apart_2),
    FORMAT(TQ2_0, PANEL_TQ, pack_apart_2),
    FORMAT(MXFP4, PANEL_MXFP4, pack_mxfp4),
    FORMAT(NVFP4, PANEL_NVFP4, pack_nvfp4),
};

const panel_format *panel_format_get(tensor_type type) {
    return (size_t)type < ARRAY_LEN(formats) && formats[type].pack ? &formats[type] : NULL;
}

bool kernel_type_supported(tensor_type type) {
    return panel_format_get(type) != NULL;
}

/* ---- a matrix ---- */

typedef struct pack_job {
    const tensor_view *parts; /* of one type and one number of columns, one below the other */
    uint32_t n_parts;
    uint8_t *panels;
    uint64_t panels_per_chunk, n_panel;
    size_t row_bytes;
} pack_job;

/* NULL past the last row. */
static const uint8_t *row_of(const pack_job *job, uint64_t row) {
    for (uint32_t i = 0; i < job->n_parts; row -= job->parts[i++].rows)
        if (row < job->parts[i].rows)
            return (const uint8_t *)job->parts[i].data + row * job->row_bytes;
    return NULL;
}

static void pack_panel(const pack_job *job, uint64_t i_panel) {
    tensor_type type = job->parts->type;
    const tensor_traits *traits = tensor_type_traits(type);
    const panel_format *format = panel_format_get(type);
    uint8_t *dst = job->panels + i_panel * panel_bytes(type, job->parts->cols);
    size_t out_bytes = panel_bytes(type, traits->block_elems);
    const uint8_t *src[PANEL_ROWS];
    size_t step[PANEL_ROWS];
    for (uint64_t r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *row = row_of(job, i_panel * PANEL_ROWS + r);
        src[r] = row ? row : zero_block;
        step[r] = row ? traits->block_bytes : 0;
    }
    for (uint64_t i = 0; i < job->parts->cols / traits->block_elems; i++, dst += out_bytes) {
        format->pack(format, src, dst);
        for (int r = 0; r < PANEL_ROWS; r++)
            src[r] += step[r];
    }
}

static void pack_chunk(void *ctx, int i_chunk) {
    const pack_job *job = ctx;
    uint64_t first = (uint64_t)i_chunk * job->panels_per_chunk, end = MIN(first + job->panels_per_chunk, job->n_panel);
    for (uint64_t i = first; i < end; i++)
        pack_panel(job, i);
}

uint32_t kernel_panel_layout(void) {
    return PANEL_LAYOUT;
}

muga_status kernel_panel_bytes(tensor_type type, uint64_t rows, uint64_t cols, size_t *bytes, muga_error *err) {
    const tensor_traits *traits = tensor_type_traits((uint32_t)type);
    if (!traits || !kernel_type_supported(type))
        return error_set(err, MUGA_E_INPUT,
                         "a matrix can't have tensor type %s (id %d); convert the model, for example to Q8_0",
                         traits ? traits->name : "unknown", (int)type);
    if (cols == 0 || rows == 0 || cols % traits->block_elems != 0)
        return error_set(err, MUGA_E_INPUT,
                         "a %s matrix of %llu rows and %llu columns: columns must be a positive multiple "
                         "of %u; the file is damaged or was quantised wrongly",
                         traits->name, (unsigned long long)rows, (unsigned long long)cols, traits->block_elems);
    if (rows > UINT64_MAX / 2 || cols > UINT32_MAX ||
        !size_mul((size_t)((rows + PANEL_ROWS - 1) / PANEL_ROWS), panel_bytes(type, cols), bytes) ||
        *bytes > SIZE_MAX - PANEL_VECTOR)
        return error_set(err, MUGA_E_INPUT, "a matrix of %llu rows and %llu columns is too large",
                         (unsigned long long)rows, (unsigned long long)cols);
    *bytes = (*bytes + PANEL_VECTOR - 1) / PANEL_VECTOR * PANEL_VECTOR;
    return MUGA_OK;
}

muga_status kernel_pack(const tensor_view *w, os_pool *pool, kernel_weights *out, muga_error *err) {
    return kernel_pack_parts(w, 1, pool, out, err);
}

muga_status kernel_pack_parts(const tensor_view *parts, uint32_t n_parts, os_pool *pool, kernel_weights *out,
                              muga_error *err) {
    tensor_view whole = parts[0], *w = &whole;
    size_t bytes;
    memset(out, 0, sizeof *out);
    for (uint32_t i = 1; i < n_parts; i++) {
        assert(parts[i].type == w->type && parts[i].cols == w->cols);
        if (!u64_add(w->rows, parts[i].rows, &w->rows))
            w->rows = UINT64_MAX; /* refused below */
    }
    muga_status st = kernel_panel_bytes(w->type, w->rows, w->cols, &bytes, err);
    if (st)
        return st;

    const tensor_traits *traits = tensor_type_traits((uint32_t)w->type);
    pack_job job = {.parts = parts, .n_parts = n_parts, .n_panel = (w->rows + PANEL_ROWS - 1) / PANEL_ROWS};
    job.row_bytes = (size_t)(w->cols / traits->block_elems * traits->block_bytes);
    size_t one = panel_bytes(w->type, w->cols), used = (size_t)job.n_panel * one;
    job.panels = aligned_alloc(PANEL_VECTOR, bytes); /* not zeroed: every byte but these is written below */
    if (!job.panels)
        return error_nomem(err, "packed weights");
    memset(job.panels + used, 0, bytes - used);

    job.panels_per_chunk = MAX(PACK_CHUNK_BYTES / one, 1);
    uint64_t n_chunk = (job.n_panel + job.panels_per_chunk - 1) / job.panels_per_chunk;
    while (n_chunk > INT32_MAX) {
        job.panels_per_chunk *= 2;
        n_chunk = (job.n_panel + job.panels_per_chunk - 1) / job.panels_per_chunk;
    }
    os_pool_run(pool, (int)n_chunk, pack_chunk, &job);

    *out = (kernel_weights){
        .type = w->type, .rows = w->rows, .cols = w->cols, .panels = job.panels, .bytes = bytes, .owned = job.panels};
    return MUGA_OK;
}

void kernel_weights_release(kernel_weights *w) {
    free(w->owned);
    memset(w, 0, sizeof *w);
}
