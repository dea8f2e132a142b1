/* Panels read back: as f32 for --exact and for embedding rows, and as integers and scales for the specification.
 * Layouts are panel.h's; every type is read from its shape alone. */
#include "kernel/panel.h"

#include "base/mem.h"

#include <assert.h>

static void get_f16s(const uint8_t *p, float out[PANEL_ROWS]) {
    for (int r = 0; r < PANEL_ROWS; r++) {
        uint16_t h;
        memcpy(&h, p + r * 2, 2);
        out[r] = f16_to_f32(h);
    }
}

static void get_bf16s(const uint8_t *p, float out[PANEL_ROWS]) {
    for (int r = 0; r < PANEL_ROWS; r++) {
        uint16_t h;
        memcpy(&h, p + r * 2, 2);
        out[r] = bf16_to_f32(h);
    }
}

/* ---- codes ---- */

#define INLINE static inline __attribute__((always_inline))

/* The `mask` bits at `shift` of lane r; lanes are 32-bit words, so that compilers use vectors */
INLINE void get_bits(const uint8_t *vector, const int shift, const uint32_t mask, int32_t out[PANEL_ROWS]) {
    uint32_t lanes[PANEL_ROWS];
    memcpy(lanes, vector, sizeof lanes);
    for (int r = 0; r < PANEL_ROWS; r++)
        out[r] = (int32_t)(lanes[r] >> shift & mask);
}
INLINE void add_bits(const uint8_t *vector, const int shift, const uint32_t mask, const int to,
                     int32_t out[PANEL_ROWS]) {
    int32_t bits[PANEL_ROWS];
    get_bits(vector, shift, mask, bits);
    for (int r = 0; r < PANEL_ROWS; r++)
        out[r] |= bits[r] << to;
}

/* Codes of a block of 16 rows, as they are stored. */
INLINE void codes_of(const int bits, const uint8_t *vectors, int32_t code[KERNEL_BLOCK][PANEL_ROWS]) {
    for (int e = 0; e < KERNEL_BLOCK; e++) {
        int byte = e % 4 * 8, group = e / 4;
        if (bits == 8)
            get_bits(vectors + group * PANEL_VECTOR, byte, 255, code[e]);
        else if (bits >= 4)
            get_bits(vectors + group % 4 * PANEL_VECTOR, byte + group / 4 * 4, 15, code[e]);
        else
            get_bits(vectors + group / 4 * PANEL_VECTOR, byte + group % 4 * 2, 3, code[e]);
        if (bits == 6)
            add_bits(vectors + (4 + group / 4) * PANEL_VECTOR, byte + group % 4 * 2, 3, 4, code[e]);
        if (bits == 3 || bits == 5)
            add_bits(vectors + (bits - 1) * PANEL_VECTOR, byte + group, 1, bits - 1, code[e]);
    }
}

/* The integers that scales multiply: codes less their offset, or the levels they stand for. */
static void get_integers(const panel_format *f, const uint8_t *vectors, int32_t code[KERNEL_BLOCK][PANEL_ROWS]) {
    switch (f->shape.code_bits) {
    case 2: codes_of(2, vectors, code); break;
    case 3: codes_of(3, vectors, code); break;
    case 4: codes_of(4, vectors, code); break;
    case 5: codes_of(5, vectors, code); break;
    case 6: codes_of(6, vectors, code); break;
    default: codes_of(8, vectors, code); break;
    }
    const int32_t offset = f->shape.offset;
    const int8_t *level = f->shape.level_max ? tensor_type_levels(f->type)->level : NULL;
    for (int e = 0; e < KERNEL_BLOCK; e++)
        if (level)
            for (int r = 0; r < PANEL_ROWS; r++)
                code[e][r] = level[code[e][r]];
        else
            for (int r = 0; r < PANEL_ROWS; r++)
                code[e][r] = code[e][r] - offset;
}

/* ---- scales ---- */

/* What scales block i_block of 16 rows, and where its code vectors are. */
static const uint8_t *get_scales(const panel_format *f, const uint8_t *panel, uint64_t i_block,
                                 float scale[2][PANEL_ROWS], float min[2][PANEL_ROWS]) {
    const panel_shape s = f->shape;
    size_t head = panel_head_bytes(s), bytes = panel_block_bytes(s);
    const uint8_t *super = panel + i_block / PANEL_SUPER_BLOCKS * (head + PANEL_SUPER_BLOCKS * bytes);
    const uint8_t *block = super + head + i_block % PANEL_SUPER_BLOCKS * bytes;
    int n = s.halves ? 2 : 1;
    float d[PANEL_ROWS], dmin[PANEL_ROWS];
    if (head)
        get_f16s(super, d);
    if (head && s.min)
        get_f16s(super + 2 * PANEL_ROWS, dmin);
    memset(min, 0, 2 * sizeof *min);
    for (int h = 0; h < n; h++) {
        const uint8_t *i8 = block + h * PANEL_ROWS, *i8_min = i8 + n * PANEL_ROWS;
        switch (s.scale) {
        case PANEL_SCALE_F16:
            get_f16s(block + 2 * h * PANEL_ROWS, scale[h]);
            if (s.min)
                get_f16s(block + 2 * (n + h) * PANEL_ROWS, min[h]);
            break;
        case PANEL_SCALE_BF16: get_bf16s(block + 2 * h * PANEL_ROWS, scale[h]); break;
        case PANEL_SCALE_HEAD: memcpy(scale[h], d, sizeof d); break;
        case PANEL_SCALE_SUPER: {
            float factor = s.level_max ? tensor_type_levels(f->type)->factor : 1;
            for (int r = 0; r < PANEL_ROWS; r++) {
                scale[h][r] = d[r] * factor * (float)(int8_t)i8[r];
                if (s.min)
                    min[h][r] = -(dmin[r] * (float)(int8_t)i8_min[r]);
            }
        }
        }
    }
    if (!s.halves) {
        memcpy(scale[1], scale[0], sizeof scale[1]);
        memcpy(min[1], min[0], sizeof min[1]);
    }
    return block + panel_scale_bytes(s);
}

void panel_block_get(const panel_format *f, const uint8_t *panel, uint64_t i_block, panel_block *out) {
    get_integers(f, get_scales(f, panel, i_block, out->scale, out->min), out->code);
}

static void plain_get(tensor_type type, const uint8_t *panel, uint64_t k, float out[PANEL_ROWS]) {
    if (type == TENSOR_F32)
        memcpy(out, panel + k * PANEL_ROWS * 4, PANEL_ROWS * 4);
    else if (type == TENSOR_F16)
        get_f16s(panel + k * PANEL_ROWS * 2, out);
    else
        get_bf16s(panel + k * PANEL_ROWS * 2, out);
}

void panel_dequantise(tensor_type type, const uint8_t *panel, uint64_t k0, uint64_t n_k, float *out) {
    if (panel_is_plain(type)) {
        for (uint64_t k = 0; k < n_k; k++, out += PANEL_ROWS)
            plain_get(type, panel, k0 + k, out);
        return;
    }
    const panel_format *f = panel_format_get(type);
    for (uint64_t b = k0 / KERNEL_BLOCK; b < (k0 + n_k) / KERNEL_BLOCK; b++) {
        panel_block block;
        panel_block_get(f, panel, b, &block);
        for (int e = 0; e < KERNEL_BLOCK; e++, out += PANEL_ROWS) {
            for (int r = 0; r < PANEL_ROWS; r++)
                out[r] = block.scale[e / 16][r] * (float)block.code[e][r];
            if (f->shape.min) /* nothing where there is none: +0 would turn -0 into +0 */
                for (int r = 0; r < PANEL_ROWS; r++)
                    out[r] = out[r] + block.min[e / 16][r];
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

kernel_weights kernel_weights_rows(const kernel_weights *w, uint64_t row0, uint64_t rows) {
    return (kernel_weights){.type = w->type,
                            .rows = rows,
                            .cols = w->cols,
                            .panels = panel_at(w, row0 / PANEL_ROWS),
                            .bytes = (size_t)((rows + PANEL_ROWS - 1) / PANEL_ROWS) * panel_bytes(w->type, w->cols)};
}
