/* The loop of tests that fail every allocation (faultrun.h). */
#include "support/faultrun.h"

#include "support/faultmalloc.h"

#include "base/str.h"
#include "os/os.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static str read_out(const fault_run *f) {
    str s = STR_INIT;
    muga_error err;
    assert_ok(os_read_file(&os_system()->files, f->out, 1 << 28, &s, &err), &err);
    return s;
}

static void fail_one(const fault_run *f, size_t n, const str *whole) {
    muga_error err = {0};
    (void)remove(f->out);
    long live = fault_live();
    fault_fail_at(n);
    muga_status st = f->run(f->ctx, &err);
    bool reached = fault_hit();
    fault_fail_at(0);
    if (fault_live() != live)
        fail_msg("allocation %zu (status %d): %ld blocks leaked", n, st, fault_live() - live);
    if (st != MUGA_OK && (!reached || st != MUGA_E_NOMEM || !*err.message))
        fail_msg("allocation %zu: status %d: %s", n, st, err.message);
    if (st == MUGA_OK && f->is_same && !f->is_same(f->ctx))
        fail_msg("allocation %zu: other results", n);
    if (st != MUGA_OK && access(f->out, F_OK) != 0)
        return;
    /* It is there, even if its folder could not be synced any more: then it is whole. */
    str now = read_out(f);
    if (now.len != whole->len || memcmp(now.data, whole->data, now.len) != 0)
        fail_msg("allocation %zu: status %d, and another file", n, st);
    str_release(&now);
}

void fault_every_allocation(const fault_run *f) {
    muga_error err = {0};
    assert_ok(f->run(f->ctx, &err), &err); /* what libraries allocate once is no leak */
    str whole = read_out(f);
    long live = fault_live();
    fault_fail_at(0);
    assert_ok(f->run(f->ctx, &err), &err);
    size_t n_allocations = fault_count();
    assert_int_equal(fault_live(), live);
    print_message("a run makes %zu allocations\n", n_allocations);
    assert_in_range(n_allocations, f->least, 100000);
    for (size_t n = 1; n <= n_allocations; n++)
        fail_one(f, n, &whole);
    str_release(&whole);
}
