/* Private to base/: the compression function of SHA-256, in plain C and with the processor's instructions. */
#ifndef MUGA_BASE_HASH_BLOCKS_H
#define MUGA_BASE_HASH_BLOCKS_H

#include "base/error.h"

extern const uint32_t sha256_constants[64];

/* Take n_block blocks of 64 bytes at p into the state. */
void sha256_blocks_plain(uint32_t state[8], const uint8_t *p, size_t n_block);
/* The same; false, and nothing done, where the processor has no such instructions. */
bool sha256_blocks_native(uint32_t state[8], const uint8_t *p, size_t n_block);

#endif
