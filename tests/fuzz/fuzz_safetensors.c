/* Weights files: in one that opens every tensor lies inside the file (first and last byte are touched), is found by its
 * name, and together they are all of the data. One that doesn't open is bad input, with a message. */
#include "fuzz.h"

#include "convert/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *p = fuzz_copy(data, size);
    safetensors_file *f = NULL;
    muga_error err = {0};
    muga_status st = safetensors_open_memory(p, size, &f, &err);
    if (st) {
        fuzz_need(!f);
        fuzz_need_error(st, MUGA_E_INPUT, MUGA_E_LIMIT, &err);
    } else {
        volatile uint64_t sum = 0;
        uint64_t bytes = 0, header;
        memcpy(&header, p, sizeof header);
        for (uint32_t i = 0; i < safetensors_count(f); i++) {
            const safetensors_tensor *t = safetensors_at(f, i);
            fuzz_need(safetensors_find(f, t->name) == t && t->n_dims <= SAFETENSORS_MAX_DIMS);
            fuzz_need(t->data >= p && t->data <= p + size && t->bytes <= (uint64_t)(p + size - t->data));
            sum += t->bytes ? t->data[0] + (uint64_t)t->data[t->bytes - 1] : 0;
            bytes += t->bytes;
        }
        fuzz_need(bytes + header + sizeof header == size);
    }
    safetensors_close(f);
    free(p);
    return 0;
}
