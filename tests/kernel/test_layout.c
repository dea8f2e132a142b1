/* What panels look like, byte for byte. Were this to fail, a layout has changed while its number has not: starts would
 * read panels that an earlier version kept in a file as what they no longer are, and compute nonsense without a word.
 *
 * After a change that is meant: raise PANEL_LAYOUT (kernel/panel.h), then put the number and the digests that this test
 * prints here. */
#include "support/support.h"

#include "base/hash.h"
#include "base/mem.h"
#include "kernel/kernel.h"
#include "weights.h"

#include <stdio.h>

#define ROWS 19
#define COLS 512

static const uint32_t pinned_layout = 1;
static const struct {
    tensor_type type;
    const char *sha256; /* its first digits */
} pinned[WEIGHTS_N_TYPE] = {
    {TENSOR_F32, "a061945052af81dd"},     {TENSOR_F16, "2388184df6b2b366"},    {TENSOR_BF16, "3113df7a06a23eb2"},
    {TENSOR_Q4_0, "cfd71d418261e822"},    {TENSOR_Q4_1, "ef550e0ca6bb585e"},   {TENSOR_Q5_0, "c0692a20f1f40fce"},
    {TENSOR_Q5_1, "43a287e6d6e321dd"},    {TENSOR_Q8_0, "c3855f76f2a56045"},   {TENSOR_Q2_K, "a482a3d090979270"},
    {TENSOR_Q3_K, "d8ee0c81f12e7e10"},    {TENSOR_Q4_K, "331b9f54229bd29b"},   {TENSOR_Q5_K, "f481974a28546ed2"},
    {TENSOR_Q6_K, "07e686bf64f59421"},    {TENSOR_IQ4_NL, "cfd71d418261e822"}, {TENSOR_IQ4_XS, "b5234d4346d763de"},
    {TENSOR_IQ2_XXS, "88477bacaafada11"}, {TENSOR_IQ2_XS, "3e306c32863e6122"}, {TENSOR_IQ2_S, "c32cf954d6011b8e"},
    {TENSOR_IQ3_XXS, "68751e3cb6d15420"}, {TENSOR_IQ3_S, "d372a1787e253660"},  {TENSOR_IQ1_S, "c772f48b5dba68a6"},
    {TENSOR_IQ1_M, "e17b02120020123f"},   {TENSOR_TQ1_0, "b7a5345f4c020010"},  {TENSOR_TQ2_0, "a836886090e1da7d"},
    {TENSOR_MXFP4, "38331bfec31b28b5"},   {TENSOR_NVFP4, "75e718e983ce7d0d"},
};

static void panels_look_as_their_layout_says(void **state) {
    (void)state;
    bool same = kernel_panel_layout() == pinned_layout;
    for (int i = 0; i < WEIGHTS_N_TYPE; i++) {
        tensor_type type = weights_all[i].type;
        uint8_t *data = weights_new(&weights_all[i], ROWS, COLS, WEIGHTS_RANDOM, 4711), sum[SHA256_BYTES];
        char hex[SHA256_HEX];
        tensor_view view = {type, COLS, ROWS, data};
        kernel_weights w;
        size_t bytes;
        muga_error err;
        assert_non_null(data);
        assert_ok(kernel_pack(&view, NULL, &w, &err), &err);
        assert_ok(kernel_panel_bytes(type, ROWS, COLS, &bytes, &err), &err);
        assert_int_equal(bytes, w.bytes);
        sha256_of(w.panels, w.bytes, sum);
        hex_write(sum, SHA256_BYTES, hex);
        hex[16] = 0;
        bool this_one = pinned[i].type == type && strcmp(hex, pinned[i].sha256) == 0;
        if (!this_one)
            print_message("    {TENSOR_%s, \"%s\"},\n", tensor_type_traits((uint32_t)type)->name, hex);
        same = same && this_one;
        kernel_weights_release(&w);
        free(data);
    }
    if (!same)
        fail_msg("the panels of layout %u are not those pinned for %u: see the top of this file", kernel_panel_layout(),
                 pinned_layout);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(panels_look_as_their_layout_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
