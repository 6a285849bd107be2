#include "train/begun.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "formats/json.h"
#include "headscope/error.h"
#include "headscope/safetensors.h"
#include "headscope/tokenizer.h"

namespace headscope::train {

namespace {

namespace fs = std::filesystem;

Error other_than(const fs::path& from, std::string_view expected, std::string_view found) {
  return Error(ErrorCode::kUsage,
               fmt::format("[{}] expected {}, found {}", from.string(), expected, found));
}

/// Rows of tokens, by their ids in the other model and in this one.
using Moves = std::vector<std::pair<std::int32_t, std::int32_t>>;

/// Empty: both read the same tokens, or neither reads any.
Moves moves_of(const fs::path& from, const std::string& tokenizer) {
  const fs::path file = from / "tokenizer.json";
  std::error_code ignored;
  if (tokenizer.empty() || !fs::exists(file, ignored)) return {};
  const std::string other = read_file(file);
  if (other == tokenizer) return {};
  const Tokenizer had = Tokenizer::parse(other, file.string());
  const Tokenizer has = Tokenizer::parse(tokenizer, "tokenizer.json");
  Moves out;
  for (std::int32_t id = 0; id < has.vocabulary_size(); ++id) {
    try {
      const std::int32_t known = had.id_of(has.token_of(id));
      if (known >= 0) out.emplace_back(known, id);
    } catch (const Error&) {  // ids may have gaps
    }
  }
  if (out.empty())
    throw other_than(from, "a tokenizer.json that shares a token with this run's", "none");
  return out;
}

bool same_width(const Tensor& a, const Tensor& b) {
  return a.shape().size() == b.shape().size() &&
         std::equal(a.shape().begin() + 1, a.shape().end(), b.shape().begin() + 1);
}

void move_rows(const Tensor& from, Tensor& to, const Moves& moves) {
  const auto width = static_cast<std::size_t>(to.size() / to.dim(0));
  const auto read = from.span<float>();
  const auto write = to.span<float>();
  for (const auto& [before, now] : moves) {
    if (before >= from.dim(0) || now >= to.dim(0)) continue;
    const auto row = read.subspan(static_cast<std::size_t>(before) * width, width);
    std::ranges::copy(row, write.subspan(static_cast<std::size_t>(now) * width, width).begin());
  }
}

json::Value facts_of(const std::string& config, const Moves& moves) {
  json::Value value = json::parse(config, "config.json");
  value.erase("taught_heads");
  if (moves.empty()) return value;
  for (const char* key : {"vocab_size",
                          "pad_token_id",
                          "bos_token_id",
                          "eos_token_id",
                          "cls_token_id",
                          "sep_token_id"})
    value.erase(key);
  return value;
}

}  // namespace

Trainee begun_with(const fs::path& from,
                   const std::string& config,
                   const std::string& tokenizer,
                   std::uint64_t seed) {
  const Moves moves = moves_of(from, tokenizer);
  Trainee out = Trainee::fresh(config, seed);
  const Trainee other = Trainee::load(from);
  const std::vector<Parameter>& found = other.parameters();
  for (std::size_t i = 0; i < out.parameters().size(); ++i) {
    Parameter& to = out.parameters()[i];
    const bool there = i < found.size() && found[i].name == to.name;
    const bool of_tokens = there && found[i].tokens && to.tokens;
    if (!moves.empty() && of_tokens && same_width(found[i].value, to.value)) {
      move_rows(found[i].value, to.value, moves);
      continue;
    }
    if (!there || found[i].value.shape() != to.value.shape()) {
      throw other_than(from,
                       fmt::format("{} of shape {}", to.name, to_string(to.value.shape())),
                       there ? to_string(found[i].value.shape()) : "no such tensor");
    }
    to.value = found[i].value.clone();
  }
  const json::Value wanted = facts_of(config, moves);
  const json::Value had = facts_of(read_file(from / "config.json"), moves);
  for (const auto& [key, value] : wanted.items()) {
    if (!had.contains(key) || had[key] != value) {
      throw other_than(from,
                       fmt::format("{} = {} in its config.json", key, value.dump()),
                       had.contains(key) ? had[key].dump() : "none");
    }
  }
  return out;
}

}  // namespace headscope::train
