/* docs/schema/serve.schema.json, written from the table of settings. tests/unit/test_config.c compares the two. */
#include "serve/config_private.h"

#include <stdio.h>

static void write_text(str *out, const char *key, const char *text) {
    str_printf(out, ", \"%s\": ", key);
    json_write_string(out, text, strlen(text));
}

static void write_range(str *out, double low, double high) {
    str_append_s(out, ", \"minimum\": ");
    json_write_double(out, low);
    str_append_s(out, ", \"maximum\": ");
    json_write_double(out, high);
}

static void write_choices(str *out, const char *choices) {
    const char *comma = "\"enum\": [";
    for (const char *p = choices; *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        str_printf(out, "%s\"%.*s\"", comma, (int)n, p);
        comma = ", ";
        p += n;
    }
    str_append_c(out, ']');
}

static void write_models(str *out);

static void write_setting(str *out, const config_setting *s) {
    str_append_c(out, '{');
    switch (s->kind) {
    case CONFIG_TEXT:
        str_printf(out, "\"type\": \"string\", \"minLength\": 1, \"maxLength\": %u", CONFIG_MAX_TEXT);
        break;
    case CONFIG_BOOL: str_append_s(out, "\"type\": \"boolean\""); break;
    case CONFIG_COUNT:
        str_append_s(out, "\"type\": \"integer\"");
        write_range(out, s->min, s->max);
        break;
    case CONFIG_BYTES:
        str_append_s(out, "\"type\": [\"integer\", \"string\"]");
        write_range(out, s->min, s->max);
        write_text(out, "pattern", "^[0-9]{1,15} ?([KMGTkmgt]i?)?[Bb]?$");
        break;
    case CONFIG_TIME:
        str_append_s(out, "\"type\": [\"number\", \"string\"]");
        write_range(out, s->min, s->max);
        write_text(out, "pattern",
                   s->min < 0 ? "^([0-9]+([.][0-9]+)?(ms|s|m|h|d)?)+$|^forever$|^-1$"
                              : "^([0-9]+([.][0-9]+)?(ms|s|m|h|d)?)+$");
        break;
    case CONFIG_CHOICE: write_choices(out, s->choices); break;
    case CONFIG_TEXTS:
        str_printf(out, "\"type\": [\"string\", \"array\"], \"minLength\": 1, \"maxItems\": %u", CONFIG_MAX_TEXTS);
        str_printf(out, ", \"items\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": %u}", CONFIG_MAX_TEXT);
        break;
    case CONFIG_ALIASES:
        str_printf(out, "\"type\": \"object\", \"maxProperties\": %u", CONFIG_MAX_NAMES);
        str_append_s(out, ", \"additionalProperties\": {\"type\": \"string\", \"minLength\": 1, \"maxLength\": 255}");
        break;
    case CONFIG_MODELS: write_models(out); break;
    }
    write_text(out, "description", s->help);
    str_append_c(out, '}');
}

static void write_models(str *out) {
    size_t n;
    const config_setting *rows = config_model_settings(&n);
    str_printf(out, "\"type\": \"object\", \"maxProperties\": %u, \"additionalProperties\": {\n", CONFIG_MAX_NAMES);
    str_append_s(out, "          \"type\": \"object\", \"additionalProperties\": false, \"properties\": {");
    for (size_t i = 0; i < n; i++) {
        str_printf(out, "%s\n            \"%s\": ", i ? "," : "", rows[i].key);
        write_setting(out, &rows[i]);
    }
    str_append_s(out, "\n          }\n        }");
}

muga_status config_schema_write(str *out, muga_error *err) {
    size_t n, n_section = 0;
    const config_setting *rows = config_settings(&n);
    str_append_s(out, "{\n"
                      "  \"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n"
                      "  \"title\": \"muga server configuration (muga.yaml)\",\n"
                      "  \"type\": \"object\",\n"
                      "  \"additionalProperties\": false,\n"
                      "  \"properties\": {\n"
                      "    \"version\": {\"const\": 1, \"description\": \"must be 1\"}");
    for (size_t i = 0; i < n; i++) {
        const char *key = rows[i].key, *dot = strchr(key, '.');
        bool same = n_section && !strncmp(key, rows[i - 1].key, n_section + 1);
        if (n_section && !same)
            str_append_s(out, "\n      }\n    }");
        str_append_s(out, ",\n"); /* follows version, or a setting */
        if (dot && !same) {
            str_printf(out, "    \"%.*s\": {\n", (int)(dot - key), key);
            str_append_s(out, "      \"type\": \"object\", \"additionalProperties\": false, \"properties\": {\n");
        }
        n_section = dot ? (size_t)(dot - key) : 0;
        str_printf(out, "%s\"%s\": ", dot ? "        " : "    ", dot ? dot + 1 : key);
        write_setting(out, &rows[i]);
    }
    str_append_s(out, n_section ? "\n      }\n    }\n  }\n}\n" : "\n  }\n}\n");
    return str_status(out, err, "serve.schema.json");
}
