/* An index of passages over text files, for search tools: words in SQLite's FTS5 (BM25), and vectors where a model
 * makes them. Private to agent/; docs/tool-kinds.md. One thread; several processes may share the file. */
#ifndef MUGA_AGENT_SEARCH_INDEX_H
#define MUGA_AGENT_SEARCH_INDEX_H

#include "agent/agent.h"

enum { SEARCH_MAX_FILES = 20000, SEARCH_MAX_FILE_BYTES = 4 << 20, SEARCH_MAX_DEPTH = 16, SEARCH_LISTED = 50 };

/* ---- passages (search_chunk.c) ---- */
typedef struct search_chunk {
    span text, heading;         /* in the file's text; heading: the last one before or at its beginning, or empty */
    int64_t line_from, line_to; /* from 1 */
} search_chunk;
typedef struct search_cursor {
    span rest, heading;
    int64_t line;
    bool in_code;
} search_cursor;
search_cursor search_begin(span text);
/* The next passage: whole lines, up to some 1,600 bytes, none across a heading; a longer line is cut between words.
 * False: no more. */
bool search_next(search_cursor *c, search_chunk *out);

/* ---- the index (search_index.c) ---- */
typedef struct search_index search_index;

/* What is indexed: files below `folder` (without links) whose names end in one of `endings`, names with a leading dot
 * left out. */
typedef struct search_source {
    const os_files *files;
    const char *folder;
    const char *const *endings; /* ".md" */
    size_t n_ending;
    const agent_embedder *embedder; /* NULL: words alone */
    const char *model;
    bool (*is_late)(void *ctx); /* looked at between files: then what is done is kept, and `left` says so */
    void *is_late_ctx;
} search_source;

typedef struct search_report {
    int64_t n_file, n_chunk;   /* in the index now */
    int64_t read;              /* files read in this update */
    int64_t skipped;           /* files left out: a link, too long, not text */
    int64_t left;              /* files and passages that time did not do for */
    char model_id[SHA256_HEX]; /* "" without a model */
} search_report;

/* `path` is made where it isn't there. An index of another folder is made anew. MUGA_E_INPUT: the file is no index
 * of this version. */
MUGA_MUST_USE muga_status search_index_open(const char *path, const search_source *source, search_index **out,
                                            muga_error *err);
void search_index_close(search_index *x);
/* Bring it up to date: a file is read again when size or times changed, and its passages are made again when its digest
 * did. */
MUGA_MUST_USE muga_status search_index_update(search_index *x, search_report *out, muga_error *err);

typedef struct search_hit {
    int64_t id;
    double score; /* the sum of 1 / (60 + its place) over both lists */
    int order;    /* where it was first listed: settles ties, since lists are by file and line where they are even */
} search_hit;
/* The best passages for a person's words, best first. `hits` holds SEARCH_LISTED * 2. */
MUGA_MUST_USE muga_status search_index_find(search_index *x, const char *query, search_hit *hits, size_t *n,
                                            muga_error *err);
/* {"source": "a/b.md:3-9", "heading": "...", "text": "..."}; new. */
MUGA_MUST_USE muga_status search_index_passage(search_index *x, int64_t id, json_t **out, muga_error *err);
#endif
