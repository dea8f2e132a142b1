/* The choice of an instruction set, in one place: names, availability, and the table of functions of each; the names of
 * settings.
 * AVX-512 is offered only where VNNI is there too (its integer products are the point of it). */
#include "kernel/internal.h"

#include <string.h>

/* product: the instruction set of the matrix product, where it is a narrower one. */
#define KERNEL_TABLE(id, isa_, product)                                                                                \
    {                                                                                                                  \
        .isa = id, .matmul = product##_matmul, .attention = isa_##_attention, .kv_store = isa_##_kv_store,             \
        .rms_norm = isa_##_rms_norm, .layer_norm = isa_##_layer_norm, .add = isa_##_add, .mul = isa_##_mul,            \
        .scale = isa_##_scale, .silu_mul = isa_##_silu_mul, .gelu_mul = isa_##_gelu_mul,                               \
        .add_scaled = isa_##_add_scaled, .relu_square = isa_##_relu_square, .gelu_erf = isa_##_gelu_erf,               \
        .softcap = isa_##_softcap, .rope = isa_##_rope, .softmax = isa_##_softmax, .argmax = isa_##_argmax,            \
    }

static const kernel_table table_ref = KERNEL_TABLE(KERNEL_ISA_REF, ref, ref);
#if KERNEL_HAVE_X86
static const kernel_table table_avx2 = KERNEL_TABLE(KERNEL_ISA_AVX2, avx2, avx2);
static const kernel_table table_avx_vnni = KERNEL_TABLE(KERNEL_ISA_AVX_VNNI, avx2, avx_vnni);
static const kernel_table table_avx512 = KERNEL_TABLE(KERNEL_ISA_AVX512, avx512, avx512);
#endif
#if KERNEL_HAVE_NEON
static const kernel_table table_neon = KERNEL_TABLE(KERNEL_ISA_NEON, neon, neon);
static const kernel_table table_neon_dotprod = KERNEL_TABLE(KERNEL_ISA_NEON_DOTPROD, neon, neon_dotprod);
static const kernel_table table_neon_i8mm = KERNEL_TABLE(KERNEL_ISA_NEON_I8MM, neon, neon_i8mm);
#endif

static const char *const isa_names[KERNEL_ISA_COUNT] = {"ref",  "avx2",         "avx-vnni", "avx512",
                                                        "neon", "neon-dotprod", "neon-i8mm"};

const char *kernel_isa_name(kernel_isa isa) {
    return (unsigned)isa < KERNEL_ISA_COUNT ? isa_names[isa] : "unknown";
}

bool kernel_isa_parse(const char *name, kernel_isa *out) {
    for (int i = 0; i < KERNEL_ISA_COUNT; i++)
        if (strcmp(name, isa_names[i]) == 0) {
            *out = (kernel_isa)i;
            return true;
        }
    return false;
}

static const char *const kv_names[KERNEL_KV_COUNT] = {"f16", "f32", "q8"};

const char *kernel_kv_name(kernel_kv_type type) {
    return (unsigned)type < KERNEL_KV_COUNT ? kv_names[type] : "unknown";
}

bool kernel_kv_parse(const char *name, kernel_kv_type *out) {
    for (int i = 0; i < KERNEL_KV_COUNT; i++)
        if (strcmp(name, kv_names[i]) == 0) {
            *out = (kernel_kv_type)i;
            return true;
        }
    return false;
}

bool kernel_isa_available(kernel_isa isa) {
    if (isa == KERNEL_ISA_REF)
        return true;
#if KERNEL_HAVE_X86
    os_cpu cpu = os_cpu_detect();
    if (isa == KERNEL_ISA_AVX2)
        return cpu.avx2_fma;
    if (isa == KERNEL_ISA_AVX_VNNI)
        return cpu.avx2_fma && cpu.avx_vnni;
    if (isa == KERNEL_ISA_AVX512)
        return cpu.avx2_fma && cpu.avx512 && cpu.avx512_vnni;
#endif
#if KERNEL_HAVE_NEON
    os_cpu cpu = os_cpu_detect();
    if (isa == KERNEL_ISA_NEON)
        return cpu.neon;
    if (isa == KERNEL_ISA_NEON_DOTPROD)
        return cpu.neon && cpu.dotprod;
    if (isa == KERNEL_ISA_NEON_I8MM)
        return cpu.neon && cpu.dotprod && cpu.i8mm;
#endif
    return false;
}

/* Later ones are faster, among those that one processor can have. */
kernel_isa kernel_isa_best(void) {
    for (int isa = KERNEL_ISA_COUNT - 1; isa > KERNEL_ISA_REF; isa--)
        if (kernel_isa_available((kernel_isa)isa))
            return (kernel_isa)isa;
    return KERNEL_ISA_REF;
}

const kernel_table *kernel_table_get(kernel_isa isa) {
    if (!kernel_isa_available(isa))
        return NULL;
    switch (isa) {
#if KERNEL_HAVE_X86
    case KERNEL_ISA_AVX2: return &table_avx2;
    case KERNEL_ISA_AVX_VNNI: return &table_avx_vnni;
    case KERNEL_ISA_AVX512: return &table_avx512;
#endif
#if KERNEL_HAVE_NEON
    case KERNEL_ISA_NEON: return &table_neon;
    case KERNEL_ISA_NEON_DOTPROD: return &table_neon_dotprod;
    case KERNEL_ISA_NEON_I8MM: return &table_neon_i8mm;
#endif
    default: return &table_ref;
    }
}
