#include "models/resized.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "models/model_files.h"
#include "models/pruned.h"
#include "models/vision.h"

namespace headscope::models {

namespace {

using Keys = std::initializer_list<const char*>;

constexpr Keys kLayers = {"num_hidden_layers", "n_layer", "num_layers", "n_layers"};
constexpr Keys kHeads = {"num_attention_heads", "n_head", "num_heads", "n_heads"};
constexpr Keys kGroups = {"num_key_value_heads", "num_kv_heads"};
constexpr Keys kWidth = {"hidden_size", "n_embd", "d_model", "dim"};
constexpr Keys kInner = {"intermediate_size",
                         "n_inner",
                         "ffn_dim",
                         "ffn_hidden_size",
                         "hidden_dim",
                         "moe_intermediate_size",
                         "shared_expert_intermediate_size"};
constexpr Keys kPositions = {
    "max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length"};

/// Sets every word of these that the config has. Returns whether there was one.
bool set(json::Value& config, Keys keys, std::int64_t value) {
  bool found = false;
  for (const char* key : keys) {
    const auto word = config.find(key);
    if (word == config.end() || !word->is_number_integer()) continue;
    *word = value;
    found = true;
  }
  return found;
}

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCode::kUsage, what); }

/// Lists with a word for each layer are cut, or begin again.
void set_layers(json::Value& config, std::int64_t before, std::int64_t layers) {
  set(config, kLayers, layers);
  for (auto& [key, value] : config.items()) {
    if (!value.is_array() || static_cast<std::int64_t>(value.size()) != before || before < 2)
      continue;
    json::Value list = json::Value::array();
    for (std::int64_t n = 0; n < layers; ++n)
      list.push_back(value[static_cast<std::size_t>(n % before)]);
    value = std::move(list);
  }
}

void set_width(json::Value& config, std::int64_t before, std::int64_t width) {
  set(config, kWidth, width);
  for (const char* key : kInner) {
    const auto word = config.find(key);
    if (word == config.end() || !word->is_number_integer()) continue;
    const double scaled =
        word->get<double>() * static_cast<double>(width) / static_cast<double>(before);
    *word = std::max<std::int64_t>(1, std::llround(scaled));
  }
  for (const char* key : {"embedding_size", "word_embed_proj_dim"}) {
    const auto word = config.find(key);
    if (word != config.end() && word->is_number_integer() && word->get<std::int64_t>() == before)
      *word = width;
  }
}

}  // namespace

Blueprint stack_of(const json::Value& config) {
  if (auto vision = read_vision(config, architecture_of(config))) return std::move(vision->body);
  return read_blueprint(config);
}

json::Value resized(const json::Value& config, const Sizes& sizes) {
  const Blueprint was = stack_of(config);
  const bool other = sizes.layers || sizes.heads || sizes.groups || sizes.width;
  if (other && !pruned_heads(config).empty())
    refuse("[heads] expected a config whose layers have all their heads, found pruned_heads");
  const AttentionFacts& a = was.layers.front().attention;
  const auto L = static_cast<std::int64_t>(was.layers.size());
  json::Value out = config;
  if (sizes.layers) set_layers(out, L, *sizes.layers);
  if (sizes.positions) set(out, kPositions, *sizes.positions);
  if (sizes.vocabulary) out["vocab_size"] = *sizes.vocabulary;
  const std::int64_t C = sizes.width.value_or(was.width);
  if (sizes.width) set_width(out, was.width, C);
  const std::int64_t H = sizes.heads.value_or(a.heads);
  const std::int64_t all = a.heads * a.width * C / was.width;  // queries of all heads
  if (H < 1 || all % H != 0 || C * a.heads * a.width % was.width != 0)
    refuse(fmt::format("[heads] expected heads that divide {} numbers, found {}", all, H));
  const std::int64_t G = sizes.groups.value_or(a.groups == a.heads ? H : a.groups);
  if (G < 1 || H % G != 0)
    refuse(fmt::format("[groups] expected groups that divide {} heads, found {}", H, G));
  if (sizes.heads || sizes.groups || sizes.width) {
    set(out, kHeads, H);
    if (out.contains("head_dim") || all != C) out["head_dim"] = all / H;
    if (!set(out, kGroups, G) && G != H) out["num_key_value_heads"] = G;
  }
  const Blueprint is = stack_of(out);
  const AttentionFacts& found = is.layers.front().attention;
  if (found.heads != H || found.width != all / H) {
    refuse(
        fmt::format("[heads] expected a family whose heads can be chosen, found {}: {} heads of {}",
                    is.family,
                    found.heads,
                    found.width));
  }
  if (found.groups != G) {
    refuse(
        fmt::format("[groups] expected a family whose groups can be chosen, found {}: {} of them",
                    is.family,
                    found.groups));
  }
  if (is.width != C || static_cast<std::int64_t>(is.layers.size()) != sizes.layers.value_or(L)) {
    refuse(fmt::format("[sizes] expected a family whose width and layers can be chosen, found {}",
                       is.family));
  }
  return out;
}

}  // namespace headscope::models
