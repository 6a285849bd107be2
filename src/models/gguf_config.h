#pragma once

#include "formats/json.h"
#include "headscope/gguf.h"
#include "models/gguf_families.h"
#include "models/gguf_tensors.h"

namespace headscope {
struct Pooling;
}

/// config.json from GGUF metadata, and the other way.
namespace headscope::models {

/// The family of a file. Errors: kFormat (no general.architecture), kUnsupported (naming it and
/// those known).
const GgufFamily& gguf_family_in(const Gguf& file);
/// Errors: kFormat for a key that is absent or out of its range.
GgufSizes gguf_sizes(const Gguf& file, const GgufFamily& family);
/// Errors: kFormat, kUnsupported (layers of different sizes).
json::Value config_from_gguf(const Gguf& file, const GgufFamily& family);

/// The family of a config.json. Errors: kUnsupported, naming its model_type.
const GgufFamily& gguf_family_of(const json::Value& config);
GgufSizes gguf_sizes(const json::Value& config, const GgufFamily& family);
/// Metadata that describes the model: architecture, sizes, rotary positions; no tokenizer.
json::Value metadata_from_config(const json::Value& config, const GgufFamily& family);

/// config.json of a gemma3_text: the part of a gemma3 that reads text, whose published files leave out what is
/// Transformers' default.
json::Value gemma3_words(const json::Value& whole);

/// The first fact in which two blueprints differ, "layer 1: attention.scale"; "" when they describe the same
/// network. Names of families and which tensors must be there do not count.
std::string difference(const Blueprint& a, const Blueprint& b);

/// How the vector of a whole sequence is made, from ARCHITECTURE.pooling_type and our own key
/// ARCHITECTURE.normalize_embeddings; as in `fallback` when they are absent or none. Errors: kUnsupported (another kind).
Pooling pooling_from_gguf(const json::Value& metadata, const Pooling& fallback);

/// The factor of cos and sin under YaRN when nothing else is said. Source  Peng 2023 s3.4.
double yarn_magnitude(double factor);

/// What llama 3 divides the rotary frequencies by, one number a pair, from its rope_scaling.
std::vector<float> llama3_factors(const json::Value& scaling, double theta, std::int64_t width);

}  // namespace headscope::models
