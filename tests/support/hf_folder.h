/* A Hugging Face folder made from a GGUF file: what a converter does, the other way round, written by itself and not
 * from the converter's tables. F32, F16 and BF16 tensors, decoders of every architecture. */
#ifndef TESTS_HF_FOLDER_H
#define TESTS_HF_FOLDER_H

#include "base/str.h"

typedef struct hf_folder_options {
    unsigned n_shards;    /* 0, 1 = model.safetensors; else so many files and their index */
    bool merges_as_lists; /* ["a", "b"] instead of "a b" */
    bool merges_of_score; /* a vocabulary of scores as merges with byte fallback instead of tokenizer.model */
    bool newer;           /* "rope_parameters" and a template in a file of its own, as newer libraries write them */
} hf_folder_options;

/* The tree's tiny model in F16, at `path`: what most folders of tests are made of. */
void hf_folder_source(const char *path);
/* Fails the test where the file can't be told as a folder. `dir` exists or is made. Norms that multiply by 1 + weight
 * are rounded: an F32 below 1/2 less 1 isn't always an F32. */
void hf_folder_write(const char *gguf_path, const char *dir, const hf_folder_options *o);
/* tokenizer.json told as folders older than it do: vocab.json, merges.txt, added_tokens.json, and this class (NULL:
 * none) in tokenizer_config.json. */
void hf_folder_split_tokenizer(const char *dir, const char *class);

#endif
