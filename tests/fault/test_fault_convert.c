/* Every allocation failed in turn while a folder is converted. If this failed, a machine short of memory would crash,
 * leak, or write a model with a part of its vocabulary, keys or tensors. */
#include "support/support.h"

#include "support/faultrun.h"
#include "support/hf_folder.h"

#include "base/mem.h"
#include "convert/convert.h"

#include <stdio.h>
#include <unistd.h>

static char dir[400], out[400], source[400];

static muga_status run(void *ctx, muga_error *err) {
    (void)ctx;
    convert_report report;
    convert_options o = {.type = "Q8_0", .files = &os_system()->files};
    return convert_folder(dir, out, &o, &report, err);
}

static void make_folder(void) {
    snprintf(dir, sizeof dir, "%s", scratch_path("folder"));
    snprintf(out, sizeof out, "%s", scratch_path("out.gguf"));
    snprintf(source, sizeof source, "%s", scratch_path("source.gguf"));
    hf_folder_source(source);
    hf_folder_write(source, dir, &(hf_folder_options){.n_shards = 2, .merges_as_lists = true});
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    make_folder();
    fault_every_allocation(&(fault_run){.out = out, .run = run, .least = 500});
}

static void also_with_vocab_and_merges(void **state) {
    (void)state;
    make_folder();
    hf_folder_write(source, dir, &(hf_folder_options){0});
    hf_folder_split_tokenizer(dir, "GPT2Tokenizer");
    fault_every_allocation(&(fault_run){.out = out, .run = run, .least = 500});
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* thousands of runs, each with a synced file */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail),
                                       cmocka_unit_test(also_with_vocab_and_merges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
