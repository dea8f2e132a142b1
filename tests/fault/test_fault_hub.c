/* Every allocation failed in turn while a model is made of a Modelfile, copied, loaded, written as a Modelfile and
 * removed. If this failed, a server short of memory would crash, leak, or keep half of a model in its store. */
#include "support/support.h"

#include "support/faultrun.h"

#include "base/mem.h"
#include "hub/hub.h"
#include "hub/modelfile.h"

#include <stdio.h>
#include <unistd.h>

static char home[400], out[420], text[900];

static muga_status write_back(const hub *h, muga_error *err) {
    hub_model m;
    str back = STR_INIT;
    bool whole = true;
    muga_status st = hub_load(h, "b", &m, err);
    if (!st) {
        modelfile_write(&m, &back, &whole);
        st = str_status(&back, err, "the Modelfile");
    }
    if (!st)
        st = os_write_file_atomic(h->files, out, str_get(&back), back.len, err);
    str_release(&back);
    hub_model_release(&m);
    return st;
}

static muga_status run(void *ctx, muga_error *err) {
    (void)ctx;
    hub h = {0};
    modelfile recipe = {0};
    hub_create_options o = {.quantize = NULL};
    hub_model *all = NULL;
    size_t n = 0;
    muga_status st = hub_open(&os_system()->files, home, &h, err);
    if (!st)
        st = modelfile_parse(text, strlen(text), "Modelfile", &recipe, err);
    if (!st)
        st = hub_create(&h, "a", &recipe, &o, err);
    if (!st)
        st = hub_copy(&h, "a", "b", err);
    if (!st)
        st = hub_alias(&h, "c", "b", err);
    if (!st)
        st = hub_load_all(&h, &all, &n, err);
    for (size_t i = 0; i < n; i++)
        hub_model_release(&all[i]);
    free(all);
    if (!st)
        st = write_back(&h, err);
    if (!st)
        st = hub_remove(&h, "a", err);
    modelfile_release(&recipe);
    hub_close(&h);
    return st;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    snprintf(home, sizeof home, "%s", scratch_path("store"));
    snprintf(out, sizeof out, "%s", scratch_path("Modelfile"));
    snprintf(text, sizeof text,
             "FROM %s\nPARAMETER temperature 0.5\nPARAMETER stop x\nSYSTEM s\nTEMPLATE {{ messages[0].content }}\n"
             "LICENSE l\nMESSAGE user u\nREQUIRES 0.14.0\n",
             source_path("tests/data/tiny.gguf"));
    fault_every_allocation(&(fault_run){.out = out, .run = run, .least = 300});
}

int main(void) {
    if (access("/dev/shm", W_OK) == 0) /* many runs, each with synced files */
        setenv("TMPDIR", "/dev/shm", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
