/* The data an agent brings along. An agent's folder may hold NAME.sql beside a manifest that names NAME.db: the script
 * makes the database, once, in the place where the agent keeps its working data. */
#ifndef MUGA_AGENT_DATASET_H
#define MUGA_AGENT_DATASET_H

#include "agent/agent.h"

/* For every NAME.sql in `dir` without NAME.db in `data_dir`: run it into NAME.db (whole or not there); likewise
 * a NAME.db that lies in `dir` is copied. data_dir is made where it is missing. */
MUGA_MUST_USE muga_status dataset_prepare(const agent_env *env, const char *dir, const char *data_dir, muga_error *err);
/* Copy every NAME.db of `from` into `to` (SQLite's backup: consistent also while it is used). */
MUGA_MUST_USE muga_status dataset_copy(const agent_env *env, const char *from, const char *to, muga_error *err);
#endif
