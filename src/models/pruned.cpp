#include "models/pruned.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "headscope/error.h"

namespace headscope::models {

namespace {

constexpr const char* kWhere = "config.json";
constexpr const char* kWord = "pruned_heads";

std::int64_t layer_of(const std::string& word) {
  std::int64_t out = -1;
  const char* end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, out);
  if (error == std::errc() && stop == end && out >= 0) return out;
  throw Error(
      ErrorCode::kFormat,
      fmt::format(
          "[config.json] expected a number of a layer in {}, found {}", kWord, json::quote(word)));
}

}  // namespace

PrunedHeads pruned_heads(const json::Value& config) {
  PrunedHeads out;
  const json::Value* word = json::find(config, kWord, kWhere);
  if (word == nullptr) return out;
  if (!word->is_object()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[config.json] expected {} to be an object of layers, found {}",
                            kWord,
                            json::describe(*word)));
  }
  for (const auto& [layer, heads] : word->items()) {
    const auto numbers = json::as<std::vector<std::int64_t>>(heads, kWord, kWhere);
    if (!numbers.empty()) out[layer_of(layer)].insert(numbers.begin(), numbers.end());
  }
  return out;
}

std::string bound(const AttentionFacts& a) {
  if (a.groups != a.heads) return "heads that share keys and values";
  if (a.layout != QkvLayout::kSeparate && a.layout != QkvLayout::kConcatenated)
    return "queries, keys and values of each head side by side";
  if (a.latent) return "keys and values behind a latent";
  if (a.disentangled || !a.relative.table.empty() || !a.slopes.empty())
    return "biases by distance of each head";
  if (!a.sinks.empty()) return "a sink of each head";
  if (a.qk_norm != HeadNorm::Kind::kNone) return "norms of queries and keys";
  return "";
}

bool pruned_elsewhere(std::string_view family) {
  constexpr std::string_view kFamilies[] = {"bert", "distilbert", "electra", "gpt2", "roberta"};
  return std::ranges::find(kFamilies, family) != std::end(kFamilies);
}

void leave_out_heads(const json::Value& config, Blueprint& b) {
  const auto L = static_cast<std::int64_t>(b.layers.size());
  std::set<std::string> prefixes;
  for (const LayerFacts& layer : b.layers) prefixes.insert(layer.prefix);
  for (const auto& [n, heads] : pruned_heads(config)) {
    if (n >= L) {
      throw Error(
          ErrorCode::kFormat,
          fmt::format("[config.json] expected layers 0..{} in {}, found {}", L - 1, kWord, n));
    }
    AttentionFacts& a = b.layers[static_cast<std::size_t>(n)].attention;
    const std::string why =
        prefixes.size() < b.layers.size() ? "layers that share their weights" : bound(a);
    if (!why.empty()) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[config.json] expected no {} in a {}, found them in layer {}: "
                              "it has {}",
                              kWord,
                              b.family,
                              n,
                              why));
    }
    const auto lost = static_cast<std::int64_t>(heads.size());
    if (*heads.begin() < 0 || *heads.rbegin() >= a.heads || lost >= a.heads) {
      const std::int64_t odd = *heads.begin() < 0 ? *heads.begin() : *heads.rbegin();
      throw Error(ErrorCode::kFormat,
                  fmt::format("[config.json] expected fewer than all of heads 0..{} in {} of "
                              "layer {}, found {} with {} among them",
                              a.heads - 1,
                              kWord,
                              n,
                              lost,
                              odd));
    }
    a.heads -= lost;
    a.groups = a.heads;
  }
}

}  // namespace headscope::models
