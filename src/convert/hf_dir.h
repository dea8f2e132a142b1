/* A model's folder as Hugging Face's libraries write it: configuration, weights in one or many safetensors files,
 * tokenizer. Everything in it is from outside: files have a maximum, names of other files may not leave the folder. */
#ifndef MUGA_CONVERT_HF_DIR_H
#define MUGA_CONVERT_HF_DIR_H

#include "base/json.h"
#include "convert/safetensors.h"

typedef struct hf_weight {
    const safetensors_tensor *t;
    uint32_t i_shard;
} hf_weight;

typedef struct hf_dir {
    const os_files *files;
    const json_t *named; /* where each file lies, by its name below `path`; NULL: there; borrowed */
    char *path;          /* of the folder with the weights: that of the transformer where modules.json names one */
    size_t n_top;        /* bytes of it that are the folder's that was opened */
    /* Files of the folder; NULL where there is none. */
    json_t *config, *generation, *tokenizer, *tokenizer_config, *special_tokens, *pooling;
    char *chat_template;
    str sentencepiece; /* tokenizer.model; len 0 = none */
    safetensors_file **shards;
    uint32_t n_shards;
    hf_weight *weights; /* [n_weights] of all shards, ascending names */
    uint32_t n_weights;
} hf_dir;

/* named: see convert_options. E_NOT_FOUND: no such folder, or a file without which there is no model; E_INPUT names
 * file and place. Release after failure, too. */
MUGA_MUST_USE muga_status hf_dir_open(const os_files *files, const char *path, const json_t *named, hf_dir *out,
                                      muga_error *err);
void hf_dir_release(hf_dir *d);
/* hf_vocab_files.c: vocab.json and merges.txt, and added_tokens.json (NULL: none), as a tokenizer.json; a new reference
 * in *out. E_INPUT where tokenizer_config.json's class doesn't fix the rest. */
MUGA_MUST_USE muga_status hf_tokenizer_of_files(const hf_dir *d, json_t *vocab, const str *merges, const json_t *more,
                                                json_t **out, muga_error *err);
/* Index into weights, or -1. */
int64_t hf_dir_find(const hf_dir *d, const char *name);

#endif
