#include "models/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numbers>

namespace headscope::models {

namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 31;

/// A metadata value below the architecture's name; nullptr when it is absent.
class Keys {
 public:
  Keys(const Gguf& file, const GgufFamily& family)
      : file_(file), prefix_(std::string(family.architecture) + '.') {}

  [[nodiscard]] const json::Value* find(std::string_view key) const {
    return json::find(file_.metadata(), prefix_ + std::string(key), file_.name());
  }
  /// A whole number in 1..2^31; of an array whose elements are equal, that element; 0 when absent.
  [[nodiscard]] std::int64_t size(std::string_view key) const {
    const json::Value* found = find(key);
    if (found == nullptr) return 0;
    const std::string name = prefix_ + std::string(key);
    const auto n = json::as<std::int64_t>(common(*found, name), name, file_.name());
    if (n >= 0 && n <= kMost) return n;
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected {} to be 0..2^31, found {}", file_.name(), name, n));
  }
  [[nodiscard]] std::int64_t required(std::string_view key) const {
    if (const std::int64_t n = size(key); n > 0) return n;
    throw Error(
        ErrorCode::kFormat,
        fmt::format("[{}] expected {}{} to be at least 1, found none", file_.name(), prefix_, key));
  }
  /// As config.json would say it: an f32 is written in as few digits as tell it from others.
  [[nodiscard]] json::Value value(std::string_view key) const {
    const json::Value& found = common(*find(key), prefix_ + std::string(key));
    if (!found.is_number() && !found.is_boolean()) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[{}] expected {}{} to be a number or bool, found {}",
                              file_.name(),
                              prefix_,
                              key,
                              json::describe(found)));
    }
    if (!found.is_number_float() || !std::isfinite(found.get<float>())) return found;
    return std::strtod(fmt::format("{}", found.get<float>()).c_str(), nullptr);
  }
  [[nodiscard]] double number(std::string_view key) const {
    return json::as<double>(value(key), prefix_ + std::string(key), file_.name());
  }

 private:
  [[nodiscard]] const json::Value& common(const json::Value& value, const std::string& name) const {
    if (!value.is_array() || value.empty()) return value;
    for (const json::Value& one : value) {
      if (one == value.front()) continue;
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[{}] expected the same {} in all layers, found {} and {}",
                              file_.name(),
                              name,
                              json::describe(value.front()),
                              json::describe(one)));
    }
    return value.front();
  }

  const Gguf& file_;
  std::string prefix_;
};

/// "attn_config.clip_qkv" names a key inside an object.
json::Value& place(json::Value& config, const std::string& key) {
  const std::size_t dot = key.find('.');
  return dot == std::string::npos ? config[key] : config[key.substr(0, dot)][key.substr(dot + 1)];
}
json::Value floats_of(const AnyView& view) {
  json::Value out = json::Value::array();
  const Tensor wide = Tensor::f32_from(view);
  for (const float x : wide.span<float>())
    out.push_back(std::strtod(fmt::format("{}", x).c_str(), nullptr));
  return out;
}

/// The rope_scaling of llama 3 that gives these factors, when there is one; else none.
json::Value llama3_scaling(const std::vector<float>& factors, double theta, std::int64_t context) {
  const double factor = static_cast<double>(factors.back());
  const auto width = static_cast<std::int64_t>(2 * factors.size());
  // Each factor strictly between tells where the original context lies; where none is, try what
  // was published.
  std::vector<double> contexts = {8192.0, static_cast<double>(context)};
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const auto f = static_cast<double>(factors[i]);
    if (!(f > 1.0) || !(f < factor)) continue;
    const double smooth = (1.0 / f - 1.0 / factor) / (1.0 - 1.0 / factor);
    const double wave = 2.0 * std::numbers::pi *
                        std::pow(theta, 2.0 * static_cast<double>(i) / static_cast<double>(width));
    contexts.insert(contexts.begin(), std::round(wave * (1.0 + 3.0 * smooth)));
  }
  for (const double original : contexts) {
    json::Value scaling = {
        {"rope_type", "llama3"},
        {"factor", factor},
        {"low_freq_factor", 1.0},
        {"high_freq_factor", 4.0},
        {"original_max_position_embeddings", static_cast<std::int64_t>(original)}};
    const std::vector<float> again = llama3_factors(scaling, theta, width);
    bool same = true;
    for (std::size_t i = 0; i < factors.size(); ++i)
      same = same && std::abs(again[i] - factors[i]) <= 1e-6F * factors[i];
    if (same) return scaling;
  }
  return nullptr;
}

/// Factors beside the usual one: see put_attention_factor.
void put_yarn(const Keys& keys, const GgufFamily& family, json::Value& scaling) {
  if (keys.find("rope.scaling.yarn_log_multiplier") != nullptr) {
    const double all = 10.0 * keys.number("rope.scaling.yarn_log_multiplier");
    if (family.architecture == "deepseek2" && all != 0.0)
      scaling["mscale"] = scaling["mscale_all_dim"] = all;
  }
  if (keys.find("rope.scaling.yarn_attn_factor") != nullptr)
    scaling["attention_factor"] = keys.number("rope.scaling.yarn_attn_factor");
  if (keys.find("rope.scaling.attn_factor") == nullptr) return;
  const double share = keys.number("rope.scaling.attn_factor");
  const auto factor = json::get_or<double>(scaling, "factor", 1.0, "rope_scaling");
  scaling["attention_factor"] =
      family.architecture == "olmo2" ? share : share * yarn_magnitude(factor);
}

/// How rotary positions are stretched, in the words of rope_scaling; null when they are not.
json::Value rope_scaling(const Gguf& file,
                         const Keys& keys,
                         const GgufFamily& family,
                         json::Value& config,
                         double theta) {
  const std::int64_t original = keys.size("rope.scaling.original_context_length");
  const std::int64_t context = keys.size("context_length");
  const AnyView* longer = file.find("rope_factors_long.weight");
  const AnyView* shorter = file.find("rope_factors_short.weight");
  if (longer != nullptr && shorter != nullptr) {
    if (original > 0) config["original_max_position_embeddings"] = original;
    json::Value scaling = {{"type", "longrope"},
                           {"long_factor", floats_of(*longer)},
                           {"short_factor", floats_of(*shorter)}};
    if (keys.find("rope.scaling.attn_factor") != nullptr)
      scaling["attention_factor"] = keys.value("rope.scaling.attn_factor");
    return scaling;
  }
  if (const AnyView* factors = file.find("rope_freqs.weight");
      factors != nullptr && factors->size() > 0) {
    const Tensor wide = Tensor::f32_from(*factors);
    const auto span = wide.span<float>();
    json::Value scaling = llama3_scaling({span.begin(), span.end()}, theta, context);
    if (!scaling.is_null()) return scaling;
    return {{"rope_type", "longrope"},
            {"long_factor", floats_of(*factors)},
            {"short_factor", floats_of(*factors)},
            {"attention_factor", 1.0}};
  }
  const json::Value* type = keys.find("rope.scaling.type");
  const json::Value* old = keys.find("rope.scale_linear");
  if (type == nullptr && old == nullptr) return nullptr;
  const std::string name =
      type == nullptr ? "linear" : json::as<std::string>(*type, "rope.scaling.type", file.name());
  if (name == "none") return nullptr;
  json::Value scaling = {{"rope_type", name}};
  for (const auto& [hf, gguf] : pairs_of("factor=rope.scale_linear factor=rope.scaling.factor "
                                         "beta_fast=rope.scaling.yarn_beta_fast "
                                         "beta_slow=rope.scaling.yarn_beta_slow")) {
    if (keys.find(gguf) != nullptr) scaling[hf] = keys.value(gguf);
  }
  // To llama.cpp a factor of 0 says that there is none.
  if (scaling.contains("factor") && scaling["factor"] == 0) return nullptr;
  if (old != nullptr && !scaling.contains("factor"))
    scaling["factor"] = keys.value("rope.scale_linear");
  if (original > 0) scaling["original_max_position_embeddings"] = original;
  if (name == "yarn") put_yarn(keys, family, scaling);
  // Its borders are where they fall, not at the whole numbers around; no key says so.
  if (family.model_type == "gpt_oss") scaling["truncate"] = false;
  return scaling;
}

void put_tokens(const Gguf& file, json::Value& config) {
  for (const auto& [hf, gguf] : pairs_of("bos_token_id=bos_token_id eos_token_id=eos_token_id "
                                         "pad_token_id=padding_token_id")) {
    const json::Value* id = json::find(file.metadata(), "tokenizer.ggml." + gguf, file.name());
    if (id != nullptr) config[hf] = *id;
  }
}

/// The last of every `period` layers sees all tokens.
void put_layer_types(std::int64_t period, std::int64_t layers, json::Value& config) {
  json::Value& types = config["layer_types"] = json::Value::array();
  for (std::int64_t l = 1; l <= layers; ++l)
    types.push_back(l % period == 0 ? "full_attention" : "sliding_attention");
}

/// Layers whose windows are listed one by one. False when they are not.
bool put_layer_types(const Gguf& file, const Keys& keys, json::Value& config) {
  const json::Value* list = keys.find("attention.sliding_window_pattern");
  if (list == nullptr || !list->is_array()) return false;
  json::Value& types = config["layer_types"] = json::Value::array();
  for (const json::Value& one : *list) {
    const bool sliding =
        one.is_boolean() ? one.get<bool>()
                         : json::as<std::int64_t>(one, "sliding_window_pattern", file.name()) != 0;
    types.push_back(sliding ? "sliding_attention" : "full_attention");
  }
  return true;
}

void put_deepseek(const Gguf& file,
                  const Keys& keys,
                  const GgufFamily& family,
                  json::Value& config) {
  // Files with attn_k_b and attn_v_b speak of what is cached, and of heads under other keys.
  const std::int64_t whole = keys.size("attention.key_length_mla");
  const std::int64_t key = whole > 0 ? whole : keys.size("attention.key_length");
  if (const std::int64_t value = keys.size("attention.value_length_mla"); value > 0)
    config["v_head_dim"] = value;
  config["qk_nope_head_dim"] = key - keys.size("rope.dimension_count");
  config["num_key_value_heads"] = config["num_attention_heads"];
  config.erase("head_dim");
  if (!config.contains("q_lora_rank")) config["q_lora_rank"] = nullptr;
  config["norm_topk_prob"] =
      keys.find("expert_weights_norm") != nullptr &&
      json::as<bool>(keys.value("expert_weights_norm"), "expert_weights_norm", file.name());
  const bool v3 = family.model_type == "deepseek_v3";
  // Files of V3 and R1 from before there was a key; no other model has as many experts.
  if (v3 && !config.contains("n_group") && keys.size("expert_count") == 256) {
    config["n_group"] = 8;
    config["topk_group"] = 4;
  }
  if (!v3)
    config["topk_method"] = keys.size("expert_group_count") > 1 ? "group_limited_greedy" : "greedy";
}

/// What a table of names cannot say.
void put_own_facts(const Gguf& file,
                   const Keys& keys,
                   const GgufFamily& family,
                   json::Value& config) {
  const std::int64_t heads = keys.required("attention.head_count");
  const std::int64_t width = keys.required("embedding_length");
  const std::string_view type = family.model_type;
  const std::int64_t key = keys.size("attention.key_length");
  const std::int64_t head = key > 0 ? key : width / heads;
  if (type == "gemma2" || type == "gemma3_text") {
    // The largest of each family scales by width over heads; files do not say so otherwise.
    const bool largest = keys.size("block_count") == (type == "gemma2" ? 46 : 62);
    config["query_pre_attn_scalar"] = largest ? width / heads : head;
    if (keys.find("attention.scale") != nullptr) {
      const auto scale =
          json::as<double>(keys.value("attention.scale"), "attention.scale", file.name());
      // A short number once, and f32 has rounded its root.
      if (scale > 0.0)
        config["query_pre_attn_scalar"] = std::round(256.0 / (scale * scale)) / 256.0;
    }
  }
  if (type == "gemma3_text") {
    config["rope_local_base_freq"] = keys.find("rope.freq_base_swa") == nullptr
                                         ? json::Value(10000.0)
                                         : keys.value("rope.freq_base_swa");
    if (!put_layer_types(file, keys, config)) {
      const std::int64_t pattern = keys.size("attention.sliding_window_pattern");
      config["sliding_window_pattern"] = pattern > 0 ? pattern : 6;
    }
  }
  if (type == "gpt_oss" && !put_layer_types(file, keys, config)) {
    const std::int64_t period = keys.size("attention.sliding_window_pattern");
    put_layer_types(period > 0 ? period : 2, gguf_sizes(file, family).layers, config);
  }
  if (!family.decoder.empty() || family.architecture == "t5encoder")
    config["feed_forward_proj"] = gguf_sizes(file, family).gated ? "gated-gelu" : "relu";
  if (type == "olmo3") {
    (void)put_layer_types(file, keys, config);
    json::Value full = config.value("rope_scaling", json::Value::object());
    full["rope_theta"] = config.value("rope_theta", json::Value(10000.0));
    const json::Value sliding = {
        {"rope_type", "default"},
        {"rope_theta",
         keys.find("rope.freq_base_swa") == nullptr ? full["rope_theta"]
                                                    : keys.value("rope.freq_base_swa")}};
    config["rope_parameters"] = {{"full_attention", full}, {"sliding_attention", sliding}};
    config.erase("rope_scaling");
    config.erase("rope_theta");
  }
  if (type == "falcon") {
    const bool two = file.find("blk.0.attn_norm_2.weight") != nullptr;
    const std::int64_t kv = keys.size("attention.head_count_kv");
    config["multi_query"] = kv == 1 || two;
    config["new_decoder_architecture"] = kv > 1;
    if (kv > 1) config["num_ln_in_parallel_attn"] = two ? 2 : 1;
  }
  if (type == "bert") {
    if (const AnyView* types = file.find("token_types.weight");
        types != nullptr && types->shape.size() == 2)
      config["type_vocab_size"] = types->shape[0];
  }
  if (family.architecture == "deepseek2") put_deepseek(file, keys, family, config);
  if (family.experts && config.contains("mlp_only_layers")) {
    json::Value& plain = config["mlp_only_layers"];
    const std::int64_t layers = gguf_sizes(file, family).layers;
    for (std::int64_t l = 0; l < layers; ++l) {
      if (file.find(fmt::format("blk.{}.ffn_gate_inp.weight", l)) == nullptr) plain.push_back(l);
    }
  }
  if (type == "gpt2" && config["n_inner"] == 4 * width) config["n_inner"] = nullptr;
}

/// Without an output of its own, or, where it matters to more than memory, with a copy: T5 scales logits then.
bool ties_words(const Gguf& file, const GgufFamily& family) {
  const AnyView* output = file.find("output.weight");
  const AnyView* words = file.find("token_embd.weight");
  if (output == nullptr || words == nullptr || family.decoder.empty()) return output == nullptr;
  return output->dtype == words->dtype && output->shape == words->shape &&
         std::memcmp(output->data, words->data, output->bytes()) == 0;
}

}  // namespace

const GgufFamily& gguf_family_in(const Gguf& file) {
  const auto architecture =
      json::require<std::string>(file.metadata(), "general.architecture", file.name());
  const json::Value* experts =
      json::find(file.metadata(), architecture + ".expert_count", file.name());
  const bool has_experts =
      experts != nullptr && json::as<std::int64_t>(*experts, "expert_count", file.name()) > 0;
  // Files of Mistral call themselves llama; where one says its window, it means it.
  const bool window =
      json::find(file.metadata(), architecture + ".attention.sliding_window", file.name()) !=
      nullptr;
  if (architecture == "llama" && window && !has_experts) return *gguf_family_of_type("mistral");
  // Of T5 and mT5 the first layers' tables serve all of them.
  const bool alone = architecture == "t5encoder";
  if ((alone || architecture == "t5") && file.find("enc.blk.1.attn_rel_b.weight") != nullptr)
    return *gguf_family_of_type("umt5", alone);
  if (architecture == "olmo2" && window) return *gguf_family_of_type("olmo3");
  if (architecture == "deepseek2") {
    const auto gate =
        json::get_or<std::int64_t>(file.metadata(), "deepseek2.expert_gating_func", 1, file.name());
    if (gate == 2) return *gguf_family_of_type("deepseek_v3");
    if (gate != 0 && gate != 1) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[{}] expected deepseek2.expert_gating_func 1 (softmax) or 2 "
                              "(sigmoid), found {}",
                              file.name(),
                              gate));
    }
  }
  if (const GgufFamily* family = gguf_family(architecture, has_experts)) return *family;
  throw Error(ErrorCode::kUnsupported,
              fmt::format("[{}] expected general.architecture among {}, found {}",
                          file.name(),
                          gguf_architectures(),
                          json::quote(architecture)));
}

GgufSizes gguf_sizes(const Gguf& file, const GgufFamily& family) {
  const Keys keys(file, family);
  GgufSizes sizes;
  sizes.layers = keys.required("block_count");
  sizes.heads = keys.required("attention.head_count");
  sizes.kv_heads = keys.size("attention.head_count_kv");
  if (sizes.kv_heads < 1) sizes.kv_heads = sizes.heads;
  sizes.two_norms = file.find("blk.0.attn_norm_2.weight") != nullptr;
  sizes.gated = file.find("enc.blk.0.ffn_gate.weight") != nullptr;
  sizes.decoder_layers = keys.size("decoder_block_count");
  if (sizes.decoder_layers < 1) sizes.decoder_layers = sizes.layers;
  if (const std::int64_t most = std::max(sizes.layers, sizes.decoder_layers);
      most > static_cast<std::int64_t>(file.tensors().size())) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[{}] expected tensors for {} layers, found {} tensors in all",
                            file.name(),
                            most,
                            file.tensors().size()));
  }
  return sizes;
}

json::Value config_from_gguf(const Gguf& file, const GgufFamily& family) {
  const Keys keys(file, family);
  (void)keys.required("embedding_length");
  (void)keys.required("context_length");
  json::Value config = json::Value::parse(family.constants);
  config["model_type"] = family.model_type;
  config["architectures"] = {family.hf_class};
  for (const auto& [hf, gguf] : gguf_keys(family)) {
    if (keys.find(gguf) != nullptr) place(config, hf) = keys.value(gguf);
  }
  const auto vocabulary = file.find("token_embd.weight");
  if (vocabulary == nullptr) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("[{}] expected a tensor \"token_embd.weight\" (word embeddings), found "
                            "none",
                            file.name()));
  }
  if (vocabulary->shape.size() == 2) config["vocab_size"] = vocabulary->shape[0];
  const bool tied = ties_words(file, family);
  if (tied && family.untied) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("[{}] expected a tensor \"output.weight\" ({} does not share its word "
                            "embeddings), found none",
                            file.name(),
                            family.model_type));
  }
  config["tie_word_embeddings"] = tied;
  for (const auto& [hf, tensor] : pairs_of(family.present))
    config[hf] = file.find("blk.0." + tensor) != nullptr ||
                 (tensor == "attn_q.bias" && file.find("blk.0.attn_qkv.bias") != nullptr);
  // Some models of Llama's kin have biases at queries, keys and values alone.
  if (config.value("attention_bias", false) && file.find("blk.0.attn_output.bias") == nullptr)
    config["attention_out_bias"] = false;
  if (const std::int64_t turned = keys.size("rope.dimension_count");
      turned > 0 || keys.find("rope.freq_base") != nullptr) {
    const double theta =
        keys.find("rope.freq_base") != nullptr
            ? json::as<double>(keys.value("rope.freq_base"), "rope.freq_base", file.name())
            : 10000.0;
    config["rope_theta"] = theta;
    if (json::Value scaling = rope_scaling(file, keys, family, config, theta); !scaling.is_null())
      config["rope_scaling"] = std::move(scaling);
    const std::int64_t key = keys.size("attention.key_length");
    const std::int64_t width =
        key > 0 ? key : keys.required("embedding_length") / keys.required("attention.head_count");
    if (!family.rotary_share.empty() && turned > 0 && width > 0)
      config[std::string(family.rotary_share)] =
          static_cast<double>(turned) / static_cast<double>(width);
  }
  put_tokens(file, config);
  put_own_facts(file, keys, family, config);
  return config;
}

}  // namespace headscope::models
