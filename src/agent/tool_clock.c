/* A tool that says what time it is, in the zone of the manifest. The time is the seam's (env.clock), so a test or a
 * replay decides what it says. Refuses: parameters, effect: write, a zone that isn't one. */
#include "agent/internal.h"
#include "agent/zone.h"

#include <stdio.h>

#define LAST_S INT64_C(253402300800) /* year 10000, which ISO 8601 has no plain form for */

typedef struct tool_clock {
    const os_clock *clock;
    const manifest_tool *def;
    const char *name;
    zone *zone;
} tool_clock;

static void close_tool(void *tool) {
    tool_clock *t = tool;
    if (t) {
        zone_free(t->zone);
        free(t);
    }
}

static muga_status open_tool(tool_setup *s, void **out, muga_error *err) {
    const char *name = json_get_string(json_object_get(s->def->json, "clock"), "zone");
    if (s->def->effect != EFFECT_READ) {
        return tool_fault(s, "/effect", err, "a clock is only read; say effect: read");
    }
    if (json_object_size(json_object_get(s->def->parameters, "properties")) > 0) {
        return tool_fault(s, "/parameters", err, "a clock takes nothing; write properties: {}");
    }
    tool_clock *t = calloc(1, sizeof *t);
    if (!t) {
        return error_nomem(err, "a tool");
    }
    *t = (tool_clock){.clock = s->env->clock, .def = s->def, .name = name ? name : "UTC"};
    muga_status st = zone_open(s->env->files, t->name, &t->zone, err);
    if (st == MUGA_OK) {
        *out = t;
    } else {
        snprintf(s->place, sizeof s->place, "/clock%s", name ? "/zone" : "");
        close_tool(t);
    }
    return st;
}

/* {"now": "2026-11-26T09:03:00+01:00", "weekday": "Thursday", "zone": "Europe/Berlin"} */
static void run_call(void *tool, const tool_call *c, tool_run *out) {
    static const char *const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
    const tool_clock *t = tool;
    int64_t now_ms = t->clock->now_ms(t->clock->self), now_s = now_ms / 1000;
    (void)c;
    if (now_ms < 0 || now_s >= LAST_S) {
        tool_fail(out, "the clock of this machine is not set; set it");
        return;
    }
    zone_time now = zone_local(t->zone, now_s);
    str text = STR_INIT;
    zone_write(&now, &text);
    tool_give(out, t->def,
              text.failed
                  ? NULL
                  : json_pack("{s:s, s:s, s:s}", "now", str_get(&text), "weekday", days[now.weekday], "zone", t->name));
    str_release(&text);
}

/* Laid out as in docs/schema/agent.schema.json. */
static const char clock_schema[] =
    "{\n"
    "            \"type\": \"object\", \"additionalProperties\": false,\n"
    "            \"properties\": {\n"
    "              \"zone\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 64, "
    "\"description\": \"UTC (the default), +02:00, Europe/Berlin, or CET-1CEST,M3.5.0,M10.5.0/3\"}\n"
    "            }\n"
    "          }";

const tool_kind tool_kind_clock = {.keys = {{"clock", clock_schema}},
                                   .open = open_tool,
                                   .run = run_call,
                                   .settle = tool_settle_read,
                                   .close = close_tool};
