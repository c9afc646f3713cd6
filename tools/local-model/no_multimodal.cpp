// Stands in for llama.cpp's image and audio library, which the prebuilt package does not carry and a text model does not use.
// What the server calls for every model is real; what would load an image fails, so that a client gets an error; the rest works on
// images that therefore never exist.
#include "mtmd.h"
#include "mtmd-helper.h"

#include <cstdlib>

extern "C" {

struct mtmd_context_params mtmd_context_params_default(void) { return {}; }
struct mtmd_helper_init_opt mtmd_helper_init_opt_default(void) { return {}; }
void mtmd_helper_log_set(ggml_log_callback, void *) {}
void mtmd_free(mtmd_context *) {}

mtmd_context * mtmd_init_from_file(const char *, const struct llama_model *, const struct mtmd_context_params) { return nullptr; }
struct mtmd_caps mtmd_get_cap_from_file(const char *) { return {}; }
struct mtmd_helper_bitmap_wrapper mtmd_helper_bitmap_init_from_buf(const mtmd_context *, const unsigned char *, size_t, bool,
                                                                   struct mtmd_helper_init_opt) { return {}; }

void no_multimodal(void) { abort(); }

}

std::map<ggml_backend_dev_t, size_t> mtmd_get_memory_usage(const char *, struct mtmd_context_params) { return {}; }

#define NEVER(name) asm(".globl " #name "\n\t.set " #name ", no_multimodal");
NEVER(mtmd_batch_add_chunk)
NEVER(mtmd_batch_encode)
NEVER(mtmd_batch_free)
NEVER(mtmd_batch_get_output_embd)
NEVER(mtmd_batch_init)
NEVER(mtmd_bitmap_free)
NEVER(mtmd_helper_decode_image_chunk)
NEVER(mtmd_helper_support_video)
NEVER(mtmd_helper_video_free)
NEVER(mtmd_input_chunk_copy)
NEVER(mtmd_input_chunk_free)
NEVER(mtmd_input_chunk_get_id)
NEVER(mtmd_input_chunk_get_n_pos)
NEVER(mtmd_input_chunk_get_n_tokens)
NEVER(mtmd_input_chunk_get_placeholder)
NEVER(mtmd_input_chunk_get_tokens_text)
NEVER(mtmd_input_chunk_get_type)
NEVER(mtmd_input_chunk_load)
NEVER(mtmd_input_chunk_save)
NEVER(mtmd_input_chunks_free)
NEVER(mtmd_input_chunks_get)
NEVER(mtmd_input_chunks_init)
NEVER(mtmd_input_chunks_size)
NEVER(mtmd_support_audio)
NEVER(mtmd_support_vision)
NEVER(mtmd_tokenize)
