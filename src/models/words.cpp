#include "models/words.h"

#include <fmt/format.h>

#include <cmath>

namespace headscope::models {

namespace {

constexpr const char* kWhere = "config.json";
constexpr std::int64_t kMost = std::int64_t{1} << 28;

std::int64_t within(std::int64_t x, std::string_view key, std::int64_t most) {
  if (x >= 1 && x <= most) return x;
  throw Error(ErrorCode::kFormat,
              fmt::format("[config.json] expected {} to be 1..{}, found {}", key, most, x));
}

}  // namespace

std::int64_t size_word(const json::Value& config, std::string_view key) {
  return within(json::require<std::int64_t>(config, key, kWhere), key, kMost);
}

std::int64_t size_word_or(const json::Value& config, std::string_view key, std::int64_t fallback) {
  return within(json::get_or<std::int64_t>(config, key, fallback, kWhere), key, kMost);
}

std::int64_t layers_word(const json::Value& config, std::string_view key) {
  return within(json::require<std::int64_t>(config, key, kWhere), key, 4096);
}

std::int64_t head_width(const Blueprint& b, std::int64_t heads) {
  within(heads, "the number of heads", 65536);
  if (b.width % heads == 0) return b.width / heads;
  throw Error(
      ErrorCode::kFormat,
      fmt::format("[config.json] expected {} heads to divide the width {}", heads, b.width));
}

double number_or(const json::Value& config, std::string_view key, double fallback) {
  return json::get_or<double>(config, key, fallback, kWhere);
}

bool flag_or(const json::Value& config, std::string_view key, bool fallback) {
  return json::get_or<bool>(config, key, fallback, kWhere);
}

std::string word_or(const json::Value& config, std::string_view key, const std::string& fallback) {
  return json::get_or<std::string>(config, key, fallback, kWhere);
}

kernels::Activation activation_of(const std::string& name) {
  using kernels::Activation;
  static const std::pair<const char*, Activation> kNames[] = {
      {"gelu", Activation::kGelu},
      {"gelu_python", Activation::kGelu},
      {"gelu_new", Activation::kGeluTanh},
      {"gelu_fast", Activation::kGeluTanh},
      {"gelu_pytorch_tanh", Activation::kGeluTanh},
      {"quick_gelu", Activation::kGeluQuick},
      {"relu", Activation::kRelu},
      {"relu2", Activation::kReluSquared},
      {"silu", Activation::kSilu},
      {"swish", Activation::kSilu},
      {"tanh", Activation::kTanh}};
  std::string known;
  for (const auto& [known_name, activation] : kNames) {
    if (name == known_name) return activation;
    known += (known.empty() ? "" : ", ") + std::string(known_name);
  }
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format(
          "[config.json] expected an activation among {}, found {}", known, json::quote(name)));
}

std::vector<bool> layer_types_or(const json::Value& config, std::vector<bool> by_family) {
  if (json::find(config, "layer_types", kWhere) == nullptr) return by_family;
  const auto types = json::require<std::vector<std::string>>(config, "layer_types", kWhere);
  if (types.size() != by_family.size()) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format(
            "[config.json] expected {} layer_types, found {}", by_family.size(), types.size()));
  }
  for (std::size_t n = 0; n < types.size(); ++n) {
    if (types[n] != "full_attention" && types[n] != "sliding_attention") {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[config.json] expected layer_types among full_attention, "
                              "sliding_attention, found {}",
                              json::quote(types[n])));
    }
    by_family[n] = types[n] == "sliding_attention";
  }
  return by_family;
}

std::int64_t window_word(const json::Value& config, std::int64_t fallback) {
  if (!config.contains("sliding_window")) return fallback;
  const auto w = json::get_or<std::int64_t>(config, "sliding_window", 0, kWhere);
  return w == 0 ? -1 : within(w, "sliding_window", kMost);
}

std::vector<float> alibi_slopes(std::int64_t heads) {
  const auto power = static_cast<std::int64_t>(std::floor(std::log2(static_cast<double>(heads))));
  const std::int64_t whole = std::int64_t{1} << power;
  std::vector<float> slopes;
  for (std::int64_t n = 1; n <= whole; ++n)
    slopes.push_back(
        static_cast<float>(std::exp2(-8.0 * static_cast<double>(n) / static_cast<double>(whole))));
  for (std::int64_t n = 1; n <= heads - whole; ++n) {
    slopes.push_back(static_cast<float>(
        std::exp2(-4.0 * static_cast<double>(2 * n - 1) / static_cast<double>(whole))));
  }
  return slopes;
}

std::vector<float> alibi_slopes_mpt(std::int64_t heads) {
  const auto power = static_cast<std::int64_t>(std::ceil(std::log2(static_cast<double>(heads))));
  const std::int64_t whole = std::int64_t{1} << power;
  const auto slope = [&](std::int64_t n) {
    return static_cast<float>(
        std::exp2(-8.0 * static_cast<double>(n + 1) / static_cast<double>(whole)));
  };
  std::vector<float> slopes;
  if (whole == heads) {
    for (std::int64_t n = 0; n < heads; ++n) slopes.push_back(slope(n));
    return slopes;
  }
  for (const std::int64_t first : {1, 0}) {
    for (std::int64_t n = first; n < whole; n += 2) slopes.push_back(slope(n));
  }
  slopes.resize(static_cast<std::size_t>(heads));
  return slopes;
}

void repeat(Blueprint& b, std::int64_t layers, const std::string& prefix, const LayerFacts& layer) {
  for (std::int64_t n = 0; n < layers; ++n) {
    b.layers.push_back(layer);
    b.layers.back().prefix = fmt::format(fmt::runtime(prefix), n);
  }
}

void set_windows(Blueprint& b, const std::vector<bool>& sliding, std::int64_t window) {
  for (std::size_t n = 0; n < b.layers.size(); ++n) {
    if (sliding[n] && window > 0) b.layers[n].attention.window_left = window - 1;
  }
}

HeadBlueprint words_head(const json::Value& config,
                         const std::string& architecture,
                         const std::string& out,
                         bool tied) {
  return {.architecture = architecture,
          .out = out,
          .tied = flag_or(config, "tie_word_embeddings", tied)};
}

Blueprint llama_like(const json::Value& config, const RopeDefaults& rope) {
  Blueprint b;
  b.prefixes = {"model."};
  b.width = size_word(config, "hidden_size");
  b.vocabulary = size_word(config, "vocab_size");
  b.positions = size_word_or(config, "max_position_embeddings", 2048);
  b.norm = {.kind = HeadNorm::Kind::kRms,
            .eps = static_cast<float>(number_or(config, "rms_norm_eps", 1e-6))};
  LayerFacts layer;
  AttentionFacts& a = layer.attention;
  a.heads = size_word(config, "num_attention_heads");
  a.groups = size_word_or(config, "num_key_value_heads", a.heads);
  a.width = json::find(config, "head_dim", kWhere) != nullptr ? size_word(config, "head_dim")
                                                              : head_width(b, a.heads);
  a.value_width = a.width;
  a.rope = read_rope(config, a.width, rope);
  a.query = "self_attn.q_proj";
  a.key = "self_attn.k_proj";
  a.value = "self_attn.v_proj";
  a.output = "self_attn.o_proj";
  a.qk_norm_eps = b.norm.eps;
  layer.mlp.form = MlpFacts::Form::kGated;
  layer.mlp.activation = activation_of(word_or(config, "hidden_act", "silu"));
  layer.mlp.width = size_word(config, "intermediate_size");
  layer.mlp.gate = "mlp.gate_proj";
  layer.mlp.up = "mlp.up_proj";
  layer.mlp.down = "mlp.down_proj";
  layer.attention_norms.before = "input_layernorm";
  layer.mlp_norms.before = "post_attention_layernorm";
  b.word_embeddings = "embed_tokens";
  b.final_norm = "norm";
  b.heads_on_top = {words_head(config, "ForCausalLM", "lm_head", false)};
  b.causal_head = true;
  repeat(b, layers_word(config), "layers.{}.", layer);
  return b;
}

}  // namespace headscope::models
