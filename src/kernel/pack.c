/* Weights from the file's row-major blocks into panels of 16 rows (layouts: panel.h), and back out of them for a single
 * row or a stretch of columns. Packing moves bits and never rounds, so a panel holds exactly what the file says.
 * Refused: types without a kernel, columns that are not a multiple of the type's block, sizes that overflow. */
#include "kernel/panel.h"

#include "base/mem.h"

#include <assert.h>

enum {
    PACK_CHUNK_BYTES = 256 << 10
}; /* of panels: large enough that handing out is nothing, small enough to balance */

static const uint8_t zero_block[256]; /* stands in for blocks of rows past the last; no block is larger */

bool kernel_type_supported(tensor_type type) {
    return panel_bytes(type, 256) != 0;
}

static uint32_t load_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static void store_u32(uint8_t *p, uint32_t v) {
    memcpy(p, &v, 4);
}

/* ---- one block (or super-block) of 16 rows: src[r] is row r's block ---- */

/* Group g of row r goes to lane r of vector g. */
static void pack_groups(uint8_t *dst, int row, const uint8_t *bytes, int n_group) {
    for (int g = 0; g < n_group; g++)
        store_u32(dst + g * PANEL_VECTOR + row * 4, load_u32(bytes + g * 4));
}

static void pack_q4_0(const uint8_t *const src[PANEL_ROWS], uint8_t *dst) {
    for (int r = 0; r < PANEL_ROWS; r++) {
        memcpy(dst + r * 2, src[r], 2);
        pack_groups(dst + PANEL_SCALES, r, src[r] + 2, 4);
    }
}

static void pack_q4_1(const uint8_t *const src[PANEL_ROWS], uint8_t *dst) {
    for (int r = 0; r < PANEL_ROWS; r++) {
        memcpy(dst + r * 2, src[r], 2);
        memcpy(dst + PANEL_SCALES + r * 2, src[r] + 2, 2);
        pack_groups(dst + 2 * PANEL_SCALES, r, src[r] + 4, 4);
    }
}

static void pack_q8_0(const uint8_t *const src[PANEL_ROWS], uint8_t *dst) {
    for (int r = 0; r < PANEL_ROWS; r++) {
        memcpy(dst + r * 2, src[r], 2);
        for (int g = 0; g < 8; g++)
            store_u32(dst + PANEL_SCALES + g * PANEL_VECTOR + r * 4, load_u32(src[r] + 2 + g * 4) ^ 0x80808080u);
    }
}

/* The two blocks that share 32 bytes (one in the low nibbles, one in the high) are told apart here. */
static void pack_q4_k(const uint8_t *const src[PANEL_ROWS], uint8_t *dst) {
    for (int r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *s = src[r];
        memcpy(dst + r * 2, s, 2);
        memcpy(dst + PANEL_SCALES + r * 2, s + 2, 2);
        for (int b = 0; b < PANEL_SUPER_BLOCKS; b++) {
            uint8_t *block = dst + PANEL_Q4_K_HEAD + b * PANEL_Q4_K_BLOCK;
            const uint8_t *nibbles = s + 16 + b / 2 * 32;
            int shift = b % 2 * 4, head = 4 + b;
            bool late = b >= 4; /* 6-bit scale and minimum as in the format, see tensor/codec.h */
            block[r] = late ? (uint8_t)((s[head + 4] & 15) | s[head - 4] >> 6 << 4) : s[head] & 63;
            block[PANEL_ROWS + r] = late ? (uint8_t)(s[head + 4] >> 4 | s[head] >> 6 << 4) : s[head + 4] & 63;
            for (int g = 0; g < 4; g++) {
                uint32_t low = load_u32(nibbles + g * 4) >> shift & 0x0f0f0f0fu;
                uint32_t high = load_u32(nibbles + 16 + g * 4) >> shift & 0x0f0f0f0fu;
                store_u32(block + 2 * PANEL_ROWS + g * PANEL_VECTOR + r * 4, low | high << 4);
            }
        }
    }
}

static void pack_q6_k(const uint8_t *const src[PANEL_ROWS], uint8_t *dst) {
    for (int r = 0; r < PANEL_ROWS; r++) {
        const uint8_t *s = src[r];
        memcpy(dst + r * 2, s + 208, 2);
        for (int b = 0; b < PANEL_SUPER_BLOCKS; b++) {
            uint8_t *block = dst + PANEL_Q6_K_HEAD + b * PANEL_Q6_K_BLOCK, *vectors = block + 2 * PANEL_ROWS;
            const uint8_t *nibbles = s + b / 4 * 64 + b % 2 * 32, *high = s + 128 + b / 4 * 32;
            int nibble_shift = b % 4 / 2 * 4, high_shift = b % 4 * 2;
            block[r] = s[192 + 2 * b];
            block[PANEL_ROWS + r] = s[192 + 2 * b + 1];
            uint32_t high_vector[2] = {0, 0};
            for (int g = 0; g < 4; g++) {
                uint32_t low_half = load_u32(nibbles + g * 4) >> nibble_shift & 0x0f0f0f0fu;
                uint32_t high_half = load_u32(nibbles + 16 + g * 4) >> nibble_shift & 0x0f0f0f0fu;
                store_u32(vectors + g * PANEL_VECTOR + r * 4, low_half | high_half << 4);
                for (int h = 0; h < 2; h++)
                    high_vector[h] |= (load_u32(high + h * 16 + g * 4) >> high_shift & 0x03030303u) << 2 * g;
            }
            for (int h = 0; h < 2; h++)
                store_u32(vectors + (4 + h) * PANEL_VECTOR + r * 4, high_vector[h]);
        }
    }
}

static void pack_f32(const uint8_t *const src[PANEL_ROWS], uint8_t *dst) {
    for (int r = 0; r < PANEL_ROWS; r++)
        memcpy(dst + r * 4, src[r], 4);
}

static void pack_u16(const uint8_t *const src[PANEL_ROWS], uint8_t *dst) {
    for (int r = 0; r < PANEL_ROWS; r++)
        memcpy(dst + r * 2, src[r], 2);
}

/* ---- a matrix ---- */

typedef struct pack_job {
    const tensor_view *view;
    uint8_t *panels;
    uint64_t panels_per_chunk, n_panel;
    size_t row_bytes;
} pack_job;

static void pack_panel(const pack_job *job, uint64_t i_panel) {
    const tensor_traits *traits = tensor_type_traits(job->view->type);
    uint8_t *dst = job->panels + i_panel * panel_bytes(job->view->type, job->view->cols);
    size_t out_bytes = panel_bytes(job->view->type, traits->block_elems);
    const uint8_t *src[PANEL_ROWS];
    size_t step[PANEL_ROWS];
    for (uint64_t r = 0; r < PANEL_ROWS; r++) {
        uint64_t row = i_panel * PANEL_ROWS + r;
        bool exists = row < job->view->rows;
        src[r] = exists ? (const uint8_t *)job->view->data + row * job->row_bytes : zero_block;
        step[r] = exists ? traits->block_bytes : 0;
    }
    for (uint64_t i = 0; i < job->view->cols / traits->block_elems; i++, dst += out_bytes) {
        switch (job->view->type) {
        case TENSOR_F32: pack_f32(src, dst); break;
        case TENSOR_F16:
        case TENSOR_BF16: pack_u16(src, dst); break;
        case TENSOR_Q4_0: pack_q4_0(src, dst); break;
        case TENSOR_Q4_1: pack_q4_1(src, dst); break;
        case TENSOR_Q8_0: pack_q8_0(src, dst); break;
        case TENSOR_Q4_K: pack_q4_k(src, dst); break;
        case TENSOR_Q6_K: pack_q6_k(src, dst); break;
        default: assert(!"type without a panel layout"); return;
        }
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

muga_status kernel_pack(const tensor_view *w, os_pool *pool, kernel_weights *out, muga_error *err) {
    memset(out, 0, sizeof *out);
    const tensor_traits *traits = tensor_type_traits((uint32_t)w->type);
    if (!traits || !kernel_type_supported(w->type))
        return error_set(err, MUGA_E_INPUT,
                         "tensor type %s (id %d) has no kernel in this version; convert the model, for "
                         "example to Q8_0",
                         traits ? traits->name : "unknown", (int)w->type);
    if (w->cols == 0 || w->rows == 0 || w->cols % traits->block_elems != 0)
        return error_set(err, MUGA_E_INPUT,
                         "a %s matrix of %llu rows and %llu columns: columns must be a positive multiple "
                         "of %u; the file is damaged or was quantised wrongly",
                         traits->name, (unsigned long long)w->rows, (unsigned long long)w->cols, traits->block_elems);
    if (w->rows > UINT64_MAX / 2 || w->cols > UINT32_MAX)
        return error_set(err, MUGA_E_INPUT, "a matrix of %llu rows and %llu columns is too large",
                         (unsigned long long)w->rows, (unsigned long long)w->cols);

    pack_job job = {.view = w, .n_panel = (w->rows + PANEL_ROWS - 1) / PANEL_ROWS};
    job.row_bytes = (size_t)(w->cols / traits->block_elems * traits->block_bytes);
    size_t one = panel_bytes(w->type, w->cols), bytes;
    if (!size_mul((size_t)job.n_panel, one, &bytes) || bytes > SIZE_MAX - PANEL_VECTOR)
        return error_set(err, MUGA_E_INPUT, "a matrix of %llu rows and %llu columns is too large",
                         (unsigned long long)w->rows, (unsigned long long)w->cols);
    bytes = (bytes + PANEL_VECTOR - 1) / PANEL_VECTOR * PANEL_VECTOR;
    job.panels = aligned_alloc(PANEL_VECTOR, bytes); /* not zeroed: every byte a product reads is written below */
    if (!job.panels)
        return error_nomem(err, "packed weights");

    job.panels_per_chunk = MAX(PACK_CHUNK_BYTES / one, 1);
    uint64_t n_chunk = (job.n_panel + job.panels_per_chunk - 1) / job.panels_per_chunk;
    while (n_chunk > INT32_MAX) {
        job.panels_per_chunk *= 2;
        n_chunk = (job.n_panel + job.panels_per_chunk - 1) / job.panels_per_chunk;
    }
    os_pool_run(pool, (int)n_chunk, pack_chunk, &job);

    *out = (kernel_weights){.type = w->type, .rows = w->rows, .cols = w->cols, .panels = job.panels, .bytes = bytes};
    return MUGA_OK;
}

void kernel_weights_release(kernel_weights *w) {
    free(w->panels);
    memset(w, 0, sizeof *w);
}

/* ---- reading back ---- */

static void get_f16s(const uint8_t *p, float out[PANEL_ROWS]) {
    for (int r = 0; r < PANEL_ROWS; r++) {
        uint16_t h;
        memcpy(&h, p + r * 2, 2);
        out[r] = f16_to_f32(h);
    }
}

/* out[r] = the `mask` bits at `shift` of lane r; lanes are 32-bit words, so that compilers use vectors here */
static void get_bits(const uint8_t *vector, int shift, uint32_t mask, int32_t out[PANEL_ROWS]) {
    uint32_t lanes[PANEL_ROWS];
    memcpy(lanes, vector, sizeof lanes);
    for (int r = 0; r < PANEL_ROWS; r++)
        out[r] = (int32_t)(lanes[r] >> shift & mask);
}

/* Codes of element e (0..31) of 16 rows, offset taken off; vectors: the block's code vectors. */
static void get_codes(tensor_type type, const uint8_t *vectors, int e, int32_t code[PANEL_ROWS]) {
    int byte = e % 4 * 8, offset = type == TENSOR_Q8_0 ? 128 : type == TENSOR_Q4_0 ? 8 : type == TENSOR_Q6_K ? 32 : 0;
    if (type == TENSOR_Q8_0)
        get_bits(vectors + e / 4 * PANEL_VECTOR, byte, 255, code);
    else
        get_bits(vectors + e % 16 / 4 * PANEL_VECTOR, byte + e / 16 * 4, 15, code);
    if (type == TENSOR_Q6_K) {
        int32_t high[PANEL_ROWS];
        get_bits(vectors + PANEL_NIBBLES + e / 16 * PANEL_VECTOR, byte + e % 16 / 4 * 2, 3, high);
        for (int r = 0; r < PANEL_ROWS; r++)
            code[r] = code[r] + high[r] * 16;
    }
    for (int r = 0; r < PANEL_ROWS; r++)
        code[r] = code[r] - offset;
}

/* What scales block i_block of 16 rows, and where its code vectors are. */
static const uint8_t *get_scales(tensor_type type, const uint8_t *panel, uint64_t i_block, float scale[2][PANEL_ROWS],
                                 float min[PANEL_ROWS]) {
    size_t head = panel_super_head(type), bytes = panel_block_bytes(type);
    const uint8_t *super = panel + i_block / PANEL_SUPER_BLOCKS * (head + PANEL_SUPER_BLOCKS * bytes);
    const uint8_t *block = super + head + i_block % PANEL_SUPER_BLOCKS * bytes;
    get_f16s(head > 0 ? super : block, scale[0]);
    memset(min, 0, PANEL_ROWS * sizeof *min);
    switch (type) {
    case TENSOR_Q4_1:
        get_f16s(block + PANEL_SCALES, min);
        block += 2 * PANEL_SCALES;
        break;
    case TENSOR_Q4_K:
        get_f16s(super + PANEL_SCALES, min);
        for (int r = 0; r < PANEL_ROWS; r++) {
            scale[0][r] = scale[0][r] * (float)block[r];
            min[r] = -(min[r] * (float)block[PANEL_ROWS + r]);
        }
        block += 2 * PANEL_ROWS;
        break;
    case TENSOR_Q6_K:
        for (int r = 0; r < PANEL_ROWS; r++) {
            float d = scale[0][r];
            scale[0][r] = d * (float)(int8_t)block[r];
            scale[1][r] = d * (float)(int8_t)block[PANEL_ROWS + r];
        }
        return block + 2 * PANEL_ROWS;
    default: block += PANEL_SCALES; break;
    }
    memcpy(scale[1], scale[0], sizeof scale[1]);
    return block;
}

static bool has_min(tensor_type type) {
    return type == TENSOR_Q4_1 || type == TENSOR_Q4_K;
}

void panel_block_get(tensor_type type, const uint8_t *panel, uint64_t i_block, panel_block *out) {
    const uint8_t *vectors = get_scales(type, panel, i_block, out->scale, out->min);
    for (int e = 0; e < KERNEL_BLOCK; e++)
        get_codes(type, vectors, e, out->code[e]);
}

static void plain_get(tensor_type type, const uint8_t *panel, uint64_t k, float out[PANEL_ROWS]) {
    if (type == TENSOR_F32) {
        memcpy(out, panel + k * PANEL_ROWS * 4, PANEL_ROWS * 4);
        return;
    }
    uint16_t h[PANEL_ROWS];
    memcpy(h, panel + k * PANEL_ROWS * 2, sizeof h);
    for (int r = 0; r < PANEL_ROWS; r++)
        out[r] = type == TENSOR_F16 ? f16_to_f32(h[r]) : bf16_to_f32(h[r]);
}

void panel_dequantise(tensor_type type, const uint8_t *panel, uint64_t k0, uint64_t n_k, float *out) {
    if (panel_is_plain(type)) {
        for (uint64_t k = 0; k < n_k; k++, out += PANEL_ROWS)
            plain_get(type, panel, k0 + k, out);
        return;
    }
    for (uint64_t b = k0 / KERNEL_BLOCK; b < (k0 + n_k) / KERNEL_BLOCK; b++) {
        float scale[2][PANEL_ROWS], min[PANEL_ROWS];
        int32_t code[PANEL_ROWS];
        const uint8_t *vectors = get_scales(type, panel, b, scale, min);
        for (int e = 0; e < KERNEL_BLOCK; e++, out += PANEL_ROWS) {
            get_codes(type, vectors, e, code);
            for (int r = 0; r < PANEL_ROWS; r++)
                out[r] = scale[e / 16][r] * (float)code[r];
            for (int r = 0; r < PANEL_ROWS && has_min(type); r++)
                out[r] = out[r] + min[r]; /* not where there is no minimum: adding 0 would turn -0 into +0 */
        }
    }
}

void kernel_weights_row(const kernel_weights *w, uint64_t row, float *out) {
    assert(row < w->rows);
    const uint8_t *panel = panel_at(w, row / PANEL_ROWS);
    float values[KERNEL_BLOCK * PANEL_ROWS];
    for (uint64_t k0 = 0; k0 < w->cols; k0 += KERNEL_BLOCK) {
        uint64_t n_k = MIN(w->cols - k0, KERNEL_BLOCK);
        panel_dequantise(w->type, panel, k0, n_k, values);
        for (uint64_t k = 0; k < n_k; k++)
            out[k0 + k] = values[k * PANEL_ROWS + row % PANEL_ROWS];
    }
}
