#pragma once

#include "formats/json.h"
#include "headscope/gguf.h"
#include "models/gguf_families.h"
#include "models/gguf_tensors.h"

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

/// What llama 3 divides the rotary frequencies by, one number a pair, from its rope_scaling.
std::vector<float> llama3_factors(const json::Value& scaling, double theta, std::int64_t width);

}  // namespace headscope::models
