#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "models/gguf_config.h"
#include "models/model_files.h"

namespace headscope::models {

std::vector<float> llama3_factors(const json::Value& scaling, double theta, std::int64_t width) {
  const std::string where = "config.json";
  const auto factor = json::require<double>(scaling, "factor", where);
  const auto low = json::get_or<double>(scaling, "low_freq_factor", 1.0, where);
  const auto high = json::get_or<double>(scaling, "high_freq_factor", 4.0, where);
  const auto original = json::require<double>(scaling, "original_max_position_embeddings", where);
  std::vector<float> out;
  for (std::int64_t i = 0; i < width; i += 2) {
    const double wave = 2.0 * std::numbers::pi *
                        std::pow(theta, static_cast<double>(i) / static_cast<double>(width));
    const double smooth = (original / wave - low) / (high - low);
    const double by = smooth >= 1.0   ? 1.0
                      : smooth <= 0.0 ? factor
                                      : 1.0 / ((1.0 - smooth) / factor + smooth);
    out.push_back(static_cast<float>(by));
  }
  return out;
}

double yarn_magnitude(double factor) { return factor <= 1.0 ? 1.0 : 0.1 * std::log(factor) + 1.0; }

const GgufFamily& gguf_family_of(const json::Value& config) {
  const auto type = json::require<std::string>(config, "model_type", "config.json");
  if ((type == "t5" || type == "mt5" || type == "umt5") &&
      architecture_of(config).ends_with("EncoderModel"))
    return *gguf_family_of_type(type == "umt5" ? "umt5" : "t5", true);
  if (const GgufFamily* family = gguf_family_of_type(type)) return *family;
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format("[config.json] expected a model_type that GGUF has names for here ({}), found {}",
                  gguf_architectures(),
                  json::quote(type)));
}

namespace {

/// "attn_config.clip_qkv" names a key inside an object.
const json::Value* look(const json::Value& config, const std::string& key) {
  const std::size_t dot = key.find('.');
  if (dot == std::string::npos) return json::find(config, key, "config.json");
  const json::Value* inner = json::find(config, key.substr(0, dot), "config.json");
  return inner == nullptr ? nullptr : json::find(*inner, key.substr(dot + 1), "config.json");
}

/// rope_parameters of today's files or what older ones say in several places.
json::Value rope_of(const json::Value& config) {
  const std::string where = "config.json";
  json::Value rope = json::Value::object();
  if (const json::Value* old = json::find(config, "rope_scaling", where)) {
    (void)json::find(*old, "rope_type", where);  // refuses what is no object
    rope = *old;
  }
  if (const json::Value* now = json::find(config, "rope_parameters", where)) {
    // Layers of two kinds have two: what is written below the plain keys is of the full ones.
    const json::Value* full = json::find(*now, "full_attention", where);
    rope.update(full == nullptr ? *now : *full);
    if (const json::Value* sliding = json::find(*now, "sliding_attention", where))
      rope["sliding_theta"] = json::get_or<double>(*sliding, "rope_theta", 10000.0, where);
  }
  if (const json::Value* local = json::find(config, "rope_local_base_freq", where);
      local != nullptr && !rope.contains("sliding_theta"))
    rope["sliding_theta"] = json::as<double>(*local, "rope_local_base_freq", where);
  for (const char* key :
       {"rope_theta", "partial_rotary_factor", "rotary_pct", "original_max_position_embeddings"}) {
    if (const json::Value* value = json::find(config, key, where);
        value != nullptr && !rope.contains(key))
      rope[key] = *value;
  }
  if (rope.contains("rotary_pct")) rope["partial_rotary_factor"] = rope["rotary_pct"];
  if (!rope.contains("rope_type"))
    rope["rope_type"] = json::get_or<std::string>(rope, "type", "default", where);
  return rope;
}

std::int64_t size_in(const json::Value& config, const GgufFamily& family, std::string_view gguf) {
  for (const auto& [hf, key] : gguf_keys(family)) {
    if (key != gguf) continue;
    const json::Value* found = look(config, hf);
    return found == nullptr ? 0 : json::as<std::int64_t>(*found, hf, "config.json");
  }
  return 0;
}

/// Readers of longrope take this factor as it is; those of YaRN multiply it by the usual one, and
/// know of DeepSeek's through what its scores are scaled by.
void put_attention_factor(const json::Value& words,
                          const Rope& rope,
                          const GgufFamily& family,
                          const std::string& p,
                          json::Value& out) {
  const std::string key = p + "attn_factor";
  if (rope.kind == Rope::Kind::kLinear) return;
  if (rope.kind == Rope::Kind::kLongRope || family.architecture == "olmo2") {
    out[key] = rope.attention_factor;
    return;
  }
  out[p + "factor"] = rope.factor;
  if (family.architecture == "deepseek2") {
    const auto all = json::get_or<double>(words, "mscale_all_dim", 0.0, "config.json");
    if (all != 0.0) out[p + "yarn_log_multiplier"] = 0.1 * all;
    return;
  }
  const double share = rope.attention_factor / yarn_magnitude(rope.factor);
  if (std::abs(share - 1.0) > 1e-9) out[key] = share;
}

/// Of layers without windows where there are some, else of any; nullptr when no layer turns anything.
const Rope* rope_in(const Blueprint& b) {
  const Rope* found = nullptr;
  for (const LayerFacts& layer : b.layers) {
    if (layer.attention.rope.style == Rotary::Style::kNone) continue;
    if (found == nullptr || layer.attention.window_left < 0) found = &layer.attention.rope;
    if (layer.attention.window_left < 0) break;
  }
  return found;
}

void put_rope(const json::Value& config,
              const Blueprint& blueprint,
              const GgufFamily& family,
              const std::string& p,
              json::Value& out) {
  const Rope* rope = rope_in(blueprint);
  if (rope == nullptr) return;
  const json::Value words = rope_of(config);
  const std::string where = "config.json";
  out[p + "rope.freq_base"] = rope->base;
  out[p + "rope.dimension_count"] = rope->width;
  if (words.contains("sliding_theta")) {
    out[p + "rope.freq_base_swa"] = words["sliding_theta"];
  } else if (family.model_type == "olmo3") {
    out[p + "rope.freq_base_swa"] = 500000.0;  // whatever the full layers have
  }
  // Llama 3: rope_freqs.weight says it.
  if (rope->kind == Rope::Kind::kDefault || rope->kind == Rope::Kind::kLlama3) return;
  if (rope->kind == Rope::Kind::kDynamic) {
    throw Error(ErrorCode::kUnsupported,
                "[convert] expected rope_type default, linear, yarn, longrope or llama3, found "
                "\"dynamic\"");
  }
  const std::string scaling = p + "rope.scaling.";
  out[scaling + "type"] = rope->kind == Rope::Kind::kLinear ? "linear"
                          : rope->kind == Rope::Kind::kYarn ? "yarn"
                                                            : "longrope";
  for (const auto& [hf, gguf] :
       pairs_of("factor=factor beta_fast=yarn_beta_fast beta_slow=yarn_beta_slow")) {
    if (const json::Value* value = json::find(words, hf, where))
      out[scaling + gguf] = json::as<double>(*value, hf, where);
  }
  if (const json::Value* value = json::find(words, "original_max_position_embeddings", where))
    out[scaling + "original_context_length"] =
        json::as<std::int64_t>(*value, "original_max_position_embeddings", where);
  put_attention_factor(words, *rope, family, scaling, out);
}

}  // namespace

GgufSizes gguf_sizes(const json::Value& config, const GgufFamily& family) {
  GgufSizes sizes;
  sizes.layers = size_in(config, family, "block_count");
  sizes.heads = size_in(config, family, "attention.head_count");
  sizes.kv_heads = size_in(config, family, "attention.head_count_kv");
  if (family.model_type == "falcon") {
    const bool grouped =
        json::get_or<bool>(config, "new_decoder_architecture", false, "config.json");
    sizes.two_norms = grouped && json::get_or<std::int64_t>(
                                     config, "num_ln_in_parallel_attn", 2, "config.json") == 2;
    if (!grouped)
      sizes.kv_heads =
          json::get_or<bool>(config, "multi_query", true, "config.json") ? 1 : sizes.heads;
  }
  if (sizes.kv_heads < 1) sizes.kv_heads = sizes.heads;
  sizes.decoder_layers = size_in(config, family, "decoder_block_count");
  if (sizes.decoder_layers < 1) sizes.decoder_layers = sizes.layers;
  sizes.gated = json::get_or<std::string>(config, "feed_forward_proj", "relu", "config.json")
                    .starts_with("gated-");
  constexpr std::int64_t kMostLayers = 10'000;
  if (sizes.layers < 1 || std::max(sizes.layers, sizes.decoder_layers) > kMostLayers ||
      sizes.heads < 1 || sizes.heads > (std::int64_t{1} << 31)) {
    throw Error(ErrorCode::kFormat,
                "[config.json] expected numbers of layers and heads, found none");
  }
  return sizes;
}

namespace {

/// Activations that differ by rounding alone.
bool same_activation(const json::Value& a, const json::Value& b) {
  const auto is_tanh = [](const json::Value& name) {
    return name == "gelu_new" || name == "gelu_fast" || name == "gelu_pytorch_tanh";
  };
  return is_tanh(a) && is_tanh(b);
}

bool has_key(const GgufFamily& family, const std::string& word) {
  const auto keys = gguf_keys(family);
  return std::any_of(keys.begin(), keys.end(), [&](const auto& key) { return key.first == word; });
}

/// Facts that config.json leaves to Transformers' defaults.
void put_defaults(const Blueprint& blueprint,
                  const GgufFamily& family,
                  const std::string& p,
                  json::Value& out) {
  const bool rms = blueprint.norm.kind == HeadNorm::Kind::kRms;
  const std::string eps =
      p + (rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon");
  if (!out.contains(eps)) out[eps] = static_cast<double>(blueprint.norm.eps);
  const std::string window = p + "attention.sliding_window";
  const auto keys = gguf_keys(family);
  const bool known = std::any_of(keys.begin(), keys.end(), [](const auto& key) {
    return key.second == "attention.sliding_window";
  });
  for (const LayerFacts& layer : blueprint.layers) {
    const std::int64_t left = layer.attention.window_left;
    if (known && left >= 0 && !out.contains(window)) out[window] = left + 1;
  }
}

/// What a family's readers of GGUF take for granted, since no key says it.
void check_constants(const json::Value& config, const GgufFamily& family) {
  const json::Value constants = json::Value::parse(family.constants);
  for (const auto& [key, expected] : constants.items()) {
    const json::Value* found = json::find(config, key, "config.json");
    if (found == nullptr || *found == expected || same_activation(*found, expected)) continue;
    if (has_key(family, key)) continue;      // what is written there counts
    if (expected.is_structured()) continue;  // layers' kinds are told by their tensors
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[convert] expected {} {} (GGUF cannot say otherwise of {}), found {}",
                            key,
                            expected.dump(),
                            family.architecture,
                            json::describe(*found)));
  }
}

/// Facts whose keys only some readers know, written where the usual ones would be wrong.
void put_rare(const json::Value& config,
              const Blueprint& blueprint,
              const std::string& p,
              json::Value& out) {
  const std::string where = "config.json";
  if (const json::Value* scalar = json::find(config, "query_pre_attn_scalar", where)) {
    const auto n = json::as<double>(*scalar, "query_pre_attn_scalar", where);
    if (n > 0.0 && n != json::get_or<double>(config, "head_dim", 0.0, where))
      out[p + "attention.scale"] = 1.0 / std::sqrt(n);
  }
  // Files say it by layer_types or, older ones, by sliding_window_pattern: the blueprint has read either.
  const auto slides = [&](std::size_t n) { return blueprint.layers[n].attention.window_left >= 0; };
  const auto every = [&](std::size_t pattern) {
    for (std::size_t n = 0; n < blueprint.layers.size(); ++n) {
      if (slides(n) != ((n + 1) % pattern != 0)) return false;
    }
    return true;
  };
  const std::string kinds = p + "attention.sliding_window_pattern";
  const std::string& family = blueprint.family;
  std::size_t pattern = 1;
  while (pattern <= blueprint.layers.size() && slides(pattern - 1)) ++pattern;
  if (family == "gemma3_text" && every(pattern)) {
    out[kinds] = static_cast<std::int64_t>(pattern);
  } else if (family == "olmo3" || family == "gemma3_text") {
    out[kinds] = json::Value::array();
    for (std::size_t n = 0; n < blueprint.layers.size(); ++n) out[kinds].push_back(slides(n));
  } else if (family == "cohere2" && !every(4)) {
    throw Error(ErrorCode::kUnsupported,
                "[convert] expected every fourth layer of cohere2 to see all tokens (GGUF cannot "
                "say otherwise), found other layer_types or another sliding_window_pattern");
  }
  for (const char* key : {"num_experts", "num_local_experts", "n_routed_experts"}) {
    const json::Value* experts = json::find(config, key, where);
    if (experts != nullptr && !out.contains(p + "expert_count")) out[p + "expert_count"] = *experts;
  }
}

}  // namespace

namespace {

/// Of T5: what its blueprint has from Transformers' defaults, and what GGUF takes for granted.
void put_t5(const json::Value& config,
            const PairBlueprint& pair,
            const GgufFamily& family,
            const std::string& p,
            json::Value& out) {
  const auto form = json::get_or<std::string>(config, "feed_forward_proj", "relu", "config.json");
  if (form != "relu" && form != "gated-gelu") {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[convert] expected feed_forward_proj relu or gated-gelu (GGUF cannot "
                            "say otherwise of {}), found {}",
                            family.architecture,
                            json::quote(form)));
  }
  const AttentionFacts& a = pair.encoder.layers.front().attention;
  out[p + "attention.relative_buckets_count"] = a.relative.buckets;
  out[p + "attention.value_length"] = out[p + "attention.key_length"] = a.value_width;
  out[p + "attention.layer_norm_epsilon"] = out[p + "attention.layer_norm_rms_epsilon"];
  if (family.decoder.empty()) return;
  out[p + "decoder_block_count"] = pair.decoder.layers.size();
  out[p + "decoder_start_token_id"] = pair.start_token;
}

}  // namespace

json::Value metadata_from_config(const json::Value& config, const GgufFamily& family) {
  check_constants(config, family);
  const auto pair = read_pair(config);
  const Blueprint blueprint = pair ? pair->decoder : read_blueprint(config);
  json::Value out = json::Value::object();
  const std::string p = std::string(family.architecture) + '.';
  out["general.architecture"] = family.architecture;
  for (const auto& [hf, gguf] : gguf_keys(family)) {
    const json::Value* value = look(config, hf);
    // Readers tell numbers from whole numbers by the type they are written in.
    const bool real =
        gguf.find("epsilon") != std::string::npos || gguf.find("scale") != std::string::npos ||
        gguf.find("softcapping") != std::string::npos || gguf.find("clamp") != std::string::npos ||
        gguf.find("alibi") != std::string::npos;
    if (value != nullptr)
      out[p + gguf] = real ? json::Value(json::as<double>(*value, hf, "config.json")) : *value;
  }
  const GgufSizes sizes = gguf_sizes(config, family);
  const std::int64_t width = size_in(config, family, "embedding_length");
  out[p + "attention.head_count_kv"] = sizes.kv_heads;
  const std::string feed = p + "feed_forward_length";
  if (!out.contains(feed)) out[feed] = 4 * width;
  if (!out.contains(p + "context_length"))
    out[p + "context_length"] =
        json::get_or<std::int64_t>(config, "n_ctx", pair ? 512 : 2048, "config.json");
  if (json::find(config, "head_dim", "config.json") != nullptr) {
    out[p + "attention.value_length"] = out[p + "attention.key_length"];
  } else {
    out.erase(p + "attention.key_length");
  }
  put_defaults(blueprint, family, p, out);
  put_rope(config, blueprint, family, p, out);
  if (family.architecture == "mpt") {
    for (const auto& [key, fallback] :
         {std::pair{"attention.max_alibi_bias", 8.0}, std::pair{"attention.clamp_kqv", 0.0}}) {
      if (!out.contains(p + key) && fallback > 0.0) out[p + key] = fallback;
    }
  }
  if (family.architecture == "bert") out[p + "attention.causal"] = false;
  if (family.architecture == "deepseek2") {
    out[p + "attention.key_length"] =
        json::get_or<std::int64_t>(config, "qk_nope_head_dim", 0, "config.json") +
        json::get_or<std::int64_t>(config, "qk_rope_head_dim", 0, "config.json");
    out[p + "attention.value_length"] =
        json::get_or<std::int64_t>(config, "v_head_dim", 0, "config.json");
    out[p + "rope.dimension_count"] =
        json::get_or<std::int64_t>(config, "qk_rope_head_dim", 0, "config.json");
    const bool sigmoid = family.model_type == "deepseek_v3";
    out[p + "expert_weights_norm"] =
        json::get_or<bool>(config, "norm_topk_prob", sigmoid, "config.json");
    out[p + "expert_gating_func"] = sigmoid ? 2 : 1;
    // V2 asks for groups by the name of a method.
    if (!sigmoid &&
        json::get_or<std::string>(config, "topk_method", "greedy", "config.json") == "greedy") {
      out.erase(p + "expert_group_count");
      out.erase(p + "expert_group_used_count");
    }
  }
  if (pair) put_t5(config, *pair, family, p, out);
  put_rare(config, blueprint, p, out);
  return out;
}

}  // namespace headscope::models
