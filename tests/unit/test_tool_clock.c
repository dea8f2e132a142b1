/* Local time and the tool that tells it. If this failed, an agent would promise an appointment at the wrong hour twice
 * a year, or a damaged zone file would crash it. */
#include "support/support.h"

#include "agent/zone.h"
#include "base/mem.h"
#include "base/rng.h"
#include "support/tool_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"

/* ---- zones ---- */

static void expect_time(const char *name, int64_t utc_s, const char *want) {
    muga_error err;
    zone *z;
    str text = STR_INIT;
    assert_ok(zone_open(&os_system()->files, name, &z, &err), &err);
    zone_time t = zone_local(z, utc_s);
    zone_write(&t, &text);
    assert_string_equal(str_get(&text), want);
    str_release(&text);
    zone_free(z);
}

static void clocks_change_when_the_rule_says(void **state) {
    (void)state;
    expect_time("UTC", 0, "1970-01-01T00:00:00Z");
    expect_time("UTC", 951782400, "2000-02-29T00:00:00Z");
    expect_time("UTC", 253402300799, "9999-12-31T23:59:59Z");
    expect_time("+05:30", 0, "1970-01-01T05:30:00+05:30");
    expect_time("-03:00", 1, "1969-12-31T21:00:01-03:00");
    expect_time(BERLIN, 1774745999, "2026-03-29T01:59:59+01:00"); /* the last second of winter */
    expect_time(BERLIN, 1774746000, "2026-03-29T03:00:00+02:00");
    expect_time(BERLIN, 1792889999, "2026-10-25T02:59:59+02:00");
    expect_time(BERLIN, 1792890000, "2026-10-25T02:00:00+01:00");
    expect_time("AEST-10AEDT,M10.1.0,M4.1.0/3", 1767225600, "2026-01-01T11:00:00+11:00"); /* summer over New Year */
    expect_time("AEST-10AEDT,M10.1.0,M4.1.0/3", 1782864000, "2026-07-01T10:00:00+10:00");
    expect_time("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 1774745999, "2026-03-28T22:59:59-02:00"); /* the day before */
    expect_time("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", 1774746000, "2026-03-29T00:00:00-01:00");
    expect_time("IST-1GMT0,M10.5.0,M3.5.0/1", 1782864000, "2026-07-01T01:00:00+01:00");
    expect_time("XXX0YYY,J60/0,J365/0", 1709251199, "2024-02-29T23:59:59Z"); /* J60 is March 1 in every year */
    expect_time("XXX0YYY,J60/0,J365/0", 1709251200, "2024-03-01T01:00:00+01:00");
    expect_time("XXX0YYY,59/0,364/0", 1709164800, "2024-02-29T01:00:00+01:00");
}

static void what_is_no_zone_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"+2",
                                      "+25:00",
                                      "+02:60",
                                      "CET-1CEST,M3.5.0",
                                      "CET-1CEST,M13.5.0,M10.5.0",
                                      "CET-1CEST,M3.6.0,M10.5.0",
                                      "CET-1CEST,M3.5.7,M10.5.0",
                                      "CE-1CEST,M3.5.0,M10.5.0",
                                      "CET-1CEST,M3.5.0,M10.5.0x",
                                      "CET-25CEST,M3.5.0,M10.5.0",
                                      "CET-1CEST,M3.5.0/168,M10.5.0",
                                      "CET-1CEST,J0,J365",
                                      "CET-1CEST,366,1",
                                      "<CET-1CEST,1,2"};
    muga_error err;
    zone *z;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        muga_status st = zone_open(&os_system()->files, bad[i], &z, &err);
        if (st == MUGA_OK || !strstr(err.message, "zone")) {
            fail_msg("%s: %s", bad[i], st == MUGA_OK ? "taken" : err.message);
        }
    }
    static const char *const outside[] = {"../../../etc/passwd", "/etc/passwd", "right/UTC", "Nowhere/Atall"};
    for (size_t i = 0; i < ARRAY_LEN(outside); i++) {
        assert_int_not_equal(zone_open(&os_system()->files, outside[i], &z, &err), MUGA_OK);
        assert_null(z);
    }
}

/* ---- files of places ---- */

static void put(str *out, int64_t v, int n) {
    for (int i = n - 1; i >= 0; i--) {
        str_append_c(out, (char)(uint8_t)((uint64_t)v >> (8 * i)));
    }
}

static void put_header(str *out, int n_time, int n_type) {
    str_append(out, "TZif2", 5);
    for (int i = 0; i < 15; i++) {
        str_append_c(out, 0);
    }
    const int counts[] = {0, 0, 0, n_time, n_type, 4};
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        put(out, counts[i], 4);
    }
}

/* An hour east until 1000, two hours until 2000, then `rule`. */
static void make_file(str *out, const char *rule) {
    str_clear(out);
    put_header(out, 0, 1);
    put(out, 0, 6);
    put(out, 0, 4);
    put_header(out, 2, 3);
    put(out, 1000, 8);
    put(out, 2000, 8);
    str_append(out, "\1\2", 2);
    for (int i = 1; i <= 3; i++) {
        put(out, i * 3600, 4);
        put(out, 0, 2);
    }
    str_append(out, "AAA", 4);
    str_printf(out, "\n%s\n", rule);
}

static void a_place_has_its_changes_and_then_its_rule(void **state) {
    (void)state;
    static const struct {
        int64_t at;
        int32_t offset;
    } with_rule[] = {{-5, 3600}, {999, 3600}, {1000, 7200}, {1999, 7200}, {2000, 3600}, {1782864000, 7200}};
    str text = STR_INIT;
    muga_error err;
    zone *z;
    make_file(&text, BERLIN);
    assert_ok(zone_read(str_get(&text), text.len, &z, &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(with_rule); i++) {
        assert_int_equal(zone_offset_s(z, with_rule[i].at), with_rule[i].offset);
    }
    zone_free(z);
    make_file(&text, "");
    assert_ok(zone_read(str_get(&text), text.len, &z, &err), &err);
    assert_int_equal(zone_offset_s(z, 1782864000), 3 * 3600); /* without a rule the last change holds */
    zone_free(z);
    str_release(&text);
}

static void damaged_files_are_refused_or_read_and_never_crash(void **state) {
    (void)state;
    str text = STR_INIT;
    muga_error err;
    zone *z;
    make_file(&text, BERLIN);
    for (size_t n = 0; n < text.len; n++) {
        char *cut = malloc(n + 1); /* its own block, so that a sanitizer sees a read past it */
        memcpy(cut, text.data, n);
        assert_status(zone_read(cut, n, &z, &err), MUGA_E_INPUT, &err, "zone file");
        free(cut);
    }
    rng r = {7};

    for (int i = 0; i < 20000; i++) {
        make_file(&text, BERLIN);
        for (int k = 0; k < 3; k++) {
            text.data[rng_below(&r, (uint32_t)text.len)] = (char)rng_below(&r, 256);
        }
        if (zone_read(text.data, text.len, &z, &err) == MUGA_OK) {
            zone_time t = zone_local(z, 1782864000);
            assert_in_range(t.month, 1, 12);
            zone_free(z);
        }
    }
    str_release(&text);
}

/* The C library reads the same files; each says what the other does, hour by hour through three years. */
static void the_system_s_places_agree_with_the_c_library(void **state) {
    (void)state;
    static const char *const places[] = {"Europe/Berlin",     "America/New_York", "Australia/Lord_Howe",
                                         "Africa/Casablanca", "Asia/Kolkata",     "America/Santiago"};
    muga_error err;
    zone *z;
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        muga_status st = zone_open(&os_system()->files, places[i], &z, &err);
        if (st == MUGA_E_NOT_FOUND) {
            print_message("%s\n", err.message);
            continue;
        }
        assert_ok(st, &err);
        setenv("TZ", places[i], 1);
        tzset();
        for (time_t t = 1767225600 - 86400; t < 1767225600 + 3 * 366 * 86400; t += 3600) {
            struct tm tm;
            localtime_r(&t, &tm);
            zone_time mine = zone_local(z, t);
            assert_int_equal(mine.offset_s, tm.tm_gmtoff);
            assert_int_equal(mine.day, tm.tm_mday);
            assert_int_equal(mine.weekday, tm.tm_wday);
        }
        zone_free(z);
    }
    unsetenv("TZ");
}

/* ---- the tool ---- */

static void the_tool_tells_the_seam_s_time(void **state) {
    (void)state;
    agent_fixture f;
    tool_open(&f, "clock", "", "    effect: read\n    clock: {zone: '" BERLIN "'}\n");
    f.world.now_ms = INT64_C(1795680180999);
    tool_expect_result(&f, "{}", "{'now': '2026-11-26T09:03:00+01:00', 'weekday': 'Thursday', 'zone': '" BERLIN "'}");
    f.world.now_ms = -1;
    tool_expect_failure(&f, "{}", "is not set; set it");
    fixture_close(&f);
    tool_open(&f, "utc", "", "    effect: read\n    clock: {}\n");
    f.world.now_ms = 0;
    tool_expect_result(&f, "{}", "{'now': '1970-01-01T00:00:00Z', 'weekday': 'Thursday', 'zone': 'UTC'}");
    fixture_close(&f);
}

static void a_definition_that_says_nothing_is_refused(void **state) {
    (void)state;
    agent_fixture f;
    fixture_prepare(&f, "refused", NULL);
    tool_expect_refusal(&f, "", "    effect: write\n    clock: {}\n", "tools[0].effect: a clock is only read");
    tool_expect_refusal(&f, "x: {type: string}", "    effect: read\n    clock: {}\n",
                        "tools[0].parameters: a clock takes");
    tool_expect_refusal(&f, "", "    effect: read\n    clock: {zone: Mars/Olympus}\n",
                        "agent.yaml:14:13: key tools[0].clock.zone: 'Mars/Olympus' is no place");
    tool_expect_refusal(&f, "", "    effect: read\n    clock: {zone: '+2'}\n", "write an offset (+02:00)");
    tool_expect_refusal(&f, "", "    effect: read\n    clock: {zones: UTC}\n", "did you mean 'zone'?");
    fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clocks_change_when_the_rule_says),
        cmocka_unit_test(what_is_no_zone_is_refused),
        cmocka_unit_test(a_place_has_its_changes_and_then_its_rule),
        cmocka_unit_test(damaged_files_are_refused_or_read_and_never_crash),
        cmocka_unit_test(the_system_s_places_agree_with_the_c_library),
        cmocka_unit_test(the_tool_tells_the_seam_s_time),
        cmocka_unit_test(a_definition_that_says_nothing_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
