#pragma once

#include <string>
#include <vector>

#include "models/blueprint.h"

/// What blueprints share: reading words of config.json with their bounds, and names that many families use.
namespace headscope::models {

/// A size: 1..2^28. Errors: kFormat.
std::int64_t size_word(const json::Value& config, std::string_view key);
std::int64_t size_word_or(const json::Value& config, std::string_view key, std::int64_t fallback);
/// How many layers: 1..4096, so that facts of each can be listed. Errors: kFormat.
std::int64_t layers_word(const json::Value& config, std::string_view key = "num_hidden_layers");
/// Width of a head where heads share the model's width. Errors: kFormat when they do not divide it.
std::int64_t head_width(const Blueprint& b, std::int64_t heads);
double number_or(const json::Value& config, std::string_view key, double fallback);
bool flag_or(const json::Value& config, std::string_view key, bool fallback);
std::string word_or(const json::Value& config, std::string_view key, const std::string& fallback);

/// "gelu", "gelu_new", "relu", ... as config.json says it. Errors: kUnsupported.
kernels::Activation activation_of(const std::string& name);

/// Which layers see a window only: `layer_types`, else what the family says of layer n. A window of w means
/// that a row sees itself and w - 1 keys before it. Errors: kUnsupported for other types.
std::vector<bool> layer_types_or(const json::Value& config, std::vector<bool> by_family);
/// The word `sliding_window`: -1 when absent, null or 0.
std::int64_t window_word(const json::Value& config, std::int64_t fallback = -1);

/// Slopes of ALiBi as BLOOM and Falcon count them. Source  Press 2022 s3.
std::vector<float> alibi_slopes(std::int64_t heads);
/// The same as MPT counts them: other heads where their number is no power of two.
/// Transformers leave alibi_bias_max at 8 whatever the file says.
std::vector<float> alibi_slopes_mpt(std::int64_t heads);

/// A decoder of Llama's kin from the words most of them share: RMS norms before attention and a gated MLP,
/// rotary positions, groups of key/value heads, names under `model.`. Families then change what differs.
Blueprint llama_like(const json::Value& config, const RopeDefaults& rope = {});
/// `layers` copies of a layer's facts, each with its own prefix: "model.layers.{}.".
void repeat(Blueprint& b, std::int64_t layers, const std::string& prefix, const LayerFacts& layer);
/// Windows of `window` keys where `sliding` says so.
void set_windows(Blueprint& b, const std::vector<bool>& sliding, std::int64_t window);
/// A head of words: `architecture`, `out`, tied or not as config.json says.
HeadBlueprint words_head(const json::Value& config,
                         const std::string& architecture,
                         const std::string& out,
                         bool tied);

}  // namespace headscope::models
