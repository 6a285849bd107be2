#include "models/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
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
    if (!found.is_number_float()) return found;
    return std::strtod(fmt::format("{}", found.get<float>()).c_str(), nullptr);
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
const json::Value* look(const json::Value& config, const std::string& key) {
  const std::size_t dot = key.find('.');
  if (dot == std::string::npos) return json::find(config, key, "config.json");
  const json::Value* inner = json::find(config, key.substr(0, dot), "config.json");
  return inner == nullptr ? nullptr : json::find(*inner, key.substr(dot + 1), "config.json");
}

std::vector<std::pair<std::string, std::string>> keys_of(const GgufFamily& family) {
  return pairs_of(std::string(kCommonKeys) + ' ' + std::string(family.keys));
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
      same = same && std::abs(again[i] - factors[i]) <= 1e-4F * factors[i];
    if (same) return scaling;
  }
  return nullptr;
}

/// How rotary positions are stretched, in the words of rope_scaling; null when they are not.
json::Value rope_scaling(const Gguf& file, const Keys& keys, json::Value& config, double theta) {
  const std::int64_t original = keys.size("rope.scaling.original_context_length");
  const std::int64_t context = keys.size("context_length");
  const AnyView* longer = file.find("rope_factors_long.weight");
  const AnyView* shorter = file.find("rope_factors_short.weight");
  if (longer != nullptr && shorter != nullptr) {
    if (original > 0) config["original_max_position_embeddings"] = original;
    return {{"type", "longrope"},
            {"long_factor", floats_of(*longer)},
            {"short_factor", floats_of(*shorter)}};
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
  if (old != nullptr && !scaling.contains("factor"))
    scaling["factor"] = keys.value("rope.scale_linear");
  if (original > 0) scaling["original_max_position_embeddings"] = original;
  return scaling;
}

void put_tokens(const Gguf& file, json::Value& config) {
  for (const auto& [hf, gguf] : pairs_of("bos_token_id=bos_token_id eos_token_id=eos_token_id "
                                         "pad_token_id=padding_token_id")) {
    const json::Value* id = json::find(file.metadata(), "tokenizer.ggml." + gguf, file.name());
    if (id != nullptr) config[hf] = *id;
  }
}

/// What a table of names cannot say.
void put_own_facts(const Gguf& file,
                   const Keys& keys,
                   const GgufFamily& family,
                   json::Value& config) {
  const std::int64_t heads = keys.required("attention.head_count");
  const std::int64_t width = keys.required("embedding_length");
  const std::string_view type = family.model_type;
  const std::int64_t head = config.value("head_dim", width / heads);
  if (type == "gemma2" || type == "gemma3_text") {
    // The largest of each family scales by width over heads; files do not say so otherwise.
    const bool largest = keys.size("block_count") == (type == "gemma2" ? 46 : 62);
    config["query_pre_attn_scalar"] = largest ? width / heads : head;
  }
  if (type == "gemma3_text") {
    const json::Value scaling =
        config.contains("rope_scaling") ? config["rope_scaling"] : json::Value();
    config["rope_local_base_freq"] = keys.find("rope.freq_base_swa") == nullptr
                                         ? json::Value(10000.0)
                                         : keys.value("rope.freq_base_swa");
    config["sliding_window_pattern"] = 6;
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
  if (type == "deepseek_v2") {
    const std::int64_t key = keys.size("attention.key_length");
    config["qk_nope_head_dim"] = key - keys.size("rope.dimension_count");
    config.erase("head_dim");
    if (!config.contains("q_lora_rank")) config["q_lora_rank"] = nullptr;
    config["norm_topk_prob"] = keys.find("expert_weights_norm") != nullptr &&
                               keys.value("expert_weights_norm").get<bool>();
  }
  if (type == "gpt2" && config["n_inner"] == 4 * width) config["n_inner"] = nullptr;
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
  constexpr std::int64_t kMostLayers = 100'000;  // names are made for each
  if (sizes.layers > kMostLayers) {
    throw Error(
        ErrorCode::kFormat,
        fmt::format(
            "[{}] expected at most {} layers, found {}", file.name(), kMostLayers, sizes.layers));
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
  for (const auto& [hf, gguf] : keys_of(family)) {
    if (keys.find(gguf) != nullptr) place(config, hf) = keys.value(gguf);
  }
  const auto vocabulary = file.find("token_embd.weight");
  if (vocabulary != nullptr && vocabulary->shape.size() == 2)
    config["vocab_size"] = vocabulary->shape[0];
  config["tie_word_embeddings"] = file.find("output.weight") == nullptr;
  for (const auto& [hf, tensor] : pairs_of(family.present))
    config[hf] = file.find("blk.0." + tensor) != nullptr;
  if (const std::int64_t turned = keys.size("rope.dimension_count");
      turned > 0 || keys.find("rope.freq_base") != nullptr) {
    const double theta =
        keys.find("rope.freq_base") != nullptr
            ? json::as<double>(keys.value("rope.freq_base"), "rope.freq_base", file.name())
            : 10000.0;
    config["rope_theta"] = theta;
    if (json::Value scaling = rope_scaling(file, keys, config, theta); !scaling.is_null())
      config["rope_scaling"] = std::move(scaling);
    const std::int64_t width = config.value(
        "head_dim", keys.required("embedding_length") / keys.required("attention.head_count"));
    if (!family.rotary_share.empty() && turned > 0 && width > 0)
      config[std::string(family.rotary_share)] =
          static_cast<double>(turned) / static_cast<double>(width);
  }
  put_tokens(file, config);
  put_own_facts(file, keys, family, config);
  return config;
}

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

const GgufFamily& gguf_family_of(const json::Value& config) {
  const auto type = json::require<std::string>(config, "model_type", "config.json");
  if (const GgufFamily* family = gguf_family_of_type(type)) return *family;
  throw Error(
      ErrorCode::kUnsupported,
      fmt::format("[config.json] expected a model_type that GGUF has names for here ({}), found {}",
                  gguf_architectures(),
                  json::quote(type)));
}

namespace {

/// rope_parameters of today's files or what older ones say in several places.
json::Value rope_of(const json::Value& config) {
  const std::string where = "config.json";
  json::Value rope = json::Value::object();
  if (const json::Value* old = json::find(config, "rope_scaling", where)) rope = *old;
  if (const json::Value* now = json::find(config, "rope_parameters", where)) {
    // Layers of two kinds have two: what is written below the plain keys is of the full ones.
    const json::Value* full = json::find(*now, "full_attention", where);
    rope.update(full == nullptr ? *now : *full);
    if (const json::Value* sliding = json::find(*now, "sliding_attention", where))
      rope["sliding_theta"] = sliding->value("rope_theta", 10000.0);
  }
  for (const char* key :
       {"rope_theta", "partial_rotary_factor", "rotary_pct", "original_max_position_embeddings"}) {
    if (const json::Value* value = json::find(config, key, where);
        value != nullptr && !rope.contains(key))
      rope[key] = *value;
  }
  if (rope.contains("rotary_pct")) rope["partial_rotary_factor"] = rope["rotary_pct"];
  if (!rope.contains("rope_type")) rope["rope_type"] = rope.value("type", "default");
  return rope;
}

std::int64_t size_in(const json::Value& config, const GgufFamily& family, std::string_view gguf) {
  for (const auto& [hf, key] : keys_of(family)) {
    if (key != gguf) continue;
    const json::Value* found = look(config, hf);
    return found == nullptr ? 0 : json::as<std::int64_t>(*found, hf, "config.json");
  }
  return 0;
}

std::int64_t head_width(const json::Value& config, const GgufFamily& family) {
  if (const json::Value* width = json::find(config, "head_dim", "config.json"))
    return json::as<std::int64_t>(*width, "head_dim", "config.json");
  return size_in(config, family, "embedding_length") /
         std::max<std::int64_t>(1, size_in(config, family, "attention.head_count"));
}

void put_rope(const json::Value& config,
              const GgufFamily& family,
              const std::string& p,
              json::Value& out) {
  const json::Value rope = rope_of(config);
  const std::string where = "config.json";
  const auto theta = json::get_or<double>(rope, "rope_theta", 10000.0, where);
  const auto share = json::get_or<double>(rope, "partial_rotary_factor", 1.0, where);
  out[p + "rope.freq_base"] = theta;
  out[p + "rope.dimension_count"] =
      static_cast<std::int64_t>(share * static_cast<double>(head_width(config, family)));
  if (rope.contains("sliding_theta")) out[p + "rope.freq_base_swa"] = rope["sliding_theta"];
  const auto type = json::as<std::string>(rope["rope_type"], "rope_type", where);
  if (type == "default" || type == "llama3") return;  // llama 3: rope_freqs.weight says it
  out[p + "rope.scaling.type"] = type == "dynamic" ? "linear" : type;
  for (const auto& [hf, gguf] :
       pairs_of("factor=factor beta_fast=yarn_beta_fast beta_slow=yarn_beta_slow "
                "original_max_position_embeddings=original_context_length "
                "attention_factor=attn_factor")) {
    if (const json::Value* value = json::find(rope, hf, where))
      out[p + "rope.scaling." + gguf] = *value;
  }
}

}  // namespace

GgufSizes gguf_sizes(const json::Value& config, const GgufFamily& family) {
  GgufSizes sizes;
  sizes.layers = size_in(config, family, "block_count");
  sizes.heads = size_in(config, family, "attention.head_count");
  sizes.kv_heads = size_in(config, family, "attention.head_count_kv");
  if (family.model_type == "falcon") {
    const bool grouped = config.value("new_decoder_architecture", false);
    sizes.two_norms = grouped && config.value("num_ln_in_parallel_attn", 2) == 2;
    if (!grouped) sizes.kv_heads = config.value("multi_query", true) ? 1 : sizes.heads;
  }
  if (sizes.kv_heads < 1) sizes.kv_heads = sizes.heads;
  constexpr std::int64_t kMostLayers = 100'000;
  if (sizes.layers < 1 || sizes.layers > kMostLayers || sizes.heads < 1 || sizes.heads > kMost) {
    throw Error(ErrorCode::kFormat,
                "[config.json] expected numbers of layers and heads, found none");
  }
  return sizes;
}

json::Value metadata_from_config(const json::Value& config, const GgufFamily& family) {
  json::Value out = json::Value::object();
  const std::string p = std::string(family.architecture) + '.';
  out["general.architecture"] = family.architecture;
  for (const auto& [hf, gguf] : keys_of(family)) {
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
  if (!out.contains(p + "context_length")) out[p + "context_length"] = config.value("n_ctx", 2048);
  if (json::find(config, "head_dim", "config.json") != nullptr) {
    out[p + "attention.value_length"] = out[p + "attention.key_length"];
  } else {
    out.erase(p + "attention.key_length");
  }
  constexpr std::string_view kNoRope[] = {"gpt2", "bloom", "mpt", "bert"};
  if (std::find(std::begin(kNoRope), std::end(kNoRope), family.architecture) == std::end(kNoRope))
    put_rope(config, family, p, out);
  if (family.architecture == "mpt") {
    for (const auto& [key, fallback] :
         {std::pair{"attention.max_alibi_bias", 8.0}, std::pair{"attention.clamp_kqv", 0.0}}) {
      if (!out.contains(p + key) && fallback > 0.0) out[p + key] = fallback;
    }
  }
  if (family.architecture == "bert") out[p + "attention.causal"] = false;
  if (family.architecture == "deepseek2") {
    out[p + "attention.key_length"] = config.value("qk_nope_head_dim", std::int64_t{0}) +
                                      config.value("qk_rope_head_dim", std::int64_t{0});
    out[p + "attention.value_length"] = config.value("v_head_dim", std::int64_t{0});
    out[p + "rope.dimension_count"] = config.value("qk_rope_head_dim", std::int64_t{0});
    out[p + "expert_weights_norm"] = config.value("norm_topk_prob", false);
  }
  if (const json::Value* n = json::find(config, "vocab_size", "config.json"))
    out[p + "vocab_size"] = *n;
  return out;
}

}  // namespace headscope::models
