/* The server's configuration, as a verb's command line, the environment and the file give it. */
#ifndef MUGA_CMD_CONFIG_H
#define MUGA_CMD_CONFIG_H

#include "cmd/cmd.h"
#include "serve/config.h"

#define CONFIG_MAX_SETTINGS 64u
#define CONFIG_MAX_OPTIONS (CONFIG_MAX_SETTINGS + 8)

typedef struct cmd_config {
    const char *file; /* of --config; NULL: $MUGA_HOME/muga.yaml, if it is there */
    cmd_values set;   /* of --set KEY=VALUE */
    bool no_cache;
    const char *one[CONFIG_MAX_SETTINGS]; /* by the table's rows */
    cmd_values many[CONFIG_MAX_SETTINGS];
    /* what was read: lives as long as this */
    char *path;
    config_given environment[CONFIG_MAX_SETTINGS], *flags;
    size_t n_keys; /* of --set: the last of flags, whose keys are ours */
    config_sources sources;
} cmd_config;

/* The options that the table's flags are, --config, --set and --no-cache; how many were written. */
size_t cmd_config_options(cmd_config *c, cmd_option out[CONFIG_MAX_OPTIONS]);
/* After cmd_parse: where everything is. c->sources is good until cmd_config_release: for config_load, config_reload. */
MUGA_MUST_USE muga_status cmd_config_gather(cmd_config *c, muga_error *err);
void cmd_config_release(cmd_config *c);

#endif
